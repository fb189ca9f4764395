from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.providers.dialects.anthropic.stream_reader import MessagesReader
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.neutral.completion import Finish
from services.providers.dialects.neutral.events import (
    CitationAdded,
    Ended,
    Event,
    Failed,
    Finished,
    KeepAlive,
    ReasoningClosed,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallClosed,
    ToolCallDelta,
    ToolCallStarted,
    UsageReport,
)
from services.providers.dialects.neutral.restore import Restore, RestoredEvents
from services.providers.dialects.usage import UsageCounts

if TYPE_CHECKING:
    from collections.abc import Iterable


def event(kind: str, **members: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps({"type": kind, **members}))


def start(**usage: Any) -> bytes:
    return event("message_start", message={"id": "msg_1", "model": "claude-x", "usage": usage})


def block(index: int, kind: str, **content: Any) -> bytes:
    return event("content_block_start", index=index, content_block={"type": kind, **content})


def delta(index: int, kind: str, **members: Any) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, **members})


def close(index: int) -> bytes:
    return event("content_block_stop", index=index)


def stop(reason: str, **members: Any) -> bytes:
    return event("message_delta", delta={"stop_reason": reason, **members}) + event("message_stop")


def read(data: bytes, *, size: int = 10**6, max_event_bytes: int = 100_000) -> list[Event]:
    reader = MessagesReader(max_event_bytes)
    found = [
        one for at in range(0, len(data), size) for one in reader.feed(data[at : at + size])
    ] + reader.finish()
    return [one for one in found if not isinstance(one, KeepAlive)]


def of(events: Iterable[Event], *kinds: type) -> list[Event]:
    return [one for one in events if isinstance(one, kinds)]


def test_whole_answer() -> None:
    """Cases 43, 44 and 51: an answer begins once, counts usage as it comes, and ends once."""
    usage = {
        "input_tokens": 5,
        "cache_creation": {"ephemeral_1h_input_tokens": 7},
        "service_tier": "standard",
    }
    data = start(**usage) + block(0, "text", text="") + delta(0, "text_delta", text="A") + close(0)
    data += event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 3})
    data += event("message_stop")

    first = UsageCounts(input_tokens=12, cache_write_tokens=7, cache_write_1h_tokens=7)
    last = UsageCounts(input_tokens=12, output_tokens=3, cache_write_tokens=7, cache_write_1h_tokens=7)
    assert [
        Started("msg_1", "claude-x", "default"),
        UsageReport(first),
        TextDelta("A"),
        UsageReport(last),
        Finished(Finish.STOP),
        Ended(),
    ] == read(data)


def test_ping_keeps_alive() -> None:
    """Case 49: a ping says that the provider is still there, and nothing else."""
    assert [KeepAlive()] == MessagesReader().feed(event("ping"))


def test_thoughts_in_several_blocks() -> None:
    """Case 48: each signature belongs to the thoughts of its own block, in however many pieces it comes."""
    data = block(0, "thinking", thinking="a") + close(0)
    data += block(1, "thinking", thinking="") + delta(1, "thinking_delta", thinking="b")
    data += delta(1, "signature_delta", signature="s1") + delta(1, "signature_delta", signature="s2")
    data += close(1) + block(2, "redacted_thinking", data="d") + close(2) + stop("end_turn")

    assert [
        ReasoningDelta("a"),
        ReasoningClosed(),
        ReasoningDelta("b"),
        ReasoningClosed(signature="s1s2", origin="anthropic"),
        ReasoningClosed(sealed="d", origin="anthropic"),
    ] == of(read(data), ReasoningDelta, ReasoningClosed)


@pytest.mark.parametrize("cited_first", [True, False])
def test_citations(cited_first: bool) -> None:  # noqa: FBT001
    """Case 55: a source is told with the extent of its block, whether it comes before or after the text."""
    source = {
        "type": "web_search_result_location",
        "url": "https://x.test",
        "title": "T",
        "encrypted_index": "E",
    }
    pieces = [delta(1, "text_delta", text="fact"), delta(1, "citations_delta", citation=source)]
    data = block(0, "text", text="So: ") + close(0) + block(1, "text", text="", citations=[])
    data += b"".join(reversed(pieces) if cited_first else pieces) + close(1) + stop("end_turn")

    cited = {"url": "https://x.test", "title": "T", "start_index": 4, "end_index": 8, "encrypted_index": "E"}
    assert [CitationAdded({"type": "url_citation", "url_citation": cited})] == of(read(data), CitationAdded)


def test_refusal_is_explained() -> None:
    """Case 41: the words of a refusal come before its end."""
    data = stop("refusal", stop_details={"type": "refusal", "explanation": "No."})

    assert [RefusalDelta("No."), Finished(Finish.CONTENT_FILTER)] == read(data)[1:-1]


