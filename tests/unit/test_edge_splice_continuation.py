"""The request that asks a fallback to go on from a partial answer."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.splice.continuation import continuation_request
from services.edge.splice.verdict import Dialect

Json = dict[str, Any]
ASKED = {"role": "user", "content": "Hello?"}
CONTENTS = [{"role": "user", "parts": [{"text": "Hello?"}]}]
BODIES: dict[Dialect, Json] = {
    Dialect.CHAT: {"model": "x", "messages": [ASKED], "stream": True},
    Dialect.RESPONSES: {"model": "x", "input": [ASKED], "stream": True},
    Dialect.MESSAGES: {"model": "x", "max_tokens": 9, "messages": [ASKED], "stream": True},
    Dialect.GEMINI: {"contents": CONTENTS},
}
TURNS: dict[Dialect, tuple[str, Any]] = {
    Dialect.CHAT: ("messages", {"role": "assistant", "content": "Hi, I"}),
    Dialect.RESPONSES: ("input", {"type": "message", "role": "assistant", "content": "Hi, I"}),
    Dialect.MESSAGES: ("messages", {"role": "assistant", "content": "Hi, I"}),
    Dialect.GEMINI: ("contents", {"role": "model", "parts": [{"text": "Hi, I"}]}),
}
EACH = pytest.mark.parametrize("dialect", list(Dialect), ids=lambda dialect: dialect.name.lower())


@EACH
def test_the_answer_so_far_is_the_last_turn(dialect: Dialect) -> None:
    """The turn is added at the end, without space at its own; nothing else changes."""
    name, turn = TURNS[dialect]
    body = BODIES[dialect]
    found = continuation_request(dialect, orjson.dumps(body), "Hi, I \n")
    assert found is not None

    assert {**body, name: [*body[name], turn]} == orjson.loads(found)


@EACH
def test_every_other_byte_stays(dialect: Dialect) -> None:
    """Numbers, escapes, order, space and members that nobody knows are as the client wrote them."""
    name = TURNS[dialect][0]
    entry = b'{"role":"user","content":"\\u0048i","parts":[{"text":"\\u0048i"}]}'
    body = b'{ "x":1.0e2, "%b" : [ %b\n ] ,"y" : "%b","z":[]}' % (name.encode(), entry, name.encode())
    found = continuation_request(dialect, body, "Hi")
    assert found is not None
    before, _, after = body.partition(b"\n ]")

    assert found.startswith(before)
    assert found.endswith(b"]" + after)


@EACH
@pytest.mark.parametrize("text", ["", " \n"])
def test_nothing_was_said_yet(dialect: Dialect, text: str) -> None:
    """Where the client has no text but whitespace, the request is the client's."""
    body = orjson.dumps(BODIES[dialect])

    assert body == continuation_request(dialect, body, text)


def test_a_question_that_is_plain_text() -> None:
    """An input of responses that is a text becomes a list, with the text as it was written."""
    body = b'{"model":"x","input":"\\u0048ello?","stream":true}'

    assert (
        b'{"model":"x","input":[{"type":"message","role":"user","content":"\\u0048ello?"},'
        b'{"type":"message","role":"assistant","content":"Hi"}],"stream":true}'
    ) == continuation_request(Dialect.RESPONSES, body, "Hi")


