from __future__ import annotations

from typing import Any

import orjson
import pytest

from services.providers.dialects.failures import FailureClass
from services.providers.dialects.openai_chat.same import put_model
from services.providers.dialects.openai_responses.same import ResponsesStream, finish_reason, read_answer
from services.providers.dialects.usage import UsageCounts

Json = dict[str, Any]
USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 3},
}
COUNTS = UsageCounts(input_tokens=10, output_tokens=5, cache_read_tokens=4, reasoning_tokens=3)
RESPONSE: Json = {
    "id": "resp_1",
    "model": "gpt-5.4-2026",
    "status": "completed",
    # Words that look like marks of the protocol.
    "instructions": 'Say "event: response.x.delta", and ".delta",',
    "prompt_cache_key": "app.delta",
    "output": [{"type": "function_call"}, {"type": "message", "x_new": "é"}],
    "usage": USAGE,
}


def event(kind: str, **members: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps({"type": kind, **members}))


def delta(text: str) -> bytes:
    return event("response.output_text.delta", sequence_number=2, item_id="m", delta=text)


CREATED = event("response.created", response={**RESPONSE, "status": "in_progress", "usage": None})
DELTAS = delta("Hi") + delta('"error"') + delta('\n"type":"response.failed",') + delta("b.delta")
REFUSAL = event("response.refusal.delta", delta="No") + event("response.future.thing", x=[1.0, {"y": None}])
COMPLETED = event("response.completed", sequence_number=9, response=RESPONSE)
WHOLE = CREATED + DELTAS + REFUSAL + COMPLETED
FAILED = event(
    "response.failed",
    response={**RESPONSE, "status": "failed", "error": {"code": "server_error", "message": "Oh"}},
)
ERROR = event("error", code="rate_limit_exceeded", message="Slow", param=None, sequence_number=3)


def drive(data: bytes, size: int = 10**6, **options: Any) -> tuple[ResponsesStream, bytes]:
    stream = ResponsesStream(request_bytes=400, **options)
    out = b"".join(stream.feed(data[at : at + size]) for at in range(0, len(data), size))
    return stream, out + stream.finish()


def test_request() -> None:
    """Case 139: of a request only the model changes, and every other byte stays."""
    body = b'{ "input" : [1.0, "\\u00e9"],\n"x_new":{"model":1}, "model":"openai/gpt-5.4","store":true }'

    assert body.replace(b"openai/gpt-5.4", b"gpt-5.4") == put_model(body, "gpt-5.4")


def test_whole_answer() -> None:
    """Case 141: a whole answer is handed on as it is, with what it used and who answered."""
    body = orjson.dumps({**RESPONSE, "x_new": [1.0]})
    answer = read_answer(body)

    assert body is answer.body
    assert (COUNTS, "tool_calls", "gpt-5.4-2026", None) == (
        answer.usage,
        answer.finish_reason,
        answer.served_model,
        answer.failure,
    )


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"status": "completed", "output": [{"type": "web_search_call"}, {"type": "message"}]}, "stop"),
        ({"status": "completed", "output": [{"type": "web_search_call"}]}, "stop"),
        (
            {"status": "completed", "output": [{"type": "custom_tool_call"}, {"type": "message"}]},
            "tool_calls",
        ),
        ({"status": "completed", "output": [{"type": "computer_call"}]}, "tool_calls"),
        ({"status": "completed", "output": [None, {"type": []}, 1]}, "stop"),
        ({"status": "completed"}, "stop"),
        ({"status": "incomplete", "incomplete_details": None}, "length"),
        ({"status": []}, ""),
        ({}, ""),
    ],
)
def test_finish_reason(document: Json, expected: str) -> None:
    """Why a response ended is told in chat's words; a tool that the provider ran is no call."""
    assert expected == finish_reason(document)


def test_failed_answer() -> None:
    """A success that holds a failed response is a failure, its body the provider's."""
    body = orjson.dumps({**RESPONSE, "status": "failed", "error": {"code": "server_error", "message": "Oh"}})
    answer = read_answer(body)

    assert answer.failure is not None
    assert (FailureClass.SERVER, "Oh", body) == (
        answer.failure.failure_class,
        answer.failure.message,
        answer.failure.body,
    )


@pytest.mark.parametrize("size", [*range(1, 40), 200, 10**6])
def test_bytes_are_kept(size: int) -> None:
    """Case 54: however a stream is split, its bytes go on as they are, and the same is learnt of it."""
    stream, out = drive(WHOLE, size)

    assert WHOLE == out
    assert (COUNTS, "tool_calls", "gpt-5.4-2026", None, True) == (
        stream.usage,
        stream.finish_reason,
        stream.served_model,
        stream.failure,
        stream.done,
    )


def test_split_at_every_byte() -> None:
    """Case 54: a stream that comes in two pieces, cut anywhere, is the same stream."""
    for at in range(len(WHOLE)):
        stream = ResponsesStream()
        out = stream.feed(WHOLE[:at]) + stream.feed(WHOLE[at:]) + stream.finish()

        assert (WHOLE, COUNTS, None) == (out, stream.usage, stream.failure)