def test_stop_sequence_is_told() -> None:
    """Case 41: which stop sequence was met goes along."""
    assert [Finished(Finish.STOP, "END")] == of(read(stop("stop_sequence", stop_sequence="END")), Finished)


def test_calls_side_by_side() -> None:
    """Case 45: pieces of calls that are open at the same time go to their own calls."""
    data = block(1, "tool_use", id="a", name="f", input={}) + block(2, "tool_use", name="g")
    data += delta(2, "input_json_delta", partial_json="{2}") + delta(
        1, "input_json_delta", partial_json="{1}"
    )
    data += close(2) + stop("tool_use")

    assert [
        ToolCallStarted(0, "a", "f"),
        ToolCallStarted(1, "call_1", "g"),
        ToolCallDelta(1, "{2}"),
        ToolCallDelta(0, "{1}"),
        ToolCallClosed(1),
        ToolCallClosed(0),
        Finished(Finish.TOOL_CALLS),
    ] == read(data)[1:-1]


def test_free_text_tool() -> None:
    """Case 18: a call of a tool that takes free text is held until its text can be read whole."""
    data = block(0, "tool_use", id="a", name="patch", input={})
    data += delta(0, "input_json_delta", partial_json='{"input":"x')
    data += delta(0, "input_json_delta", partial_json='\\ny"}') + close(0)
    data += block(1, "tool_use", id="b", name="f", input={}) + stop("tool_use")
    restored = RestoredEvents(Restore(custom_tools=frozenset({"patch"})))

    assert [
        ToolCallStarted(0, "a", "patch", custom=True),
        ToolCallDelta(0, "x\ny"),
        ToolCallClosed(0),
        ToolCallStarted(1, "b", "f"),
        ToolCallClosed(1),
        Finished(Finish.TOOL_CALLS),
    ] == restored.restore(read(data))[1:-1]


def test_nothing_follows_the_reason() -> None:
    """Case 53: what comes after the reason and before the end is no part of the answer."""
    late = block(0, "text", text="late") + delta(0, "text_delta", text="late") + close(0)
    data = event("message_delta", delta={"stop_reason": "end_turn"}) + late + stop("max_tokens")

    assert [Finished(Finish.STOP), Ended()] == read(data)[1:]


@pytest.mark.parametrize(
    "data",
    [
        b"".join(block(index, "text", text="") for index in range(300)),
        block(0, "thinking") + delta(0, "signature_delta", signature="x" * 600) * 2,
        b'event: content_block_start\ndata: {"content_block":{"type":"tool_use","input":%s}}\n\n'
        % (b'{"a":' * 300 + b"1" + b"}" * 300),
    ],
)
def test_memory_is_bounded(data: bytes) -> None:
    """Case 146: blocks without end, signatures without end and input without bottom are given up."""
    failure = read(data, max_event_bytes=100_000 if len(data) > 5000 else 1000)[-1]

    assert isinstance(failure, Failed)
    assert FailureClass.MALFORMED is failure.failure_class


MEMBERS = [
    "type",
    "index",
    "delta",
    "content_block",
    "message",
    "usage",
    "text",
    "thinking",
    "signature",
    "partial_json",
    "input",
    "citation",
    "citations",
    "url",
    "stop_reason",
    "stop_details",
    "explanation",
    "error",
    "name",
    "id",
    "data",
]
KINDS = [
    "message_start",
    "message_delta",
    "message_stop",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "error",
    "ping",
    "text",
    "tool_use",
    "thinking",
    "redacted_thinking",
    "text_delta",
    "input_json_delta",
    "thinking_delta",
    "signature_delta",
    "citations_delta",
    "web_search_result_location",
    "https://x.test",
    "end_turn",
    "refusal",
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 3)
    | st.floats()
    | st.sampled_from(KINDS)
    | st.text(max_size=3),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), children, max_size=5)
    ),
    max_leaves=12,
)
EVENTS = st.dictionaries(st.sampled_from(MEMBERS), VALUES, max_size=6) | VALUES
STREAMS = st.lists(
    EVENTS.map(lambda value: b"data: " + json.dumps(value).encode() + b"\n\n") | st.binary(max_size=20),
    max_size=8,
).map(b"".join)


@given(data=STREAMS, size=st.integers(1, 60))
def test_any_bytes_in_any_pieces(data: bytes, size: int) -> None:
    """Cases 54 and 146: any JSON gives an ordered answer with one end, the same however it is cut."""
    events = read(data)

    assert events == read(data, size=size)
    assert [events[-1]] == of(events, Ended, Failed)
    assert events[0] in of(events, Started, Failed)
    assert 1 >= len(of(events, Started))
    assert isinstance(events[-1], Failed) or 1 == len(of(events, Finished))
