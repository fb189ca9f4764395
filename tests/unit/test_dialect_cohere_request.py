# ruff: noqa: E501  (samples of the wire stand on one line, as they are sent)
from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.providers.dialects.cohere.side import TARGET
from services.providers.dialects.neutral.translate import Translation, translate_request
from services.providers.dialects.openai_chat.side import CLIENT

MODEL = "command-a-03-2025"
THINKER = "command-a-reasoning-08-2025"
USER = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
LOOSE_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA, **more}}


def sent(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA}}


def translate(
    model: str = MODEL, *, strict: bool = False, stream: bool = False, **members: Any
) -> Translation:
    body = orjson.dumps({"model": "cohere/x", "messages": [USER], **members})
    return translate_request(CLIENT, TARGET, body, model=model, stream=stream, now_s=1, strict=strict)


def written(model: str = MODEL, **members: Any) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(translate(model, **members).written.body)
    return found


def notes(model: str = MODEL, **members: Any) -> tuple[str, ...]:
    return translate(model, **members).notes


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"top_p": 0.5}, {"p": 0.5}),
        ({"top_k": 7}, {"k": 7}),
        ({"k": 7}, {"k": 7}),
        ({"p": 0.3}, {"p": 0.3}),
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
        ({"max_tokens": 9}, {"max_tokens": 9}),
        ({"max_completion_tokens": 9, "max_tokens": 4}, {"max_tokens": 9}),
        ({"temperature": 0.5}, {"temperature": 0.5}),
        ({"seed": 3}, {"seed": 3}),
        ({"frequency_penalty": 0.5}, {"frequency_penalty": 0.5}),
        ({"logprobs": True}, {"logprobs": True}),
        ({"n": 1}, {}),
        ({"documents": ["a"], "safety_mode": "STRICT"}, {"documents": ["a"], "safety_mode": "STRICT"}),
    ],
)
def test_parameters(members: dict[str, Any], expected: dict[str, Any]) -> None:
    """Case 130: each parameter is sent under Cohere's name for it, and Cohere's own ones as they are."""
    translated = translate(**members)

    assert {"model": MODEL, "messages": [USER], **expected} == orjson.loads(translated.written.body)
    assert () == translated.notes


@pytest.mark.parametrize(
    ("members", "expected", "note"),
    [
        ({"temperature": 1.7}, {"temperature": 1}, "clamped=temperature:1"),
        ({"top_p": 1}, {"p": 0.99}, "clamped=top_p:0.99"),
        ({"presence_penalty": -1}, {"presence_penalty": 0}, "clamped=presence_penalty:0"),
        ({"stop": list("abcdef")}, {"stop_sequences": list("abcde")}, "clamped=stop:5"),
        ({"logit_bias": {"1": 2}}, {}, "dropped=logit_bias"),
        ({"seed": -1}, {}, "dropped=seed"),
        ({"user": "u"}, {}, "dropped=user"),
        ({"unheard_of": 1}, {}, "dropped=unheard_of"),
        ({"logprobs": True, "top_logprobs": 3}, {"logprobs": True}, "dropped=top_logprobs"),
        ({"top_p": 0.5, "p": 0.3}, {"p": 0.5}, "dropped=p"),
        (
            {"presence_penalty": 0.5, "frequency_penalty": 0.5},
            {"frequency_penalty": 0.5},
            "dropped=presence_penalty",
        ),
    ],
)
def test_what_does_not_fit(members: dict[str, Any], expected: dict[str, Any], note: str) -> None:
    """Case 130: what Cohere does not take is clamped or dropped and said so, and refused in strict mode."""
    translated = translate(**members)

    assert {"model": MODEL, "messages": [USER], **expected} == orjson.loads(translated.written.body)
    assert (note,) == translated.notes
    with pytest.raises(GatewayError) as error:
        translate(strict=True, **members)
    assert Reason.UNSUPPORTED is error.value.reason


def test_several_answers() -> None:
    """Case 130: more than one answer is refused, never made one silently."""
    with pytest.raises(GatewayError) as error:
        translate(n=2)

    assert (Reason.UNSUPPORTED, "n") == (error.value.reason, error.value.metadata["param"])


def test_system_messages() -> None:
    """Case 130: developer messages are system messages, and all of them come first as Cohere demands."""
    messages = [
        USER,
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": [{"type": "text", "text": "Be kind."}]},
    ]

    assert [{"role": "system", "content": "Be brief.\n\nBe kind."}, USER] == written(messages=messages)[
        "messages"
    ]


