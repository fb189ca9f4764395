"""Converse under arbitrary input: nothing crashes, nothing that Converse can say is lost."""

from __future__ import annotations

import base64
from contextlib import suppress
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError
from services.providers.adapters.aws_eventstream import AwsFrames
from services.providers.dialects.converse.answer_reader import read_answer
from services.providers.dialects.converse.embeddings import read_embeddings
from services.providers.dialects.converse.failures import read_error
from services.providers.dialects.converse.native_meter import NativeMeter, read_native_answer
from services.providers.dialects.converse.request_writer import write_request
from services.providers.dialects.converse.stream_reader import ConverseStreamReader
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.neutral.conversation import (
    CacheMark,
    Conversation,
    FunctionTool,
    MediaPart,
    Message,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from services.providers.dialects.neutral.events import (
    Ended,
    Event,
    Failed,
    KeepAlive,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from services.providers.dialects.neutral.notes import Notes
from services.providers.dialects.neutral.sides import InBandError
from services.providers.dialects.openai_chat.side import CLIENT
from tests.fakes import eventstream as aws
from tests.fakes.converse_model import problems

MODELS = [
    "anthropic.claude-3-haiku-20240307-v1:0",
    "us.anthropic.claude-opus-4-5-20251101-v1:0",
    "amazon.nova-pro-v1:0",
    "meta.llama3-1-8b-instruct-v1:0",
    "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc",
]
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.sampled_from(["look", "a.b", "a_b", "über", "x" * 70, ""])
IDS = st.sampled_from(["c1", "c2", "call|" + "y" * 70])
MARKS = st.sampled_from([None, CacheMark(), CacheMark(ttl="1h")])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
TEXTS = st.builds(TextPart, text=WORDS, cache=MARKS)
PICTURES = st.builds(
    MediaPart,
    kind=st.sampled_from(["image", "document"]),
    media_type=st.sampled_from(["image/png", "application/pdf", "text/plain"]),
    data=st.just("AAAA"),
    name=WORDS,
    cache=MARKS,
)
CALLS = st.builds(
    ToolCallPart,
    id=IDS,
    name=NAMES,
    arguments=st.sampled_from(["", "{}", '{"a":[1,{"b":null}]}', "[2]", "nope"]),
    cache=MARKS,
)
RESULTS = st.builds(
    ToolResultPart, call_id=IDS, content=st.lists(TEXTS, max_size=2), is_error=st.sampled_from([None, True])
)
THOUGHTS = st.builds(
    ReasoningPart,
    text=WORDS,
    signature=st.sampled_from(["", "s"]),
    sealed=st.sampled_from(["", "AAAA", "?"]),
    origin=st.sampled_from(["", "anthropic", "converse", "gemini"]),
)
MESSAGES = st.one_of(
    st.builds(Message, role=st.just("system"), parts=st.lists(TEXTS, max_size=2)),
    st.builds(Message, role=st.just("user"), parts=st.lists(TEXTS | PICTURES, max_size=3)),
    st.builds(
        Message,
        role=st.just("assistant"),
        parts=st.lists(TEXTS | CALLS | THOUGHTS | st.builds(RefusalPart, text=WORDS), max_size=4),
    ),
    st.builds(Message, role=st.just("tool"), parts=st.lists(RESULTS, max_size=2)),
)
TOOLS = st.builds(
    FunctionTool,
    name=NAMES.filter(bool),
    description=WORDS,
    parameters=st.sampled_from([None, {}, {"type": "object"}, {"properties": {}}]),
    strict=st.sampled_from([None, True]),
    cache=MARKS,
)
CHOICES = st.sampled_from(
    [
        None,
        ToolChoice(mode="auto"),
        ToolChoice(mode="none"),
        ToolChoice(mode="required"),
        ToolChoice(mode="auto", allowed=("look",)),
    ]
)


def said(messages: list[Message], roles: tuple[str, ...]) -> list[str]:
    return [
        part.text
        for message in messages
        if message.role in roles
        for part in message.parts
        if isinstance(part, TextPart | RefusalPart) and part.text.strip()
    ]


def written(request: dict[str, Any], *roles: str) -> list[str]:
    blocks = [
        block for message in request["messages"] if message["role"] in roles for block in message["content"]
    ]
    return [block["text"] for block in blocks if "text" in block]


@given(st.lists(MESSAGES, max_size=6), st.lists(TOOLS, max_size=3), CHOICES, st.sampled_from(MODELS))
def test_a_conversation_loses_nothing(
    messages: list[Message], tools: list[FunctionTool], choice: ToolChoice | None, model: str
) -> None:
    """Texts, calls and results all arrive, in order, in a request that fits AWS's own description of it."""
    conversation = Conversation(messages=messages, tools=[*tools], tool_choice=choice)
    try:
        body = write_request(conversation, model, stream=False, notes=Notes()).body
    except GatewayError:
        return
    request = orjson.loads(body)

    assert problems("Converse", request) == ""
    roles = [message["role"] for message in request["messages"]]
    assert roles[0] == "user"
    assert all(one != other for one, other in pairwise(roles))
    assert [block["text"] for block in request.get("system", []) if "text" in block] == said(
        messages, ("system",)
    )
    ours = said(messages, ("assistant",))
    theirs = written(request, "assistant")
    assert [text.rstrip() for text in theirs] == [text.rstrip() for text in ours]
    added = {".", "See the attached document."}
    assert [t for t in written(request, "user") if t not in added] == [
        t for t in said(messages, ("user",)) if t not in added
    ]
    blocks = [block for message in request["messages"] for block in message["content"]]
    for kind, part in (("toolUse", ToolCallPart), ("toolResult", ToolResultPart)):
        expected = sum(isinstance(found, part) for message in messages for found in message.parts)
        assert sum(kind in block for block in blocks) == expected


@given(JSON, JSON, JSON)
def test_any_json_is_written_or_refused(messages: Any, tools: Any, other: Any) -> None:
    """No request of a client's crashes reader or writer."""
    chat = {
        "model": "m",
        "messages": messages,
        "tools": tools,
        "response_format": other,
        "tool_choice": other,
    }
    for document in (chat, {**chat, "messages": [{"role": "user", "content": messages}]}, other):
        notes = Notes()
        try:
            body = orjson.dumps(document)
        except TypeError:
            continue
        with suppress(GatewayError):
            write_request(CLIENT.read_request(body, notes), MODELS[0], stream=False, notes=notes)


def nearly(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Make answers that are right in outline and arbitrary inside."""
    block = st.one_of(
        inner,
        st.fixed_dictionaries({"text": inner}),
        st.fixed_dictionaries({"toolUse": inner | st.fixed_dictionaries({"input": inner, "name": inner})}),
        st.fixed_dictionaries({"reasoningContent": inner | st.fixed_dictionaries({"reasoningText": inner})}),
        st.fixed_dictionaries(
            {"citationsContent": inner | st.fixed_dictionaries({"citations": inner, "content": inner})}
        ),
        st.fixed_dictionaries({"image": inner | st.fixed_dictionaries({"source": inner, "format": inner})}),
    )
    message = st.fixed_dictionaries({"content": inner | st.lists(block, max_size=3)})
    return st.fixed_dictionaries(
        {
            "output": inner | st.fixed_dictionaries({"message": inner | message}),
            "stopReason": inner,
            "usage": inner,
        },
        optional={
            "trace": inner,
            "serviceTier": inner,
            "additionalModelResponseFields": inner,
            "embedding": inner,
        },
    )


@given(st.one_of(JSON, nearly(JSON)))
def test_any_answer_is_read_or_malformed(document: Any) -> None:
    """No answer of a provider's crashes a reader of whole answers or errors."""
    try:
        body = orjson.dumps(document)
    except TypeError:
        return
    read_error(400, body, {})
    read_native_answer(body, {})
    for reader in (read_answer, read_embeddings):
        with suppress(GatewayError, InBandError):
            reader(body)


EVENTS = st.sampled_from(
    [
        "messageStart",
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
        "chunk",
        "x",
    ]
)
INDICES = st.sampled_from([0, 1, 2, None, "0", True])
PAYLOADS = st.one_of(
    JSON,
    st.builds(lambda index, delta: {"contentBlockIndex": index, "delta": delta}, INDICES, JSON),
    st.builds(
        lambda index, kind, inner: {
            "contentBlockIndex": index,
            "delta": {kind: inner},
            "start": {kind: inner},
        },
        INDICES,
        st.sampled_from(["text", "toolUse", "reasoningContent", "image", "citation"]),
        JSON | st.builds(lambda text: {"input": text, "text": text, "name": text, "source": text}, JSON),
    ),
    st.builds(
        lambda inner: {"stopReason": inner, "usage": inner, "additionalModelResponseFields": inner}, JSON
    ),
    st.builds(lambda inner: {"bytes": inner}, WORDS | JSON),
)


def frames(events: list[tuple[str, Any]]) -> bytes:
    out = b""
    for kind, payload in events:
        try:
            raw = orjson.dumps(payload)
        except TypeError:
            raw = b"{}"
        out += aws.frame({":event-type": kind, ":message-type": "event"}, raw)
    return out


def stream_of(data: bytes, size: int) -> list[Event]:
    reader = ConverseStreamReader(AwsFrames(1 << 16), "converse")
    out: list[Event] = []
    for at in range(0, len(data), size):
        out += reader.feed(data[at : at + size])
    return [event for event in out + reader.finish() if event != KeepAlive()]


@given(st.lists(st.tuples(EVENTS, PAYLOADS), max_size=8), st.integers(1, 40))
def test_any_events_however_split(events: list[tuple[str, Any]], size: int) -> None:
    """Case 111: arbitrary events give the same result however they are split, one end, and nothing raises."""
    data = frames(events)
    out = stream_of(data, 10**6)

    assert stream_of(data, size) == out
    assert [isinstance(event, Ended | Failed) for event in out].count(True) == 1
    assert isinstance(out[-1], Ended | Failed)
    assert out[0] == Started() or isinstance(out[0], Failed)


@given(st.data(), st.integers(1, 50))
def test_corrupted_frames_are_malformed(data: st.DataObject, size: int) -> None:
    """Case 111: a flipped bit before the stop is a malformed stream, wherever it is, and nothing raises."""
    stream = bytearray(aws.message_start() + aws.content_delta(0, text="Hello") + aws.content_stop(0))
    stream[data.draw(st.integers(0, len(stream) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    last = stream_of(bytes(stream) + aws.message_stop() + aws.metadata(inputTokens=1, outputTokens=1), size)[
        -1
    ]

    assert isinstance(last, Failed)
    assert last.failure_class is FailureClass.MALFORMED


@given(st.lists(WORDS.filter(bool), max_size=5), st.lists(st.tuples(WORDS.filter(bool), WORDS), max_size=3))
def test_content_is_conserved(pieces: list[str], calls: list[tuple[str, str]]) -> None:
    """All text and all arguments of a stream come out, letter by letter."""
    data = aws.message_start() + b"".join(aws.content_delta(0, text=piece) for piece in pieces)
    for index, (name, arguments) in enumerate(calls, 1):
        data += aws.content_start(index, toolUse={"toolUseId": f"t{index}", "name": name})
        data += aws.content_delta(index, toolUse={"input": arguments}) + aws.content_stop(index)
    out = stream_of(data + aws.message_stop(), 13)

    assert [event.text for event in out if isinstance(event, TextDelta)] == pieces
    assert [event.name for event in out if isinstance(event, ToolCallStarted)] == [name for name, _ in calls]
    assert "".join(event.arguments for event in out if isinstance(event, ToolCallDelta)) == "".join(
        arguments for _, arguments in calls
    )


@given(
    st.binary(max_size=300) | st.lists(st.tuples(EVENTS, PAYLOADS), max_size=6).map(frames),
    st.integers(1, 30),
)
def test_a_meter_hands_on_what_it_gets(data: bytes, size: int) -> None:
    """Whatever a native stream holds, its bytes go on as they are, at once, and nothing raises."""
    meter = NativeMeter(AwsFrames(1 << 16))
    out = b"".join(meter.feed(data[at : at + size]) for at in range(0, len(data), size))

    assert (out, meter.finish(), meter.done) == (data, b"", True)


@pytest.mark.parametrize("deep", [500, 5000])
def test_deep_json(deep: int) -> None:
    """JSON nested beyond what parser or writer take is an error, and no crash."""
    nested = b"[" * deep + b"]" * deep
    for raw in (b'{"output":{"message":{"content":[{"toolUse":{"input":%s}}]}}}' % nested, nested):
        with suppress(GatewayError):
            read_answer(raw)
    frame = aws.frame(
        {":event-type": "contentBlockDelta", ":message-type": "event"}, b'{"delta":%s}' % nested
    )
    chunk = aws.event("chunk", {"bytes": base64.b64encode(nested).decode()})
    stream_of(frame, 100)
    NativeMeter(AwsFrames(1 << 20)).feed(frame + chunk)
