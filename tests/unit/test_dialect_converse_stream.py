"""Streams of Converse: binary frames in, events of the neutral model or OpenAI's chunks out."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from services.providers.adapters.aws_eventstream import AwsFrames
from services.providers.dialects.converse.side import converse_target
from services.providers.dialects.converse.stream_reader import ConverseStreamReader
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.neutral.completion import Finish
from services.providers.dialects.neutral.events import (
    CitationAdded,
    Ended,
    Event,
    Failed,
    Finished,
    KeepAlive,
    MediaDelta,
    ReasoningClosed,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallClosed,
    ToolCallDelta,
    ToolCallStarted,
    UsageReport,
)
from services.providers.dialects.neutral.translate import TranslatedStream, translate_request
from services.providers.dialects.openai_chat.side import CLIENT
from services.providers.dialects.usage import UsageCounts
from tests.fakes import eventstream as aws

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
START = aws.message_start()
USED = aws.metadata(inputTokens=11, outputTokens=3, totalTokens=14)
SITE = {"title": "T", "location": {"web": {"url": "https://a"}}}
RICH = b"".join(
    [
        START,
        aws.content_delta(0, reasoningContent={"text": "hm"}),
        aws.content_delta(0, reasoningContent={"text": " so"}),
        aws.content_delta(0, reasoningContent={"signature": "si"}),
        aws.content_delta(0, reasoningContent={"signature": "gn"}),
        aws.content_stop(0),
        aws.content_delta(1, reasoningContent={"redactedContent": "AAAA"}),
        aws.content_stop(1),
        aws.content_delta(2, text="Let"),
        aws.content_delta(2, text=""),
        aws.content_delta(2, citation=SITE),
        aws.content_stop(2),
        aws.content_start(3, toolUse={"toolUseId": "a", "name": "look"}),
        aws.content_delta(3, toolUse={"input": '{"a"'}),
        aws.content_delta(3, toolUse={"input": ":1}"}),
        aws.content_stop(3),
        aws.content_start(4, toolUse={"toolUseId": "b", "name": "look"}),
        aws.content_stop(4),
        aws.content_start(5, image={"format": "webp"}),
        aws.content_delta(5, image={"source": {"bytes": "BBBB"}}),
        aws.content_stop(5),
        aws.message_stop("tool_use"),
        USED,
    ]
)


def read(data: bytes, size: int = 10**6, *, finish: bool = True) -> list[Event]:
    reader = ConverseStreamReader(AwsFrames(10**6), "anthropic", lambda: "req-1")
    out: list[Event] = []
    for at in range(0, len(data), size):
        out += reader.feed(data[at : at + size])
    return [event for event in out + (reader.finish() if finish else []) if event != KeepAlive()]


def test_every_kind_of_block() -> None:
    """Case 125: Converse counts all blocks together; calls are counted alone for the client."""
    assert read(RICH) == [
        Started(id="req-1"),
        ReasoningDelta("hm"),
        ReasoningDelta(" so"),
        ReasoningClosed(signature="sign", origin="anthropic"),
        ReasoningClosed(sealed="AAAA", origin="anthropic"),
        TextDelta("Let"),
        CitationAdded({"type": "url_citation", "url_citation": {"url": "https://a", "title": "T"}}),
        ToolCallStarted(0, "a", "look"),
        ToolCallDelta(0, '{"a"'),
        ToolCallDelta(0, ":1}"),
        ToolCallClosed(0),
        ToolCallStarted(1, "b", "look"),
        ToolCallClosed(1),
        MediaDelta("image/webp", "BBBB"),
        Finished(Finish.TOOL_CALLS),
        UsageReport(UsageCounts(input_tokens=11, output_tokens=3)),
        Ended(),
    ]


def test_a_stream_split_at_every_byte() -> None:
    """Case 111: a cut at any byte, and pieces of any size, give the same events."""
    whole = read(RICH)
    for at in range(0, len(RICH), 7):
        reader = ConverseStreamReader(AwsFrames(10**6), "anthropic", lambda: "req-1")
        out = reader.feed(RICH[:at]) + reader.feed(RICH[at:]) + reader.finish()
        assert [event for event in out if event != KeepAlive()] == whole
    assert read(RICH, 1) == whole


@pytest.mark.parametrize(
    ("frame", "failure_class", "status"),
    [
        (aws.exception("throttlingException", "Too many tokens"), FailureClass.RATE_LIMIT, 429),
        (aws.exception("modelStreamErrorException", "Broke"), FailureClass.SERVER, 424),
        (aws.exception("serviceUnavailableException", "Down"), FailureClass.SERVER, 503),
        (aws.exception("internalServerException", "Oh"), FailureClass.SERVER, 500),
        (aws.exception("validationException", "Input is too long"), FailureClass.CONTEXT_LENGTH, 400),
        (aws.exception("newException", "Odd"), FailureClass.SERVER, 500),
        (aws.error("InternalError", "Odd"), FailureClass.SERVER, 500),
        (aws.frame({":message-type": "exception"}, b"no json"), FailureClass.SERVER, 500),
    ],
)
@pytest.mark.parametrize("before", [b"", START + aws.content_delta(0, text="Hi")])
def test_exceptions_end_a_stream(
    frame: bytes, failure_class: FailureClass, status: int, before: bytes
) -> None:
    """Case 111: a frame that holds an exception is the end, as an error of its class, wherever it comes."""
    events = read(before + frame + aws.content_delta(0, text="more"))
    last = events[-1]

    assert isinstance(last, Failed)
    assert (last.failure_class, last.status) == (failure_class, status)
    assert TextDelta("more") not in events


def test_an_exception_before_anything_is_answered_as_an_error() -> None:
    """Case 129: a stream that begins with throttling has not started: another provider can still answer."""
    stream = client_stream()
    stream.feed(aws.exception("throttlingException", "Slow down"))

    assert stream.failure is not None
    assert (stream.failure.started, stream.failure.status) == (False, 429)
    assert orjson.loads(stream.failure.body)["error"]["message"] == "Slow down"


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", Finish.STOP),
        ("max_tokens", Finish.LENGTH),
        ("tool_use", Finish.TOOL_CALLS),
        ("content_filtered", Finish.CONTENT_FILTER),
        ("guardrail_intervened", Finish.CONTENT_FILTER),
        (None, Finish.STOP),
        ("new", Finish.STOP),
    ],
)
def test_stop_reasons(reason: str | None, finish: Finish) -> None:
    """Case 120: the reasons to stop are those of whole answers."""
    assert Finished(finish) in read(START + aws.message_stop(reason) + USED)


def test_a_botched_answer_is_a_failure() -> None:
    """Case 120: output of the model that the provider could not read does not end like an answer."""
    events = read(START + aws.message_stop("malformed_tool_use") + USED)

    assert [type(event) for event in events] == [Started, Failed]


def test_the_sequence_that_was_met() -> None:
    """The stop sequence is told where the model tells it."""
    stop = aws.message_stop("stop_sequence", additionalModelResponseFields={"stop_sequence": "END"})

    assert Finished(Finish.STOP, "END") in read(START + stop + USED)


@pytest.mark.parametrize(
    ("data", "last"),
    [
        (b"", Failed(FailureClass.CUT, "The provider's answer stopped before its end.")),
        (
            RICH[: RICH.index(USED) - 30],
            Failed(FailureClass.CUT, "The provider's answer stopped before its end."),
        ),
        (RICH[: RICH.index(USED)], Ended()),
        (RICH[:-5], Ended()),
        (RICH + b"garbage behind the end", Ended()),
    ],
)
def test_streams_that_are_cut(data: bytes, last: Event) -> None:
    """A stream without its stop is cut; one that lacks but the counts is whole."""
    assert read(data)[-1] == last


def test_damaged_frames() -> None:
    """Case 111: a frame that fails its checksum ends the stream as malformed; what came before counts."""
    damaged = bytearray(aws.content_delta(0, text="lost"))
    damaged[40] ^= 1
    events = read(START + aws.content_delta(0, text="kept") + bytes(damaged) + aws.message_stop())

    assert events[:2] == [Started(id="req-1"), TextDelta("kept")]
    assert isinstance(events[2], Failed)
    assert events[2].failure_class is FailureClass.MALFORMED


def test_frames_beyond_the_limit() -> None:
    """Memory is bounded: a frame longer than allowed is not waited for."""
    reader = ConverseStreamReader(AwsFrames(64), "anthropic")
    events = reader.feed(aws.content_delta(0, text="x" * 100)[:12])

    assert [event.failure_class for event in events if isinstance(event, Failed)] == [FailureClass.MALFORMED]


@pytest.mark.parametrize("payload", [b"[]", b"nonsense", b"1"])
def test_events_that_are_no_objects(payload: bytes) -> None:
    """An event whose payload is no JSON object is malformed."""
    events = read(START + aws.frame({":event-type": "contentBlockDelta", ":message-type": "event"}, payload))

    assert isinstance(events[-1], Failed)
    assert events[-1].failure_class is FailureClass.MALFORMED


def test_unknown_events_keep_the_client_waiting() -> None:
    """An event that is not known says that the provider is still there, and no more."""
    reader = ConverseStreamReader(AwsFrames(10**6), "anthropic")
    reader.feed(START)

    assert reader.feed(aws.event("brandNew", {"a": 1})) == [KeepAlive()]


def client_stream(**chat: Any) -> TranslatedStream:
    request = {"model": "x", "messages": [{"role": "user", "content": "q"}], "stream": True, **chat}
    return translate_request(
        CLIENT,
        converse_target(MODEL, AwsFrames),
        orjson.dumps(request),
        model=MODEL,
        stream=True,
        now_s=7,
        strict=False,
    ).stream(max_event_bytes=10**6)


def test_what_a_client_of_openais_sees() -> None:
    """Case 125: the client's calls are 0 and 1, its text is whole, and the end is the dialect's own."""
    stream = client_stream(stream_options={"include_usage": True})
    out = stream.feed(RICH) + stream.finish()
    chunks = [orjson.loads(event[6:]) for event in out.split(b"\n\n")[:-2]]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]

    assert out.endswith(b"data: [DONE]\n\n")
    assert [(call["index"], call["id"]) for call in calls if "id" in call] == [(0, "a"), (1, "b")]
    assert "".join(c["function"].get("arguments", "") for c in calls if c["index"] == 0) == '{"a":1}'
    assert "".join(delta.get("content") or "" for delta in deltas) == "Let"
    assert chunks[-1]["usage"]["total_tokens"] == 14
    assert (stream.finish_reason, stream.usage) == (
        "tool_calls",
        UsageCounts(input_tokens=11, output_tokens=3),
    )


def test_the_answer_tool_of_a_schema_is_content() -> None:
    """A stream in which the model calls the tool that gives the answer is plain content for the client."""
    stream = client_stream(response_format={"type": "json_object"})
    data = [
        START,
        aws.content_start(0, toolUse={"toolUseId": "t", "name": "json_answer"}),
        aws.content_delta(0, toolUse={"input": '{"a":1}'}),
        aws.content_stop(0),
        aws.message_stop("tool_use"),
        USED,
    ]
    out = stream.feed(b"".join(data)) + stream.finish()

    assert (b"tool_calls" in out, b'{\\"a\\":1}' in out, stream.finish_reason) == (False, True, "stop")
