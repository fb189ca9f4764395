# ruff: noqa: E501  (samples of the wire stand on one line, as they are sent)
from __future__ import annotations

import orjson
import pytest

from services.providers.dialects.failures import FailureClass
from services.providers.dialects.openai_chat.same_stream import OpenAIStream
from services.providers.dialects.usage import UsageCounts

ROLE = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-5.4","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}\n\n'
USAGE = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-5.4","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}\n\n'
DONE = b"data: [DONE]\n\n"


def token(text: str, index: int = 0) -> bytes:
    content = orjson.dumps(text).decode()
    return (
        f'data: {{"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-5.4","choices":[{{"index":{index},'
        f'"delta":{{"content":{content}}},"finish_reason":null}}],"usage":null}}\n\n'
    ).encode()


def finish(reason: str = "stop", index: int = 0) -> bytes:
    return (
        f'data: {{"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-5.4","choices":[{{"index":{index},'
        f'"delta":{{}},"finish_reason":"{reason}"}}],"usage":null}}\n\n'
    ).encode()


WHOLE = ROLE + token("Hel") + token("lo") + finish() + USAGE + DONE


def drive(stream: OpenAIStream, data: bytes, size: int) -> bytes:
    out = b"".join(stream.feed(data[start : start + size]) for start in range(0, len(data), size))
    return out + stream.finish()


@pytest.mark.parametrize("size", [1, 2, 7, 100, 100_000])
def test_whole_stream_passes_untouched(size: int) -> None:
    """Cases 54 and 149: bytes pass as they are, however they are split, and are metered."""
    stream = OpenAIStream()

    assert WHOLE == drive(stream, WHOLE, size)
    assert UsageCounts(input_tokens=9, output_tokens=2) == stream.usage
    assert ("stop", "gpt-5.4", None, True) == (
        stream.finish_reason,
        stream.served_model,
        stream.failure,
        stream.done,
    )


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_passes_untouched(size: int, end: bytes) -> None:
    """Case 54: CRLF and CR framing, comments and an event field pass as they are."""
    data = (b": hello\n\n" + b"event: chunk\n" + WHOLE).replace(b"\n", end)
    stream = OpenAIStream()

    assert data == drive(stream, data, size)
    assert (UsageCounts(input_tokens=9, output_tokens=2), None) == (stream.usage, stream.failure)


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_injected_usage_does_not_leak(size: int) -> None:
    """Case 148: the usage chunk that the client did not ask for is metered and taken out."""
    stream = OpenAIStream(injected_usage=True)

    assert WHOLE.replace(USAGE, b"") == drive(stream, WHOLE, size)
    assert UsageCounts(input_tokens=9, output_tokens=2) == stream.usage


def test_usage_beside_content_stays() -> None:
    """A chunk with content is the client's, even if it reports usage as well."""
    chunk = b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n'
    stream = OpenAIStream(injected_usage=True)

    assert chunk + DONE == stream.feed(chunk + DONE)
    assert UsageCounts(input_tokens=1, output_tokens=1) == stream.usage


def test_marks_within_text_are_text() -> None:
    """Text that reads like a mark changes nothing, and chunks with logprobs or audio pass."""
    odd = token('"usage":{"prompt_tokens":1} "finish_reason":"stop" "error": [DONE]')
    stream = OpenAIStream()

    assert ROLE + odd == stream.feed(ROLE) + stream.feed(odd)
    assert (None, "", None, False) == (stream.usage, stream.finish_reason, stream.failure, stream.done)


def test_finish_reason_without_done_is_whole() -> None:
    """Case 144: a stream that ends after its finish reason is whole, and gets its mark of the end."""
    stream = OpenAIStream()
    data = ROLE + token("x") + finish("length")

    assert data + DONE == drive(stream, data, 50)
    assert ("length", None, True) == (stream.finish_reason, stream.failure, stream.done)
    assert stream.usage is not None
    assert stream.usage.estimated


@pytest.mark.parametrize("held", [b"", b'data: {"id":"c","choi', b"data: "])
def test_end_without_finish_reason_is_a_cut(held: bytes) -> None:
    """Case 144: without a finish reason the client is told of the cut, and never sees half an event."""
    stream = OpenAIStream(request_bytes=400)
    out = drive(stream, ROLE + token("Hel") + token("lo") + held, 60)

    assert out.startswith(ROLE + token("Hel") + token("lo") + b'data: {"error":')
    assert b"[DONE]" not in out
    assert stream.failure is not None
    assert (FailureClass.CUT, True, True) == (
        stream.failure.failure_class,
        stream.failure.reported,
        stream.failure.started,
    )
    assert UsageCounts(input_tokens=100, output_tokens=2, estimated=True) == stream.usage


def test_one_choice_of_two_finished_is_a_cut() -> None:
    """Case 144: with several answers asked for, each must finish."""
    stream = OpenAIStream(choices=2)
    stream.feed(ROLE + token("a") + token("b", 1) + finish("stop", 0))
    out = stream.finish()

    assert b"error" in out
    assert stream.failure is not None
    assert FailureClass.CUT is stream.failure.failure_class


