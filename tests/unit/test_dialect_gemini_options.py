"""
OpenAI chats as requests of Gemini: tools, the shape of the answer, sampling and thinking.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from kit.errors import GatewayError, Reason
from services.providers.dialects.gemini.models import profile_for
from services.providers.dialects.gemini.target_side import gemini_target
from services.providers.dialects.neutral.translate import Translation, translate_request
from services.providers.dialects.openai_chat.side import CLIENT

Json = dict[str, Any]

OLD, THINKING, NEW = "gemini-2.0-flash", "gemini-2.5-flash", "gemini-3-pro-preview"
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": ["string", "null"]}},
    "additionalProperties": False,
    "$schema": "https://json-schema.org/draft/2020-12/schema",
}


def translated(
    model: str = THINKING, *, strict: bool = False, vertex: bool = False, **members: Any
) -> Translation:
    """Translate a chat with these members."""
    body = orjson.dumps({"model": "x", "messages": [{"role": "user", "content": "Hello?"}], **members})
    target = gemini_target(vertex=vertex)
    return translate_request(CLIENT, target, body, model=model, stream=False, now_s=0, strict=strict)


def written(model: str = THINKING, **members: Any) -> Json:
    """Return the body that a chat becomes."""
    document: Json = orjson.loads(translated(model, **members).written.body)
    return document


def config(model: str = THINKING, **members: Any) -> Json:
    """Return the settings that a chat becomes."""
    found: Json = written(model, **members).get("generationConfig", {})
    return found


def refused(model: str = THINKING, *, strict: bool = False, **members: Any) -> GatewayError:
    """Return the error that a chat is refused with."""
    with pytest.raises(GatewayError) as caught:
        translated(model, strict=strict, **members)
    return caught.value


def tool(name: str, parameters: Any = None, **more: Any) -> Json:
    """Write a tool of OpenAI's."""
    function = {"name": name, **more}
    if parameters is not None:
        function["parameters"] = parameters
    return {"type": "function", "function": function}


def test_all_functions_are_one_tool() -> None:
    """Case 89: All functions are declared in one tool; one without parameters has no such member."""
    tools = [tool("f", SCHEMA, description="d"), tool("g"), tool("h", {"type": "object", "properties": {}})]

    assert [
        {
            "functionDeclarations": [
                {"name": "f", "description": "d", "parametersJsonSchema": SCHEMA},
                {"name": "g"},
                {"name": "h"},
            ]
        }
    ] == written(tools=tools)["tools"]


def test_schemas_by_model() -> None:
    """Case 90: From 2.5 on JSON schema goes as it is; before, as the subset of OpenAPI's."""
    new, old = (
        written(model, tools=[tool("f", SCHEMA)])["tools"][0]["functionDeclarations"][0]
        for model in (NEW, OLD)
    )

    assert {"name": "f", "parametersJsonSchema": SCHEMA} == new
    subset = {"type": "object", "properties": {"a": {"type": "string", "nullable": True}}}
    assert {"name": "f", "parameters": subset} == old


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "f"}}, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_tool_choice(choice: Any, expected: Json) -> None:
    """Case 91: The choice is a mode, and for a named tool the one name that is allowed."""
    body = written(tools=[tool("f"), tool("g")], tool_choice=choice)

    assert {"functionCallingConfig": expected} == body["toolConfig"]


def test_allowed_tools() -> None:
    """Case 91: Of tools, only those allowed can be called: by name if one must be, else by absence."""
    tools = [tool("f"), tool("g")]
    allowed = [{"type": "function", "function": {"name": "g"}}]
    choices = [
        {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": allowed}}
        for mode in ("required", "auto")
    ]

    must, may = (written(tools=tools, tool_choice=choice) for choice in choices)

    assert {"mode": "ANY", "allowedFunctionNames": ["g"]} == must["toolConfig"]["functionCallingConfig"]
    assert [{"functionDeclarations": [{"name": "g"}]}] == may["tools"]


def test_names_that_google_does_not_take() -> None:
    """A tool's name that is not legal is sent under another, and the choice follows."""
    name = "9 lives"
    made = translated(tools=[tool(name)], tool_choice={"type": "function", "function": {"name": name}})
    body = orjson.loads(made.written.body)

    sent = body["tools"][0]["functionDeclarations"][0]["name"]
    assert [sent] == body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"]
    assert {sent: name} == made.written.restore.tool_names


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"type": "text"}, {}),
        ({"type": "json_object"}, {"responseMimeType": "application/json"}),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
            {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA},
        ),
    ],
)
def test_response_format(form: Json, expected: Json) -> None:
    """Case 92: A shape is a media type, with at most one schema."""
    assert expected == config(response_format=form)


def test_response_format_of_older_models() -> None:
    """Case 92: Older models have the subset's schema, and never both."""
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}

    found = config(OLD, response_format=form)

    assert {"responseMimeType", "responseSchema"} == set(found)
    assert {"a": {"type": "string", "nullable": True}} == found["responseSchema"]["properties"]


def test_json_with_tools() -> None:
    """Case 93: Older models refuse a shape beside tools: it is dropped and reported, or strictly an error."""
    members: Json = {"tools": [tool("f")], "response_format": {"type": "json_object"}}

    old = translated(OLD, **members)

    assert "generationConfig" not in orjson.loads(old.written.body)
    assert ("dropped=response_format",) == old.notes
    assert {"responseMimeType": "application/json"} == config(NEW, **members)
    assert "response_format" == refused(OLD, strict=True, **members).metadata["param"]


