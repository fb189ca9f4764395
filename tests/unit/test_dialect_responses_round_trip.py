from __future__ import annotations

from base64 import b64encode
from copy import deepcopy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.providers.dialects.neutral.conversation import (
    Conversation,
    FunctionTool,
    MediaPart,
    Message,
    ReasoningOptions,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    ServerTool,
    TextPart,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from services.providers.dialects.neutral.notes import Notes
from services.providers.dialects.neutral.translate import Translation, translate_request
from services.providers.dialects.openai_chat.side import CLIENT as CHAT
from services.providers.dialects.openai_responses.request_reader import read_request
from services.providers.dialects.openai_responses.target_side import responses_target

TARGET = responses_target(openai_models=False)
WORDS = st.text(min_size=1, max_size=8)
BASE64 = st.binary(min_size=1, max_size=9).map(lambda data: b64encode(data).decode())
NAMES = st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True)
IDS = st.from_regex(r"[a-z0-9_]{1,64}", fullmatch=True)
FLAGS = st.booleans()
URL_CITATIONS = st.builds(
    lambda url, title: {
        "type": "url_citation",
        "url_citation": {"start_index": 0, "end_index": 1, "url": url, "title": title},
    },
    WORDS,
    WORDS,
)
TEXTS = st.builds(TextPart, text=WORDS)
SAID = st.builds(TextPart, text=WORDS, citations=st.lists(URL_CITATIONS, max_size=2))
MEDIA = st.one_of(
    st.builds(
        MediaPart,
        kind=st.just("image"),
        media_type=st.sampled_from(["image/png", "image/jpeg"]),
        data=BASE64,
        detail=st.sampled_from(["low", "auto"]),
    ),
    st.builds(MediaPart, kind=st.just("image"), file_id=WORDS, detail=st.just("high")),
    st.builds(
        MediaPart, kind=st.just("document"), media_type=st.just("application/pdf"), data=BASE64, name=WORDS
    ),
    st.builds(MediaPart, kind=st.just("document"), file_id=WORDS),
)
THOUGHTS = st.builds(
    ReasoningPart,
    text=st.just("") | WORDS,
    sealed=st.from_regex(r"gA[a-z]{1,5}", fullmatch=True),
    origin=st.just("openai"),
    item_id=IDS,
)
CALLS = st.builds(ToolCallPart, id=IDS, name=NAMES, arguments=WORDS, custom=FLAGS)
RESULTS = st.builds(
    ToolResultPart, call_id=st.integers().map(str), content=st.lists(TEXTS | MEDIA, max_size=3), custom=FLAGS
)
MODEL_IMAGES = st.builds(
    MediaPart, kind=st.just("image"), media_type=st.sampled_from(["image/png", "image/webp"]), data=BASE64
)
MESSAGES = st.one_of(
    st.builds(
        Message,
        role=st.sampled_from(["system", "developer"]),
        parts=st.lists(TEXTS, min_size=1, max_size=2),
    ),
    st.builds(Message, role=st.just("user"), parts=st.lists(TEXTS | MEDIA, min_size=1, max_size=3)),
    st.builds(
        Message,
        role=st.just("assistant"),
        parts=st.lists(
            SAID | st.builds(RefusalPart, text=WORDS) | THOUGHTS | CALLS | MODEL_IMAGES,
            min_size=1,
            max_size=4,
        ),
    ),
    st.builds(Message, role=st.just("tool"), parts=st.lists(RESULTS, min_size=1, max_size=2)),
)
SCHEMAS = st.dictionaries(WORDS, st.none() | WORDS | st.integers(-9, 9), max_size=2)
TOOLS = st.one_of(
    st.builds(FunctionTool, name=NAMES, description=st.just("") | WORDS, parameters=SCHEMAS, strict=FLAGS),
    st.builds(
        FunctionTool,
        name=NAMES,
        custom=st.sampled_from([True]),
        grammar=st.none() | st.just({"type": "grammar", "grammar": {"syntax": "regex", "definition": "a"}}),
    ),
    st.builds(ServerTool, kind=st.just("mcp"), raw=SCHEMAS.map(lambda members: {**members, "type": "mcp"})),
)
FORMATS = st.none() | st.builds(
    ResponseFormat,
    kind=st.just("json_schema"),
    name=NAMES,
    description=st.just("") | WORDS,
    schema=SCHEMAS,
    strict=st.none() | FLAGS,
)
CONVERSATIONS = st.builds(
    Conversation,
    messages=st.lists(MESSAGES, min_size=1, max_size=5),
    tools=st.lists(TOOLS, max_size=3, unique_by=lambda tool: getattr(tool, "name", "")),
    response_format=FORMATS,
    reasoning=st.none() | st.builds(ReasoningOptions, effort=st.sampled_from(["none", "low", "xhigh"])),
    max_tokens=st.none() | st.integers(16, 99),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    user=st.just("") | WORDS,
    metadata=st.dictionaries(WORDS, WORDS, max_size=2),
    service_tier=st.sampled_from(["", "auto", "flex"]),
    verbosity=st.sampled_from(["", "low"]),
    extra=st.dictionaries(st.sampled_from(["prompt_cache_key"]), WORDS),
)


