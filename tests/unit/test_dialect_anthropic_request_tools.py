from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.providers.dialects.anthropic.target_side import anthropic_target
from services.providers.dialects.neutral.tool_names import LETTERS_64, ToolNames
from services.providers.dialects.neutral.translate import Translation, translate_request
from services.providers.dialects.openai_chat.side import CLIENT

OLD = "claude-sonnet-4-5"
ANCIENT = "claude-3-haiku-20240307"
NEWEST = "claude-opus-5-5"
USER = {"role": "user", "content": "Hi"}


def tool(name: str = "f", **members: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **members}}


def translate(model: str = OLD, *, strict: bool = False, **members: Any) -> Translation:
    body = orjson.dumps({"messages": [USER], "max_tokens": 100, **members})
    return translate_request(
        CLIENT, anthropic_target(), body, model=model, stream=False, now_s=1, strict=strict
    )


def sent(model: str = OLD, **members: Any) -> dict[str, Any]:
    found = orjson.loads(translate(model, **members).written.body)
    assert isinstance(found, dict)
    return found


def refusal(model: str = OLD, *, strict: bool = False, **members: Any) -> tuple[Reason, str]:
    with pytest.raises(GatewayError) as caught:
        translate(model, strict=strict, **members)
    return caught.value.reason, caught.value.metadata["param"]


def test_names_are_fitted_alike_everywhere() -> None:
    """Case 12: an illegal name is sent alike in definition, choice and history, and found again."""
    bad = "weather.get/" + "x" * 80
    calls = [{"id": "c", "type": "function", "function": {"name": bad, "arguments": ""}}]
    members: dict[str, Any] = {
        "messages": [
            USER,
            {"role": "assistant", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "c", "content": "r"},
        ],
        "tools": [tool(bad), tool("fine")],
        "tool_choice": {"type": "function", "function": {"name": bad}},
    }

    found = sent(**members)
    name = found["tools"][0]["name"]

    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name)
    assert name == found["messages"][1]["content"][0]["name"] == found["tool_choice"]["name"]
    assert "fine" == found["tools"][1]["name"]
    assert {name: bad} == translate(**members).written.restore.tool_names


def test_collisions_do_not_steal_a_name() -> None:
    """Case 12: two names that look alike when fitted stay two, and a legal name is never given away."""
    legal = ToolNames(["a.b"], LETTERS_64).sent("a.b")
    names = ToolNames(["a.b", "a/b", "a_b", legal], LETTERS_64)
    fitted = [names.sent(name) for name in ("a.b", "a/b", "a_b", legal)]

    assert 4 == len(set(fitted))
    assert ["a_b", legal] == fitted[2:]


@given(st.sets(st.text(min_size=1, max_size=70), max_size=12))
def test_fitting_is_one_to_one(names: set[str]) -> None:
    """Case 12: any set of names is fitted one to one, and the way back is exact."""
    fitted = ToolNames(names, LETTERS_64)
    back = fitted.changed()

    assert len(names) == len({fitted.sent(name) for name in names})
    assert all(name == back.get(fitted.sent(name), fitted.sent(name)) for name in names)


@pytest.mark.parametrize("parameters", [{}, {"parameters": None}, {"parameters": {}}])
def test_missing_parameters(parameters: dict[str, Any]) -> None:
    """Case 13: a function without parameters takes an empty object."""
    assert {"type": "object", "properties": {}} == sent(tools=[tool(**parameters)])["tools"][0][
        "input_schema"
    ]


def test_schema_is_kept_whole() -> None:
    """Case 13: every keyword of a schema goes on, known or not."""
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/a"}},
        "$defs": {"a": {"type": "string", "x-odd": 1}},
        "additionalProperties": False,
        "unknown": [1.5],
    }
    mark = {"type": "ephemeral"}
    entry = {**tool("f", description="Does.", parameters=schema), "cache_control": mark}

    assert [{"name": "f", "description": "Does.", "input_schema": schema, "cache_control": mark}] == sent(
        tools=[entry]
    )["tools"]


def test_strict_function() -> None:
    """Case 14: a strict function stays strict where the model can, and is reported where it cannot."""
    entry = tool(strict=True)

    assert sent(tools=[entry])["tools"][0]["strict"]
    assert ("dropped=tools.function.strict",) == translate(ANCIENT, tools=[entry]).notes
    assert (Reason.UNSUPPORTED, "tools.function.strict") == refusal(ANCIENT, strict=True, tools=[entry])


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
        (None, None),
    ],
)
def test_tool_choice(choice: Any, expected: Any) -> None:
    """Case 15: each choice has its counterpart."""
    assert expected == sent(tools=[tool()], tool_choice=choice).get("tool_choice")


def test_allowed_tools() -> None:
    """Case 15: a choice among some tools sends just those."""
    allowed = {"mode": "required", "tools": [tool("g")]}
    members: dict[str, Any] = {
        "tools": [tool("f"), tool("g")],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": allowed},
    }

    assert (["g"], {"type": "any"}) == (
        [entry["name"] for entry in sent(**members)["tools"]],
        sent(**members)["tool_choice"],
    )
    assert ("emulated=tool_choice.allowed_tools",) == translate(**members).notes


def test_forcing_where_the_model_refuses_it() -> None:
    """Case 15: a model that takes no forced call gets `auto`, reported; 400 in strict mode."""
    members: dict[str, Any] = {"tools": [tool()], "tool_choice": "required", "parallel_tool_calls": False}

    assert {"type": "auto", "disable_parallel_tool_use": True} == sent(NEWEST, **members)["tool_choice"]
    assert ("clamped=tool_choice:auto",) == translate(NEWEST, **members).notes
    assert (Reason.UNSUPPORTED, "tool_choice") == refusal(NEWEST, strict=True, **members)


