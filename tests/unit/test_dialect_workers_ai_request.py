from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.providers.dialects.neutral.translate import Translation, translate_request
from services.providers.dialects.openai_chat.side import CLIENT
from services.providers.dialects.workers_ai.models import NAME, default_tokens, speaks_chat, task
from services.providers.dialects.workers_ai.side import target

MODEL = "@cf/meta/llama-3.3-70b-instruct-fp8-fast"
TARGET = target()
USER = {"role": "user", "content": "Hi"}
ALWAYS = {"messages": [USER], "max_tokens": 4096}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": "d", "parameters": SCHEMA, **more}}


def translate(*, strict: bool = False, stream: bool = False, **members: Any) -> Translation:
    body = orjson.dumps({"model": "workers-ai/x", "messages": [USER], **members})
    return translate_request(CLIENT, TARGET, body, model=MODEL, stream=stream, now_s=1, strict=strict)


def written(*, stream: bool = False, **members: Any) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(translate(stream=stream, **members).written.body)
    return found


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, {}),
        ({"max_tokens": 9}, {"max_tokens": 9}),
        ({"temperature": 1.7}, {"temperature": 1.7}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"top_k": 7}, {"top_k": 7}),
        ({"top_k": 0}, {}),
        ({"seed": 3}, {"seed": 3}),
        ({"frequency_penalty": 0.5}, {"frequency_penalty": 0.5}),
        ({"repetition_penalty": 1.1, "lora": "l"}, {"repetition_penalty": 1.1, "lora": "l"}),
        ({"reasoning_effort": "none"}, {}),
        ({"tool_choice": "none", "tools": [tool("a")]}, {}),
    ],
)
def test_parameters(members: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each parameter is sent as the API has it, and the output gets a limit that is not the API's 256."""
    translated = translate(**members)

    assert {**ALWAYS, **expected} == orjson.loads(translated.written.body)
    assert () == translated.notes


@pytest.mark.parametrize(
    ("members", "expected", "note"),
    [
        ({"top_p": 0}, {"top_p": 0.001}, "clamped=top_p:0.001"),
        ({"top_k": 99}, {"top_k": 50}, "clamped=top_k:50"),
        ({"presence_penalty": -1}, {"presence_penalty": 0}, "clamped=presence_penalty:0"),
        ({"seed": -1}, {}, "dropped=seed"),
        ({"stop": "a"}, {}, "dropped=stop"),
        ({"logit_bias": {"1": 2}}, {}, "dropped=logit_bias"),
        ({"logprobs": True}, {}, "dropped=logprobs"),
        ({"user": "u"}, {}, "dropped=user"),
        ({"reasoning_effort": "high"}, {}, "dropped=reasoning_effort"),
        ({"unheard_of": 1}, {}, "dropped=unheard_of"),
    ],
)
def test_what_does_not_fit(members: dict[str, Any], expected: dict[str, Any], note: str) -> None:
    """Case 23: what the API does not take is clamped or dropped and said so, and refused in strict mode."""
    translated = translate(**members)

    assert {**ALWAYS, **expected} == orjson.loads(translated.written.body)
    assert (note,) == translated.notes
    with pytest.raises(GatewayError) as error:
        translate(strict=True, **members)
    assert Reason.UNSUPPORTED is error.value.reason


def test_several_answers() -> None:
    """Case 22: more than one answer is refused, never made one silently."""
    with pytest.raises(GatewayError) as error:
        translate(n=2)

    assert (Reason.UNSUPPORTED, "n") == (error.value.reason, error.value.metadata["param"])


def test_stream() -> None:
    """A stream is asked for in the body."""
    assert {**ALWAYS, "stream": True} == written(stream=True)


CALL = {"id": "c1", "type": "function", "function": {"name": "a", "arguments": '{"city":"Bern"}'}}


def test_messages() -> None:
    """Every message has a text, also one that calls tools; results name their tool."""
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "12 degrees"},
        {"role": "assistant", "content": "Cold."},
        {"role": "assistant", "content": ""},
    ]

    assert [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a\n\nb"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "12 degrees", "tool_call_id": "c1", "name": "a"},
        {"role": "assistant", "content": "Cold."},
    ] == written(messages=messages)["messages"]


def test_images() -> None:
    """Images go as bytes, where they stand."""
    content = [{"type": "text", "text": "What?"}, IMAGE]

    assert content == written(messages=[{"role": "user", "content": content}])["messages"][0]["content"]


def test_images_of_tools() -> None:
    """An image that a tool gave follows the round's results."""
    messages = [USER, {"role": "tool", "tool_call_id": "c1", "content": [IMAGE]}]
    translated = translate(messages=messages)
    found = orjson.loads(translated.written.body)["messages"]

    assert ["user", "tool", "user"] == [message["role"] for message in found]
    assert [IMAGE] == found[2]["content"]
    assert ("emulated=messages.content",) == translated.notes


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://a.b/c.png"}},
        {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"}},
    ],
)
def test_media_that_is_not_read(part: dict[str, Any]) -> None:
    """Media that models do not read is refused by the message that holds it."""
    with pytest.raises(GatewayError) as error:
        translate(messages=[{"role": "user", "content": [part]}])

    assert error.value.metadata["param"].startswith("messages")


