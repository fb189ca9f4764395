"""What the gateway knows of an answer while it goes to the client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.splice.dialects import observe
from services.edge.splice.frames import ArrayFrames, EventFrames
from services.edge.splice.joiner import Joiner
from services.edge.splice.verdict import Dialect, Mode, Verdict
from services.providers.dialects.neutral.events import (
    CitationAdded,
    Event,
    MediaDelta,
    ReasoningClosed,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from tests.fakes.splice_wires import WIRES, context, stream_of

if TYPE_CHECKING:
    from tests.fakes.splice_wires import Wire

Json = dict[str, Any]
EACH_WIRE = pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
HELLO = TextDelta("Hello")
CITATION = {"type": "url_citation", "url_citation": {"url": "https://e.com", "title": "E"}}
LOGPROB = [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}]
OTHER: dict[str, tuple[list[Event], set[str]]] = {
    "call": (
        [HELLO, ToolCallStarted(0, "c", "f"), ToolCallDelta(0, "{}")],
        {"chat", "responses", "messages"},
    ),
    "call first": ([ToolCallStarted(0, "c", "f"), ToolCallDelta(0, "{}"), HELLO], set(WIRES)),
    "refusal": ([HELLO, RefusalDelta("No.")], {"chat", "responses"}),
    "citation": ([HELLO, CitationAdded(CITATION)], {"chat", "responses", "messages"}),
    "picture": ([HELLO, MediaDelta("image/png", "AAAA")], {"chat", "responses", "gemini", "gemini-array"}),
    "probabilities": (
        [TextDelta("Hi", logprobs=LOGPROB)],
        {"chat", "responses", "gemini", "gemini-array"},
    ),
    "second choice": ([HELLO, TextDelta("Hullo", choice=1)], {"chat", "gemini", "gemini-array"}),
    "open thoughts": ([ReasoningDelta("Hm.")], set(WIRES)),
}


@EACH_WIRE
@pytest.mark.parametrize("kind", OTHER)
def test_other_content_cannot_be_gone_on_with(wire: Wire, kind: str) -> None:
    """Once anything but text of one choice has begun, no other stream can go on from there."""
    events, wires = OTHER[kind]
    writer = wire.client.stream_writer(context("one"))
    sent = wire.sent()
    data = writer.write(events)

    assert data == sent.pass_on(data)
    assert (wire.name not in wires) == sent.continuable


@EACH_WIRE
def test_thoughts_that_are_over_do_no_harm(wire: Wire) -> None:
    """They are known of, but text after them can be gone on with."""
    writer = wire.client.stream_writer(context("one"))
    sent = wire.sent()
    sent.pass_on(writer.write([ReasoningDelta("Hm."), ReasoningClosed("c2ln", "", "anthropic"), HELLO]))

    assert (frozenset({"reasoning"}), True) == (sent.other, sent.continuable)
    assert "Hello" == sent.text


@EACH_WIRE
def test_text_at_any_time(wire: Wire) -> None:
    """The text is known after each event, and in the end that the answer is whole."""
    sent = wire.sent()
    texts = set()
    for event in stream_of(wire, ["Hel", "lo"]):
        sent.pass_on(event)
        texts.add(sent.text)

    assert {"", "Hel", "Hello"} - {""} == texts - {""}
    assert (True, False) == (sent.whole, sent.continuable)


@EACH_WIRE
def test_nothing_was_sent_yet(wire: Wire) -> None:
    """An answer that has not begun can be gone on with: by one from its beginning."""
    sent = wire.sent()

    assert (False, True, "", b"") == (sent.started, sent.continuable, sent.text, sent.withheld)


def test_long_streams_are_not_kept() -> None:
    """What was read of a stream is let go, but for its text."""
    wire = WIRES["chat"]
    sent = wire.sent()
    for event in stream_of(wire, ["word "] * 2000):
        sent.pass_on(event)
        assert sum(map(len, sent._unread)) <= 64 << 10

    assert "word " * 2000 == sent.text


LEAVES = st.none() | st.booleans() | st.integers(-2, 5) | st.sampled_from(
    [
        "text", "error", "message", "content_block_start", "content_block_delta", "content_block_stop",
        "text_delta", "message_delta", "message_start", "message_stop", "thinking", "reasoning",
        "output_text",
        "response.created", "response.output_item.added", "response.output_text.delta", "function_call",
        "response.content_part.added", "response.content_part.done", "response.output_item.done",
        "response.output_text.annotation.added", "response.completed", "response.refusal.delta", "refusal",
    ]
)  # fmt: skip
KEYS = st.sampled_from(
    [
        "type", "choices", "index", "delta", "content", "finish_reason", "usage", "response", "output",
        "item", "output_index", "part", "text", "content_block", "message", "candidates", "parts",
        "finishReason",
        "thought", "usageMetadata", "error", "id", "role", "logprobs", "output_tokens", "annotation",
    ]
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
EVENTS = st.lists(st.dictionaries(KEYS, VALUES, max_size=6), max_size=6)


@EACH_WIRE
@given(first=EVENTS, second=EVENTS, sound=st.booleans())
def test_whatever_comes(wire: Wire, first: list[Json], second: list[Json], sound: bool) -> None:  # noqa: FBT001 - a given value
    """No event of either stream, however odd, makes anything raise."""
    sent = wire.sent()
    frames = sent.frames.another()
    begun = b"".join(stream_of(wire, ["Hel", "lo"])[:3]) if sound else b""
    if begun:
        frames.feed(begun)
    sent.pass_on(begun + b"".join(frames.write("", orjson.dumps(event)) for event in first))
    _ = sent.text, sent.whole, sent.continuable, sent.other, sent.told
    frames = sent.frames.another()
    for mode in Mode:
        joiner = Joiner(sent, mode)
        for event in second:
            joiner.feed(frames.write("", orjson.dumps(event)))

        assert joiner.finish().verdict in {Verdict.WHOLE, Verdict.BROKEN, Verdict.MISMATCH}


@EACH_WIRE
@given(data=st.binary(max_size=80))
def test_what_is_no_event(wire: Wire, data: bytes) -> None:
    """Bytes that are no event at all are a broken fallback, or none yet."""
    sent = wire.sent()
    sent.pass_on(b"".join(stream_of(wire, ["Hel", "lo"])[:3]))
    joiner = Joiner(sent, Mode.SPLICE)
    joiner.feed(data)

    assert joiner.finish().verdict in {Verdict.BROKEN, Verdict.MISMATCH}


def test_malformed_first_streams() -> None:
    """An event that is no JSON cannot be gone on from, since nobody knows what the client made of it."""
    sent = observe(Dialect.CHAT)
    sent.pass_on(b"data: {oops\n\n")

    assert not sent.continuable


ELEMENTS = st.lists(
    st.dictionaries(st.text(max_size=4), VALUES | st.text('"\\{}[],', max_size=6), max_size=3)
)


@given(
    elements=ELEMENTS,
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    between=st.sampled_from([b",", b",\r\n", b"\n,\n"]),
)
def test_array_frames(elements: list[Json], sizes: list[int], between: bytes) -> None:
    """Elements are passed on as soon as they are whole, whatever is in them and however they come."""
    data = b"[" + between.join(orjson.dumps(element) for element in elements) + b"]"
    frames, out, at, turn = ArrayFrames(), [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        out.append(frames.feed(data[at : at + size]))
        at, turn = at + size, turn + 1

    assert (data, b"", True) == (b"".join(out), frames.rest(), frames.ended)
    found = [orjson.loads(text) for block in out for _, text in ArrayFrames().parse(block)]
    assert elements == found
    assert b"".join(out) == b"".join(piece for block in out for piece in frames.split(block))


def test_arrays_that_are_gone_on_with() -> None:
    """An element that is written after others is parted from them, and the first one opens the array."""
    frames = ArrayFrames()

    assert b'[{"a":1}' == frames.write("", b'{"a":1}')
    assert b',\r\n{"b":2}' == frames.write("", b'{"b":2}')
    assert (b"]", b"") == (frames.end(), frames.end())
    assert b"[]" == ArrayFrames().end()


def test_event_frames() -> None:
    """Events are written with their name, where they have one."""
    frames = EventFrames()

    assert b"event: a\ndata: {}\n\n" == frames.write("a", b"{}")
    assert b"data: {}\n\n" == frames.write("", b"{}")