@pytest.mark.parametrize(
    ("choice", "notes"),
    [
        ("required", ("dropped=tool_choice",)),
        ({"type": "function", "function": {"name": "f"}}, ("dropped=tool_choice",)),
        ("auto", ()),
        ("none", ()),
    ],
)
def test_choice_without_tools(choice: Any, notes: tuple[str, ...]) -> None:
    """Case 16: a choice without tools is dropped, and reported when it asked for something."""
    assert "tool_choice" not in sent(tool_choice=choice)
    assert notes == translate(tool_choice=choice, tools=[]).notes


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", {"type": "any", "disable_parallel_tool_use": True}),
        ("none", {"type": "none"}),
    ],
)
def test_no_parallel_calls(choice: Any, expected: dict[str, Any]) -> None:
    """Case 17: parallel calls are forbidden within the choice, which is made when there is none."""
    assert expected == sent(tools=[tool()], tool_choice=choice, parallel_tool_calls=False)["tool_choice"]
    assert "tool_choice" not in sent(tools=[tool()], parallel_tool_calls=True)


def test_tools_of_other_types() -> None:
    """Case 18: a type that the target lacks is dropped and reported; one that it has goes on."""
    other = {"type": "code_interpreter", "container": {"type": "auto"}}
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    members: dict[str, Any] = {"tools": [other, search, tool()]}

    assert [search, {"name": "f", "input_schema": {"type": "object", "properties": {}}}] == sent(**members)[
        "tools"
    ]
    assert ("dropped=tools[0].code_interpreter",) == translate(**members).notes
    assert (Reason.UNSUPPORTED, "tools[0].code_interpreter") == refusal(strict=True, **members)


PATCH = {"name": "patch.py", "description": "Patches."}
CUSTOM = {"type": "custom", "custom": PATCH}


def test_free_text_tool_is_emulated() -> None:
    """Case 18: a tool that takes free text becomes one with a text in an object, and that is reported."""
    found = sent(tools=[CUSTOM])
    restore = translate(tools=[CUSTOM]).written.restore
    name = found["tools"][0]["name"]

    assert {"input"} == found["tools"][0]["input_schema"]["properties"].keys()
    assert "Patches." == found["tools"][0]["description"]
    assert {name: "patch.py"} == restore.tool_names
    assert frozenset({name}) == restore.custom_tools
    assert ("emulated=tools[0]",) == translate(tools=[CUSTOM]).notes
    assert (Reason.UNSUPPORTED, "tools[0]") == refusal(strict=True, tools=[CUSTOM])


@pytest.mark.parametrize(
    ("form", "told"),
    [
        (
            {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: X"}},
            "Patches.\n\nThe input must keep to this grammar (lark):\nstart: X",
        ),
        (
            {"type": "grammar", "syntax": "regex", "definition": "a+"},
            "Patches.\n\nThe input must keep to this grammar (regex):\na+",
        ),
        ({"type": "text"}, "Patches."),
    ],
)
def test_free_text_tool_tells_its_grammar(form: dict[str, Any], told: str) -> None:
    """Case 18: a grammar that cannot be enforced is told to the model."""
    entry = {"type": "custom", "custom": {**PATCH, "format": form}}

    assert told == sent(tools=[entry])["tools"][0]["description"]


def test_free_text_call_in_the_history() -> None:
    """Case 18: an earlier call with free text is told as the tool is defined."""
    calls = [{"id": "c", "type": "custom", "custom": {"name": "patch.py", "input": "*** Begin"}}]
    messages = [
        USER,
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c", "content": "ok"},
    ]
    found = sent(messages=messages, tools=[CUSTOM], tool_choice=CUSTOM)

    call = found["messages"][1]["content"][0]
    assert {"input": "*** Begin"} == call["input"]
    assert call["name"] == found["tools"][0]["name"] == found["tool_choice"]["name"]


def test_history_calls_without_tools() -> None:
    """Tools that the history calls and the request leaves out are defined, for the target wants them."""
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}]
    messages = [
        USER,
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c", "content": "r"},
    ]
    found = sent(messages=messages)

    assert ["f"] == [entry["name"] for entry in found["tools"]]
    assert {"type": "none"} == found["tool_choice"]
    assert ("emulated=tools",) == translate(messages=messages).notes


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"tools": {}}, "tools"),
        ({"tools": [1]}, "tools[0]"),
        ({"tools": [{}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [tool("")]}, "tools[0].function.name"),
        ({"tools": [tool(parameters=[])]}, "tools[0].function.parameters"),
        ({"tools": [tool(description=1)]}, "tools[0].function.description"),
        ({"tools": [tool(strict="yes")]}, "tools[0].function.strict"),
        ({"tools": [tool()], "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [tool()], "tool_choice": 1}, "tool_choice"),
        (
            {"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            "tool_choice.function.name",
        ),
        (
            {"tools": [tool()], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": []}}},
            "tool_choice.allowed_tools.tools",
        ),
        ({"tools": [tool()], "parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ],
)
def test_malformed_tools_are_named(members: dict[str, Any], param: str) -> None:
    """A malformed tool or choice is the client's error, with the place named."""
    assert (Reason.INVALID_REQUEST, param) == refusal(**members)