def test_two_choices_in_one_chunk() -> None:
    """Case 144: a choice that finishes beside one that goes on has finished."""
    chunk = (
        b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null},'
        b'{"index":1,"delta":{},"finish_reason":"length"}],"usage":null}\n\n'
    )
    stream = OpenAIStream(choices=2)
    out = stream.feed(ROLE) + stream.feed(chunk) + stream.feed(finish("stop", 0)) + stream.finish()

    assert out == ROLE + chunk + finish("stop", 0) + DONE
    assert (stream.failure, stream.finish_reason) == (None, "stop")


def test_last_event_without_blank_line() -> None:
    """Case 54: a last event that only lacks its blank line is the client's, with the blank line."""
    stream = OpenAIStream()

    assert WHOLE == stream.feed(WHOLE[:-2]) + stream.finish()
    assert (None, True) == (stream.failure, stream.done)


def test_error_as_the_first_event() -> None:
    """Cases 50 and 145: an error before anything else can still be answered as an error."""
    event = b'data: {"error":{"message":"Overloaded","type":"server_error","code":503}}\n\n'
    stream = OpenAIStream()

    assert event == stream.feed(event + DONE)
    assert stream.failure is not None
    assert (FailureClass.SERVER, 503, False, True) == (
        stream.failure.failure_class,
        stream.failure.status,
        stream.failure.started,
        stream.failure.reported,
    )
    assert event[len(b"data: ") :].strip() == stream.failure.body
    assert (b"", b"", None) == (stream.feed(token("x")), stream.finish(), stream.usage)


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"error":{"message":"Rate limited","type":"rate_limit_error"}}\n\n',
        b'event: error\ndata: {"message":"Rate limited","type":"rate_limit_error"}\n\n',
        b'data: {"object":"error","message":"Rate limited","type":"rate_limit_error"}\n\n',
    ],
)
def test_error_in_the_middle(event: bytes) -> None:
    """Case 145: an error within the stream is handed on, and nothing after it."""
    stream = OpenAIStream()

    assert ROLE + token("x") + event == stream.feed(ROLE + token("x") + event + DONE)
    assert stream.failure is not None
    assert (FailureClass.RATE_LIMIT, "Rate limited", True, True) == (
        stream.failure.failure_class,
        stream.failure.message,
        stream.failure.started,
        stream.failure.reported,
    )
    assert stream.usage is not None
    assert stream.usage.estimated


@pytest.mark.parametrize(
    "bad", [b"data: {not json\n\n", b'data: {"a":1\n\n', b"data: oops\n\n", b"data: [1]\n\n"]
)
@pytest.mark.parametrize("size", [1, 100_000])
def test_malformed_chunk(bad: bytes, size: int) -> None:
    """Case 146: a chunk that is not JSON ends the stream with an error, and is not handed on."""
    stream = OpenAIStream()
    out = drive(stream, ROLE + token("x") + bad + token("y") + finish() + DONE, size)

    assert out.startswith(ROLE + token("x") + b'data: {"error":')
    assert bad not in out
    assert token("y") not in out
    assert stream.failure is not None
    assert FailureClass.MALFORMED is stream.failure.failure_class


def test_event_longer_than_allowed() -> None:
    """Case 146: an endless event is given up at the limit."""
    stream = OpenAIStream(max_event_bytes=1000)
    stream.feed(ROLE)
    out = b"".join(stream.feed(b"x" * 100) for _ in range(20))

    assert b"upstream_malformed" in out
    assert stream.failure is not None
    assert FailureClass.MALFORMED is stream.failure.failure_class


def test_failure_told_by_the_transport() -> None:
    """A stream that went silent is told of as such."""
    stream = OpenAIStream()
    stream.feed(ROLE + token("x"))
    out = stream.fail(FailureClass.TIMEOUT, "The provider was silent for 30 s.")

    error = orjson.loads(out.removeprefix(b"data: "))["error"]
    assert ("upstream_timeout", "The provider was silent for 30 s.") == (error["code"], error["message"])
    assert stream.failure is not None
    assert FailureClass.TIMEOUT is stream.failure.failure_class
    assert b"" == stream.finish()


def test_reset_after_the_end_is_no_failure() -> None:
    """Case 144: a connection that breaks after the finish reason has broken nothing."""
    stream = OpenAIStream()
    stream.feed(ROLE + token("x") + finish())

    assert DONE == stream.fail(FailureClass.CUT, "reset")
    assert (None, True) == (stream.failure, stream.done)


def test_verbatim_alters_nothing() -> None:
    """On native paths not a byte is changed, removed or added, whatever comes."""
    data = ROLE + b"data: oops\n\n" + token("x") + USAGE + b"data: {half"
    stream = OpenAIStream(injected_usage=True, verbatim=True)

    assert data == drive(stream, data, 11)
    assert stream.failure is not None
    assert (FailureClass.MALFORMED, False) == (stream.failure.failure_class, stream.failure.reported)
    assert stream.usage is not None
    assert (9, 2) == (stream.usage.input_tokens, stream.usage.output_tokens)


def test_usage_object_changes_only_with_its_numbers() -> None:
    """Whoever watches the usage can tell a change by identity."""
    stream = OpenAIStream()
    stream.feed(ROLE + USAGE)
    first = stream.usage
    stream.feed(token("x"))

    assert first is stream.usage


def test_empty_stream() -> None:
    """A stream of nothing is a cut that had not started."""
    stream = OpenAIStream()
    stream.finish()

    assert stream.failure is not None
    assert (FailureClass.CUT, False, 502) == (
        stream.failure.failure_class,
        stream.failure.started,
        stream.failure.status,
    )
    assert stream.usage is None