def test_replayed_thoughts() -> None:
    """Thoughts have no place in the history, and the client is told."""
    messages = [USER, {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}]
    translated = translate(messages=messages)

    assert {"role": "assistant", "content": "Yes."} == orjson.loads(translated.written.body)["messages"][1]
    assert ("dropped=messages.reasoning_content",) == translated.notes


@pytest.mark.parametrize(
    ("choice", "tools", "expected"),
    [
        (None, ["a", "b"], None),
        ("auto", ["a", "b"], None),
        ("required", ["a", "b"], "required"),
        ({"type": "function", "function": {"name": "b"}}, ["b"], "required"),
    ],
)
def test_tool_choice(choice: Any, tools: list[str], expected: str | None) -> None:
    """A tool is forced by being the only one."""
    body = written(tools=[tool("a"), tool("b")], tool_choice=choice)

    assert [tool(name) for name in tools] == body["tools"]
    assert expected == body.get("tool_choice")


def test_tools_in_part() -> None:
    """Case 14: what a tool asks for beyond its parameters is dropped and said so."""
    translated = translate(tools=[tool("a", strict=True)], parallel_tool_calls=False)

    assert [tool("a")] == orjson.loads(translated.written.body)["tools"]
    assert ("dropped=parallel_tool_calls", "dropped=tools.function.strict") == translated.notes
    assert ("dropped=tool_choice",) == translate(tool_choice="required").notes


def test_tool_without_parameters() -> None:
    """Case 13: a tool has a description and parameters, if empty ones."""
    body = written(tools=[{"type": "function", "function": {"name": "a"}}])

    empty = {"type": "object", "properties": {}}
    assert {"name": "a", "description": "", "parameters": empty} == body["tools"][0]["function"]


@pytest.mark.parametrize(
    ("response_format", "expected"),
    [
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
            {"type": "json_schema", "json_schema": SCHEMA},
        ),
        ({"type": "text"}, None),
    ],
)
def test_shape_of_the_answer(response_format: dict[str, Any], expected: dict[str, Any] | None) -> None:
    """The schema of an answer stands without the wrapping that OpenAI has around it."""
    assert expected == written(response_format=response_format).get("response_format")


@pytest.mark.parametrize("members", [{"stream": True}, {"tools": [tool("a")]}])
def test_shape_that_the_api_does_not_keep_to(members: dict[str, Any]) -> None:
    """In a stream, and beside tools, the shape of the answer is put into words, and said so."""
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    translated = translate(response_format=wanted, **members)
    body = orjson.loads(translated.written.body)

    assert "response_format" not in body
    assert ("system", "user") == tuple(message["role"] for message in body["messages"])
    assert orjson.dumps(SCHEMA).decode() in body["messages"][0]["content"]
    assert ("emulated=response_format",) == translated.notes


@pytest.mark.parametrize(
    ("model", "chat", "does", "tokens"),
    [
        (MODEL, False, "chat", 4096),
        ("@cf/openai/gpt-oss-120b", True, "chat", 4096),
        ("@cf/zai-org/glm-4.7-flash", True, "chat", 4096),
        ("@cf/google/gemma-4-26b-a4b-it", True, "chat", 4096),
        ("@cf/google/gemma-3-12b-it", False, "chat", 4096),
        ("@cf/meta/llama-2-7b-chat-int8", False, "chat", 1024),
        ("@hf/thebloke/neural-chat-7b-v3-1-awq", False, "chat", 1024),
        ("@cf/baai/bge-m3", False, "embeddings", 4096),
        ("@cf/baai/bge-reranker-base", False, "", 4096),
        ("@cf/black-forest-labs/flux-1-schnell", False, "", 4096),
        ("@cf/openai/whisper", False, "", 4096),
    ],
)
def test_models(model: str, chat: bool, does: str, tokens: int) -> None:  # noqa: FBT001
    """By which API a model is asked, what it does, and how much it may write unasked."""
    assert (chat, does, tokens) == (speaks_chat(model), task(model), default_tokens(model, 4096))
    assert NAME.fullmatch(model)


@pytest.mark.parametrize("name", ["", "/a", "a/../b", "@cf/a?b", "a b", "@cf/a/%2e", "@@cf/a", "a//b", ".a"])
def test_names_that_are_none(name: str) -> None:
    """What would lead elsewhere is no model's name."""
    assert NAME.fullmatch(name) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 40) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3)
    ),
    max_leaves=8,
)
MEMBERS = st.sampled_from(
    ["messages", "tools", "tool_choice", "response_format", "lora", "stop", "top_k", "seed", "n", "thinking"]
)


@given(members=st.dictionaries(MEMBERS, JSON, max_size=4), stream=st.booleans())
def test_no_request_is_too_strange(members: dict[str, Any], *, stream: bool) -> None:
    """Any JSON at all is written as JSON or refused by name."""
    try:
        found: dict[str, Any] | GatewayError = written(stream=stream, **members)
    except GatewayError as error:
        found = error
    if isinstance(found, GatewayError):
        assert found.reason in {Reason.INVALID_REQUEST, Reason.UNSUPPORTED}
        assert found.metadata["param"]
    else:
        assert "messages" in found