SCHEMA = {"type": "json_schema", "name": "x", "schema": {"type": "object"}}
FORCED_CHAT = {"type": "function", "function": {"name": "f"}}
ALLOWED = {"mode": "auto", "tools": []}
HINDRANCES: list[tuple[Dialect, Json]] = [
    (Dialect.CHAT, {"n": 2}),
    (Dialect.CHAT, {"logprobs": True}),
    (Dialect.CHAT, {"top_logprobs": 2}),
    (Dialect.CHAT, {"response_format": {"type": "json_object"}}),
    (Dialect.CHAT, {"response_format": {"type": "json_schema", "json_schema": SCHEMA}}),
    (Dialect.CHAT, {"tool_choice": "required"}),
    (Dialect.CHAT, {"tool_choice": FORCED_CHAT}),
    (
        Dialect.CHAT,
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {**ALLOWED, "mode": "required"}}},
    ),
    (Dialect.CHAT, {"function_call": {"name": "f"}}),
    (Dialect.CHAT, {"modalities": ["text", "audio"]}),
    (Dialect.CHAT, {"messages": [ASKED, {"role": "assistant", "content": "{"}]}),
    (Dialect.CHAT, {"messages": []}),
    (Dialect.CHAT, {"messages": "Hello?"}),
    (Dialect.RESPONSES, {"text": {"format": SCHEMA}}),
    (Dialect.RESPONSES, {"tool_choice": "required"}),
    (Dialect.RESPONSES, {"tool_choice": {"type": "function", "name": "f"}}),
    (Dialect.RESPONSES, {"previous_response_id": "resp_1"}),
    (Dialect.RESPONSES, {"conversation": "conv_1"}),
    (Dialect.RESPONSES, {"background": True}),
    (Dialect.RESPONSES, {"top_logprobs": 3}),
    (Dialect.RESPONSES, {"include": ["message.output_text.logprobs"]}),
    (Dialect.RESPONSES, {"input": [ASKED, {"role": "assistant", "content": "{"}]}),
    (Dialect.RESPONSES, {"input": None}),
    (Dialect.MESSAGES, {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    (Dialect.MESSAGES, {"thinking": {"type": "adaptive"}}),
    (Dialect.MESSAGES, {"tool_choice": {"type": "any"}}),
    (Dialect.MESSAGES, {"tool_choice": {"type": "tool", "name": "f"}}),
    (Dialect.MESSAGES, {"output_format": SCHEMA}),
    (Dialect.MESSAGES, {"output_config": {"format": SCHEMA}}),
    (Dialect.MESSAGES, {"messages": [ASKED, {"role": "assistant", "content": "{"}]}),
    (Dialect.GEMINI, {"generationConfig": {"candidateCount": 2}}),
    (Dialect.GEMINI, {"generationConfig": {"responseMimeType": "application/json"}}),
    (Dialect.GEMINI, {"generation_config": {"response_mime_type": "application/json"}}),
    (Dialect.GEMINI, {"generationConfig": {"responseSchema": {"type": "STRING"}}}),
    (Dialect.GEMINI, {"generationConfig": {"responseJsonSchema": {"type": "string"}}}),
    (Dialect.GEMINI, {"generationConfig": {"responseLogprobs": True}}),
    (Dialect.GEMINI, {"generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}}),
    (Dialect.GEMINI, {"generationConfig": {"speechConfig": {"languageCode": "en"}}}),
    (Dialect.GEMINI, {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}),
    (Dialect.GEMINI, {"tool_config": {"function_calling_config": {"mode": "any"}}}),
    (Dialect.GEMINI, {"contents": [*CONTENTS, {"role": "model", "parts": [{"text": "{"}]}]}),
]


@pytest.mark.parametrize(("dialect", "members"), HINDRANCES)
def test_what_no_model_can_go_on_with(dialect: Dialect, members: Json) -> None:
    """Forms that a turn cannot begin, and answers with more to them than text, are not asked for."""
    body = orjson.dumps({**BODIES[dialect], **members})

    assert continuation_request(dialect, body, "Hi") is None


HARMLESS: list[tuple[Dialect, Json]] = [
    (Dialect.CHAT, {"n": 1, "logprobs": False, "response_format": {"type": "text"}, "modalities": ["text"]}),
    (Dialect.CHAT, {"tool_choice": "auto", "tools": []}),
    (Dialect.CHAT, {"tool_choice": {"type": "allowed_tools", "allowed_tools": ALLOWED}}),
    (Dialect.RESPONSES, {"text": {"format": {"type": "text"}}, "tool_choice": "none", "include": []}),
    (Dialect.RESPONSES, {"tool_choice": {"type": "allowed_tools", **ALLOWED}}),
    (Dialect.MESSAGES, {"thinking": {"type": "disabled"}, "tool_choice": {"type": "auto"}}),
    (Dialect.GEMINI, {"generationConfig": {"candidateCount": 1, "responseMimeType": "text/plain"}}),
    (Dialect.GEMINI, {"toolConfig": {"functionCallingConfig": {"mode": "AUTO"}}}),
]


@pytest.mark.parametrize(("dialect", "members"), HARMLESS)
def test_what_does_no_harm(dialect: Dialect, members: Json) -> None:
    """Members that say what holds anyway hinder nothing."""
    assert continuation_request(dialect, orjson.dumps({**BODIES[dialect], **members}), "Hi") is not None


@EACH
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"{}"])
def test_what_is_no_request(dialect: Dialect, body: bytes) -> None:
    """There is nothing to add to."""
    assert continuation_request(dialect, body, "Hi") is None


@EACH
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_text(dialect: Dialect, text: str) -> None:
    """Any text is told as it was, but for the space at its end."""
    name = TURNS[dialect][0]
    found = continuation_request(dialect, orjson.dumps(BODIES[dialect]), text)
    assert found is not None
    last = orjson.loads(found)[name][-1]

    if text.strip():
        assert text.rstrip() == (last["parts"][0]["text"] if "parts" in last else last["content"])
