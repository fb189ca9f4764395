# ruff: noqa: E501  (samples of the wire stand on one line, as they are sent)
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.providers.dialects.anthropic.same import MessagesStream
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.native import native_stream, read_native_answer
from services.providers.dialects.openai_responses.same import ResponsesStream
from services.providers.dialects.usage import UsageCounts

if TYPE_CHECKING:
    from services.providers.dialects.stream import AnswerStream

CREATED = b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":{"id":"r","status":"in_progress","model":"gpt-5.4","usage":null}}\n\n'
DELTA = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":1,"item_id":"m","output_index":0,"content_index":0,"delta":"Hi"}\n\n'
COMPLETED = b'event: response.completed\ndata: {"type":"response.completed","sequence_number":2,"response":{"id":"r","status":"completed","model":"gpt-5.4","output":[{"type":"message"}],"usage":{"input_tokens":5,"output_tokens":2,"total_tokens":7}}}\n\n'
FAILED = b'event: response.failed\ndata: {"type":"response.failed","sequence_number":2,"response":{"id":"r","status":"failed","error":{"code":"server_error","message":"Broke"},"usage":null}}\n\n'
ERROR = b'event: error\ndata: {"type":"error","code":"rate_limit_exceeded","message":"Slow","param":null,"sequence_number":3}\n\n'

START = b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"model":"claude-x","stop_reason":null,"usage":{"input_tokens":25,"cache_read_input_tokens":5,"output_tokens":1}}}\n\n'
TEXT = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}\n\n'
STOP_REASON = b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":15}}\n\n'
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
OVERLOADED = (
    b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
)


def drive(stream: AnswerStream, data: bytes, size: int) -> bytes:
    out = b"".join(stream.feed(data[start : start + size]) for start in range(0, len(data), size))
    return out + stream.finish()


@pytest.mark.parametrize("size", [1, 50, 100_000])
def test_responses_stream(size: int) -> None:
    """Usage, model and reason of a responses stream are read from its last event."""
    data = CREATED + DELTA + DELTA + COMPLETED
    stream = ResponsesStream()

    assert data == drive(stream, data, size)
    assert (UsageCounts(input_tokens=5, output_tokens=2), "stop", "gpt-5.4", None) == (
        stream.usage,
        stream.finish_reason,
        stream.served_model,
        stream.failure,
    )


@pytest.mark.parametrize(
    ("event", "expected"), [(FAILED, FailureClass.SERVER), (ERROR, FailureClass.RATE_LIMIT)]
)
def test_responses_failure(event: bytes, expected: FailureClass) -> None:
    """Case 145: a failed response is a failure, told by the provider's own event."""
    stream = ResponsesStream()

    assert CREATED + DELTA + event == stream.feed(CREATED + DELTA + event)
    assert stream.failure is not None
    assert (expected, True) == (stream.failure.failure_class, stream.failure.reported)


def test_responses_cut() -> None:
    """Case 144: a responses stream without its last event is a cut, told in its own dialect."""
    stream = ResponsesStream()
    out = drive(stream, CREATED + DELTA, 50)

    assert out.startswith(CREATED + DELTA + b'event: error\ndata: {"type":"error"')
    assert stream.failure is not None
    assert FailureClass.CUT is stream.failure.failure_class


@pytest.mark.parametrize("size", [1, 50, 100_000])
def test_messages_stream(size: int) -> None:
    """Case 43: usage of a messages stream is set as it comes, and never zeroed by a later report."""
    data = START + TEXT + TEXT + STOP_REASON + STOP
    stream = MessagesStream()

    assert data == drive(stream, data, size)
    assert (
        UsageCounts(input_tokens=30, output_tokens=15, cache_read_tokens=5),
        "stop",
        "claude-x",
        None,
    ) == (
        stream.usage,
        stream.finish_reason,
        stream.served_model,
        stream.failure,
    )


def test_messages_error_first() -> None:
    """Cases 50 and 145: an overload before anything else is a 529 that can still be answered as one."""
    stream = MessagesStream()
    stream.feed(OVERLOADED)

    assert stream.failure is not None
    assert (FailureClass.SERVER, 529, False) == (
        stream.failure.failure_class,
        stream.failure.status,
        stream.failure.started,
    )


def test_messages_cut_and_missing_stop() -> None:
    """Case 144: after its stop reason a stream is whole; before it, it is cut and the client is told."""
    cut, whole = MessagesStream(), MessagesStream()

    assert drive(cut, START + TEXT, 50).startswith(START + TEXT + b'event: error\ndata: {"type":"error"')
    assert START + TEXT + STOP_REASON + STOP == drive(whole, START + TEXT + STOP_REASON, 50)
    assert cut.failure is not None
    assert (FailureClass.CUT, None) == (cut.failure.failure_class, whole.failure)
    assert cut.usage == UsageCounts(input_tokens=30, output_tokens=1, cache_read_tokens=5, estimated=True)


@pytest.mark.parametrize(
    ("api", "path", "data"),
    [
        ("openai", "v1/responses", CREATED + DELTA),
        ("openai", "chat/completions", b'data: {"choices":[]}\n\ndata: junk\n\n'),
        ("anthropic", "v1/messages", START + TEXT + OVERLOADED + b"tail"),
        ("openai", "audio/speech", b"\x00\x01 anything"),
        ("anthropic", "v1/messages/batches/1/results", b"{}\n{}\n"),
    ],
)
@pytest.mark.parametrize("size", [1, 9, 100_000])
def test_native_bytes_are_never_altered(api: str, path: str, data: bytes, size: int) -> None:
    """On native paths the bytes are the provider's, whole or not."""
    assert data == drive(native_stream(api, path), data, size)  # type: ignore[arg-type]


def test_native_failure_is_not_reported_in_bytes() -> None:
    """A native stream that broke is noted for whoever can tell the client."""
    for path in ("v1/messages", "files"):
        stream = native_stream("anthropic", path)
        stream.feed(START)

        assert b"" == stream.fail(FailureClass.TIMEOUT, "silent")
        assert stream.failure is not None
        assert (FailureClass.TIMEOUT, False, True) == (
            stream.failure.failure_class,
            stream.failure.reported,
            stream.failure.started,
        )


def test_native_answers() -> None:
    """A whole native answer is metered where its format is known, and any body passes."""
    usage = b'{"usage":{"input_tokens":1,"output_tokens":2}}'

    assert (
        UsageCounts(input_tokens=1, output_tokens=2)
        == read_native_answer("anthropic", "v1/messages", usage).usage
    )
    assert (
        UsageCounts(input_tokens=1, output_tokens=2)
        == read_native_answer("openai", "/v1/responses", usage).usage
    )
    assert b"\xff" == read_native_answer("openai", "embeddings", b"\xff").body
    assert b"\xff" == read_native_answer("openai", "audio/speech", b"\xff").body