@pytest.mark.parametrize(
    ("members", "expected", "notes"),
    [
        ({"n": 3}, {"candidateCount": 3}, ()),
        ({"n": 1}, {}, ()),
        ({"seed": 7}, {"seed": 7}, ()),
        ({"seed": 2**31}, {"seed": 0}, ("clamped=seed:0",)),
        ({"seed": -(2**31)}, {"seed": -(2**31)}, ()),
        ({"logprobs": True, "top_logprobs": 3}, {"responseLogprobs": True, "logprobs": 3}, ()),
        ({"logprobs": True}, {"responseLogprobs": True}, ()),
        ({"stop": "a"}, {"stopSequences": ["a"]}, ()),
        ({"stop": list("abcdef")}, {"stopSequences": list("abcde")}, ("clamped=stop:5",)),
        ({"max_tokens": 9}, {"maxOutputTokens": 9}, ()),
        ({"max_tokens": 9, "max_completion_tokens": 8}, {"maxOutputTokens": 8}, ()),
        ({"temperature": 2, "top_p": 0.5}, {"temperature": 2, "topP": 0.5}, ()),
        ({"logit_bias": {"1": 1}}, {}, ("dropped=logit_bias",)),
        ({"user": "u"}, {}, ("dropped=user",)),
        ({"unheard_of": 1}, {}, ("dropped=unheard_of",)),
    ],
)
def test_settings(members: Json, expected: Json, notes: tuple[str, ...]) -> None:
    """Case 97: Numbers and lists go under Google's names and within Google's bounds, which is reported."""
    made = translated(**members)

    assert (expected, notes) == (orjson.loads(made.written.body).get("generationConfig", {}), made.notes)


def test_stops_in_strict_mode() -> None:
    """Case 97: Too many stops are an error when strict, and several answers always where there is one."""
    assert "stop" == refused(strict=True, stop=list("abcdef")).metadata["param"]
    assert "n" == refused(n=9).metadata["param"]
    assert "n" == refused(NEW, n=2).metadata["param"]


def test_penalties_and_sampling_by_model() -> None:
    """What a family does not take is dropped for it alone."""
    members: Json = {"presence_penalty": 1, "temperature": 0.5}

    old, new, newest = (translated(model, **members) for model in (OLD, THINKING, "gemini-3.6-flash"))

    assert {"presencePenalty": 1, "temperature": 0.5} == orjson.loads(old.written.body)["generationConfig"]
    assert ("dropped=presence_penalty",) == new.notes
    assert ("dropped=temperature", "dropped=presence_penalty") == newest.notes


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("gemini-3-pro-preview", "low", {"thinkingLevel": "low"}),
        ("gemini-3-pro-preview", "medium", {"thinkingLevel": "high"}),
        ("gemini-3-pro-preview", "high", {"thinkingLevel": "high"}),
        ("gemini-3-flash-preview", "minimal", {"thinkingLevel": "minimal"}),
        ("gemini-3-flash-preview", "medium", {"thinkingLevel": "medium"}),
        ("gemini-2.5-flash", "low", {"thinkingBudget": 1024}),
        ("gemini-2.5-flash", "medium", {"thinkingBudget": 8192}),
        ("gemini-2.5-flash", "high", {"thinkingBudget": 24_576}),
        ("gemini-2.5-pro", "high", {"thinkingBudget": 24_576}),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-pro", "none", {"thinkingBudget": 128}),
        ("gemini-2.0-flash", "none", None),
    ],
)
def test_reasoning_effort(model: str, effort: str, expected: Json | None) -> None:
    """Case 98: Effort is a level from version 3 on and a budget in 2.5; none only where that is allowed."""
    found = config(model, reasoning_effort=effort).get("thinkingConfig")

    if found is not None:
        found.pop("includeThoughts", None)
    assert expected == found


def test_thinking_that_cannot_be_stopped_is_reported() -> None:
    """Case 98: A model that always thinks says that it does, and one that never does that it does not."""
    assert ("clamped=reasoning_effort:128",) == translated("gemini-2.5-pro", reasoning_effort="none").notes
    assert ("dropped=reasoning_effort",) == translated(OLD, reasoning_effort="low").notes
    assert () == translated(OLD, reasoning_effort="none").notes


def test_thoughts_are_asked_for_with_effort() -> None:
    """Case 99: Whoever asks for reasoning gets to see the thoughts; nobody else does."""
    assert config(THINKING, reasoning_effort="low")["thinkingConfig"]["includeThoughts"]
    assert "includeThoughts" not in config(THINKING, reasoning_effort="none")["thinkingConfig"]
    assert {} == config(THINKING)


def test_members_of_google_pass() -> None:
    """What is Google's own and not a part of a conversation goes on in either spelling."""
    rules = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]

    made = translated(safety_settings=rules, cachedContent="cachedContents/1")

    body = orjson.loads(made.written.body)
    assert (rules, "cachedContents/1", ()) == (body["safetySettings"], body["cachedContent"], made.notes)


@pytest.mark.parametrize(
    ("name", "thinking", "json_schema"),
    [
        ("gemini-1.5-pro", "none", False),
        ("models/gemini-2.5-pro", "budget", True),
        ("google/gemini-2.5-flash-lite-preview-09-2025", "budget", True),
        ("publishers/google/models/gemini-3-flash-preview", "level", True),
        ("gemini-10-pro", "level", True),
        ("gemini-4-argon", "level", True),
        ("gemini-flash-latest", "level", True),
        ("gemma-3n-e4b-it", "none", False),
        ("", "level", True),
    ],
)
def test_families(name: str, thinking: str, json_schema: object) -> None:
    """A model belongs to the family of the longest fitting name; an unknown one to the newest."""
    profile = profile_for(name)

    assert (thinking, json_schema) == (profile.thinking, profile.json_schema)
    assert Reason.INVALID_REQUEST is refused(reasoning_effort="a lot").reason