@pytest.mark.parametrize(
    ("choice", "tools", "expected"),
    [
        ("auto", ["a", "b"], None),
        ("required", ["a", "b"], "REQUIRED"),
        ("none", ["a", "b"], "NONE"),
        ({"type": "function", "function": {"name": "b"}}, ["b"], "REQUIRED"),
    ],
)
def test_tool_choice(choice: Any, tools: list[str], expected: str | None) -> None:
    """Case 131: a choice has Cohere's word, and a tool is forced by being the only one."""
    body = written(tools=[tool("a"), tool("b")], tool_choice=choice)

    assert [sent(name) for name in tools] == body["tools"]
    assert expected == body.get("tool_choice")


def test_tool_choice_without_tools() -> None:
    """Case 131: a choice among no tools goes nowhere, and a demand for one is reported."""
    assert "tool_choice" not in written(tool_choice="none")
    demanded = translate(tool_choice="required")
    assert "tool_choice" not in orjson.loads(demanded.written.body)
    assert ("dropped=tool_choice",) == demanded.notes


CALL = {"id": "c1", "type": "function", "function": {"name": "a", "arguments": '{"city":"Bern"}'}}


def test_tool_history() -> None:
    """Case 132: calls and the ids that tie results to them stay as they are."""
    messages = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "12 degrees"},
    ]

    expected = [USER, {"role": "assistant", "tool_calls": [CALL]}, messages[2]]
    assert expected == written(messages=messages, tools=[tool("a")])["messages"]


def test_talk_before_calls() -> None:
    """Case 132: what the model said before its calls is its plan, as Cohere has it."""
    messages = [USER, {"role": "assistant", "content": "I will look.", "tool_calls": [CALL]}]

    expected = {"role": "assistant", "tool_plan": "I will look.", "tool_calls": [CALL]}
    assert expected == written(messages=messages)["messages"][1]