def test_crlf_and_missing_blank_line() -> None:
    """Case 54: other line ends stay as they are; a blank line that is missing at the end is no cut."""
    odd = WHOLE.replace(b"\n", b"\r\n")

    assert (odd, None) == (drive(odd, 7)[1], drive(odd, 7)[0].failure)
    stream, out = drive(WHOLE.rstrip(b"\n"), 7)
    assert (WHOLE, None, COUNTS) == (out, stream.failure, stream.usage)


@pytest.mark.parametrize("size", [1, 17, 10**6])
def test_cut(size: int) -> None:
    """Case 144: without its last event a stream is cut: the client is told, and usage estimated."""
    stream, out = drive(CREATED + DELTAS + COMPLETED[:-40], size)
    told = orjson.loads(out[len(CREATED + DELTAS) :].partition(b"data: ")[2])

    assert out.startswith(CREATED + DELTAS)
    assert {
        "type": "error",
        "code": "upstream_cut",
        "message": "The provider's answer stopped before its end.",
        "param": None,
        "sequence_number": 5,
    } == told
    assert stream.failure is not None
    assert (FailureClass.CUT, True, True, 502) == (
        stream.failure.failure_class,
        stream.failure.reported,
        stream.failure.started,
        stream.failure.status,
    )
    assert UsageCounts(input_tokens=100, output_tokens=4, estimated=True) == stream.usage


def test_cut_at_every_byte() -> None:
    """Case 144: wherever a stream is cut, no end is made up for it."""
    for at in range(len(WHOLE) - 2):
        stream, out = drive(WHOLE[:at])

        assert stream.failure is not None
        assert FailureClass.CUT is stream.failure.failure_class
        assert b'"type":"error"' in out


@pytest.mark.parametrize(
    ("last", "failure", "message"),
    [
        (FAILED, FailureClass.SERVER, "Oh"),
        (ERROR, FailureClass.RATE_LIMIT, "Slow"),
        (
            event("error", error={"code": "context_length_exceeded", "message": "Long"}),
            FailureClass.CONTEXT_LENGTH,
            "Long",
        ),
        (
            event("response.failed", response={"status": "failed", "error": None}),
            FailureClass.SERVER,
            "The provider answered with status 500 and no readable error.",
        ),
        (
            event("response.cancelled", response={"status": "cancelled", "error": None}),
            FailureClass.SERVER,
            "The provider answered with status 500 and no readable error.",
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 10**6])
def test_failures(last: bytes, failure: FailureClass, message: str, size: int) -> None:
    """Case 145: a failure of the provider's goes on in its own words, and counts as one, first or not."""
    stream, out = drive(CREATED + DELTAS + last, size)
    first, alone = drive(last, size)

    assert (CREATED + DELTAS + last, last) == (out, alone)
    assert stream.failure is not None
    assert first.failure is not None
    assert (failure, message, True, True) == (
        stream.failure.failure_class,
        stream.failure.message,
        stream.failure.reported,
        stream.failure.started,
    )
    assert (failure, False) == (first.failure.failure_class, first.failure.started)
    assert "error" in orjson.loads(first.failure.body)


def test_incomplete() -> None:
    """An incomplete response is a whole stream."""
    response = {**RESPONSE, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    stream, _ = drive(CREATED + event("response.incomplete", response=response))

    assert ("length", None, COUNTS) == (stream.finish_reason, stream.failure, stream.usage)


def test_malformed_event() -> None:
    """Case 146: an event that is no JSON ends the stream, and the client is told."""
    stream, out = drive(CREATED + b"event: response.x\ndata: {\n\n" + COMPLETED)

    assert out.startswith(CREATED + b'event: error\ndata: {"type":"error","code":"upstream_malformed"')
    assert stream.failure is not None
    assert FailureClass.MALFORMED is stream.failure.failure_class


def test_too_long_an_event() -> None:
    """An event longer than is waited for ends the stream: memory is bounded."""
    stream, _ = drive(b"data: " + b"x" * 200, 10, max_event_bytes=100)

    assert stream.failure is not None
    assert FailureClass.MALFORMED is stream.failure.failure_class


def test_break() -> None:
    """A stream that the caller gives up on is told of, unless it was whole already."""
    broken, whole = ResponsesStream(), ResponsesStream()
    broken.feed(CREATED)
    whole.feed(WHOLE)

    assert b'"code":"upstream_timeout"' in broken.fail(FailureClass.TIMEOUT, "Silent")
    assert b"" == whole.fail(FailureClass.TIMEOUT, "Silent")
    assert (None, True) == (whole.failure, broken.done)


def test_verbatim() -> None:
    """On native paths nothing is appended, whatever happens."""
    stream, out = drive(CREATED + DELTAS, 7, verbatim=True)

    assert CREATED + DELTAS == out
    assert stream.failure is not None
    assert not stream.failure.reported


def test_usage_is_counted_where_it_is_not_reported() -> None:
    """An answer without usage is counted by its deltas, in whatever blocks they came."""
    response = {**RESPONSE, "usage": None}
    for size in (1, 10**6):
        stream, _ = drive(CREATED + delta("a") * 3 + event("response.completed", response=response), size)

        assert UsageCounts(input_tokens=100, output_tokens=3, estimated=True) == stream.usage