def _merged(conversation: Conversation) -> Conversation:
    """Put messages together that responses cannot tell apart, and leave out where they stood."""
    messages: list[Message] = []
    for message in conversation.messages:
        message.path = ""
        if messages and message.role in {"assistant", "tool"} and messages[-1].role == message.role:
            messages[-1].parts += message.parts
        else:
            messages.append(message)
    conversation.messages = messages
    for tool in conversation.tools:
        tool.path = ""
    return conversation


@given(CONVERSATIONS, st.data())
def test_round_trip(conversation: Conversation, data: st.DataObject) -> None:
    """Case 153: a conversation that is written as a request and read again has lost nothing."""
    functions = [tool.name for tool in conversation.tools if isinstance(tool, FunctionTool)]
    if functions:
        name = data.draw(st.sampled_from(functions))
        choices = [ToolChoice(mode="none"), ToolChoice(mode="required", name=name), None]
        conversation.tool_choice = data.draw(st.sampled_from(choices))
        conversation.parallel_tool_calls = data.draw(st.none() | FLAGS)
    called = {
        part.id
        for message in conversation.messages
        for part in message.parts
        if isinstance(part, ToolCallPart)
    }
    for message in conversation.messages:
        for part in message.parts:
            if isinstance(part, ToolResultPart):
                part.call_id = f"r{part.call_id}" if part.call_id in called else part.call_id
    written = TARGET.write_request(deepcopy(conversation), "m", False, Notes(strict=True))  # noqa: FBT003
    found = read_request(written.body, Notes(strict=True))
    found.echo, found.include_usage = {}, False

    assert _merged(conversation) == _merged(found)


REASONING: dict[str, Any] = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Hm"}],
    "encrypted_content": "gA",
}
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "model": "gpt-5.4",
    "status": "completed",
    "output": [REASONING, CALL],
}


def _asked(*messages: Any) -> Translation:
    """Translate a chat request with a tool for OpenAI's responses."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    request = {"model": "x", "messages": [{"role": "user", "content": "Hi"}, *messages], "tools": tools}
    body = orjson.dumps({**request, "reasoning_effort": "high"})
    target = responses_target(openai_models=True)
    return translate_request(CHAT, target, body, model="gpt-5.4", stream=False, now_s=1, strict=True)


def _whole_message() -> dict[str, Any]:
    answer = orjson.loads(_asked().read_answer(orjson.dumps(RESPONSE)).body)
    message: dict[str, Any] = answer["choices"][0]["message"]
    return message


def _streamed_message() -> dict[str, Any]:
    """Put the message of a stream together, as clients do."""
    added = {"output_index": 0, "item": {**REASONING, "summary": [], "encrypted_content": ""}}
    thought = {"output_index": 0, "summary_index": 0, "delta": "Hm"}
    events: list[tuple[str, dict[str, Any]]] = [
        ("created", {"response": {**RESPONSE, "status": "in_progress", "output": []}}),
        ("output_item.added", added),
        ("reasoning_summary_text.delta", thought),
        ("output_item.done", {"output_index": 0, "item": REASONING}),
        ("output_item.done", {"output_index": 1, "item": CALL}),
        ("completed", {"response": RESPONSE}),
    ]
    stream = _asked().stream(max_event_bytes=1 << 20)
    data = b"".join(
        b"data: %s\n\n" % orjson.dumps({"type": f"response.{kind}", **rest}) for kind, rest in events
    )
    chunks = (stream.feed(data) + stream.finish()).split(b"\n\n")[:-2]
    message: dict[str, Any] = {"role": "assistant", "content": None, "thinking_blocks": [], "tool_calls": []}
    for chunk in chunks:
        delta = orjson.loads(chunk.removeprefix(b"data: "))["choices"][0]["delta"]
        message["thinking_blocks"] += delta.get("thinking_blocks", [])
        for call in delta.get("tool_calls", []):
            if "id" in call:
                message["tool_calls"].append(call)
            else:
                message["tool_calls"][-1]["function"]["arguments"] += call["function"]["arguments"]
    return message


@pytest.mark.parametrize("message", [_whole_message, _streamed_message])
def test_reasoning_over_a_tool_round(message: Any) -> None:
    """Case 153: sealed reasoning that a chat client replays over a tool round reaches OpenAI as it was."""
    result = {"role": "tool", "tool_call_id": "c1", "content": "1"}
    asked = orjson.loads(_asked(message(), result).written.body)

    assert [REASONING, CALL] == asked["input"][1:3]
    assert {"type": "function_call_output", "call_id": "c1", "output": "1"} == asked["input"][3]
    assert (["reasoning.encrypted_content"], {"effort": "high"}) == (asked["include"], asked["reasoning"])