def test_documents_of_tools() -> None:
    """Case 132: a text document that a tool gave becomes a document, which the model can cite."""
    file = {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,QWxscyBndXQ="}}
    messages = [USER, {"role": "tool", "tool_call_id": "c1", "content": [file]}]

    expected = [{"type": "document", "document": {"data": {"text": "Alls gut", "title": "a.txt"}}}]
    assert expected == written(messages=messages)["messages"][1]["content"]


def test_images_of_tools() -> None:
    """An image that a tool gave follows the round's results, where Cohere's models can see it."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
    second = {"role": "tool", "tool_call_id": "c2", "content": "ok"}
    messages = [USER, {"role": "tool", "tool_call_id": "c1", "content": [image]}, second]
    translated = translate(messages=messages)

    roles = [message["role"] for message in orjson.loads(translated.written.body)["messages"]]
    assert ["user", "tool", "tool", "user"] == roles
    assert image == orjson.loads(translated.written.body)["messages"][3]["content"][0]
    assert ("emulated=messages.content",) == translated.notes


@pytest.mark.parametrize(
    ("tools", "expected", "note"),
    [
        ([tool("a", strict=True), tool("b", strict=True)], True, ()),
        ([tool("a", strict=True), tool("b")], None, ("dropped=tools.function.strict",)),
        ([tool("a", strict=True, parameters=LOOSE_SCHEMA)], None, ("dropped=tools.function.strict",)),
        ([tool("a")], None, ()),
    ],
)
def test_strict_tools(tools: list[Any], expected: Any, note: tuple[str, ...]) -> None:
    """Case 133: Cohere is strict about all tools or none, and only where each demands something."""
    translated = translate(tools=tools)

    assert expected == orjson.loads(translated.written.body).get("strict_tools")
    assert note == translated.notes


def json_schema(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True, **more}}


def test_schema_of_the_answer() -> None:
    """Case 133: a schema for the answer is a JSON object with that schema, and asks no tool for strictness."""
    body = written(response_format=json_schema(SCHEMA))

    assert {"type": "json_object", "json_schema": SCHEMA} == body["response_format"]
    assert "strict_tools" not in body
    assert () == notes(response_format=json_schema(SCHEMA))


def test_json_without_schema() -> None:
    """Case 133: plain JSON stays plain JSON; a model that nobody told of it is told, lest it never ends."""
    told = written(messages=[{"role": "user", "content": "As JSON"}], response_format={"type": "json_object"})
    untold = written(response_format={"type": "json_object"})

    assert {"type": "json_object"} == told["response_format"] == untold["response_format"]
    assert ["user"] == [message["role"] for message in told["messages"]]
    assert "system" == untold["messages"][0]["role"]


@pytest.mark.parametrize(
    "schema",
    [
        LOOSE_SCHEMA,
        {"type": "array", "items": {"type": "string"}},
        {"type": "object", "properties": {"a": LOOSE_SCHEMA}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"anyOf": [LOOSE_SCHEMA]}}, "required": ["a"]},
    ],
)
def test_schema_that_cohere_refuses(schema: dict[str, Any]) -> None:
    """Case 133: a schema that Cohere would refuse is put into words, and said so."""
    translated = translate(response_format=json_schema(schema))
    body = orjson.loads(translated.written.body)

    assert ("emulated=response_format",) == translated.notes
    assert "json_schema" not in body.get("response_format", {})
    assert orjson.dumps(schema).decode() in body["messages"][0]["content"]


def test_schema_beside_documents() -> None:
    """Case 133: Cohere takes no response format beside documents."""
    body = written(response_format=json_schema(SCHEMA), documents=["a"])

    assert "response_format" not in body
    assert "system" == body["messages"][0]["role"]


def test_schema_beside_tools() -> None:
    """Case 133: beside tools the answer is a tool's, and the client sees plain content and `stop`."""
    translated = translate(tools=[tool("a")], response_format=json_schema(SCHEMA))
    body = orjson.loads(translated.written.body)
    call = {"id": "c", "type": "function", "function": {"name": "give_answer", "arguments": '{"city":"B"}'}}
    answer = translated.read_answer(
        orjson.dumps({"finish_reason": "TOOL_CALL", "message": {"role": "assistant", "tool_calls": [call]}})
    )

    choice = orjson.loads(answer.body)["choices"][0]
    assert ["a", "give_answer"] == [entry["function"]["name"] for entry in body["tools"]]
    assert "REQUIRED" == body["tool_choice"]
    assert ("stop", '{"city":"B"}') == (choice["finish_reason"], choice["message"]["content"])
    assert ("emulated=response_format",) == translated.notes


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"reasoning_effort": "none"}, {"type": "disabled"}),
        ({"reasoning_effort": "low"}, {"type": "enabled", "token_budget": 1024}),
        ({"reasoning_effort": "high", "max_tokens": 100}, {"type": "enabled", "token_budget": 50}),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"type": "enabled", "token_budget": 2000}),
        ({"reasoning_effort": "max"}, {"type": "enabled"}),
        ({}, None),
    ],
)
def test_thinking(members: dict[str, Any], expected: dict[str, Any] | None) -> None:
    """How much a model is to think is told as Cohere counts it, in tokens."""
    assert expected == written(THINKER, **members).get("thinking")


def test_thinking_of_a_model_that_cannot() -> None:
    """A model without thinking is asked for none, and the client is told."""
    assert "thinking" not in written(reasoning_effort="high")
    assert ("dropped=reasoning_effort",) == notes(reasoning_effort="high")


def test_replayed_thoughts() -> None:
    """Thoughts of an earlier turn go back as such to a model that has them."""
    messages = [USER, {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}, USER]

    expected = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Yes."}]
    assert expected == written(THINKER, messages=messages)["messages"][1]["content"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 40) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3)
    ),
    max_leaves=8,
)
MEMBERS = st.sampled_from(
    [
        "messages",
        "tools",
        "tool_choice",
        "response_format",
        "documents",
        "k",
        "p",
        "stop",
        "thinking",
        "seed",
        "strict_tools",
    ]
)


@given(members=st.dictionaries(MEMBERS, JSON, max_size=4))
def test_no_request_is_too_strange(members: dict[str, Any]) -> None:
    """Any JSON at all is written as JSON or refused by name."""
    try:
        body = orjson.dumps({"messages": [USER], **members})
    except TypeError:
        return
    try:
        translated = translate_request(CLIENT, TARGET, body, model=MODEL, stream=True, now_s=1, strict=False)
        found: dict[str, Any] | GatewayError = orjson.loads(translated.written.body)
    except GatewayError as error:
        found = error
    if isinstance(found, GatewayError):
        assert found.reason in {Reason.INVALID_REQUEST, Reason.UNSUPPORTED}
        assert found.metadata["param"]
    else:
        assert MODEL == found["model"]
