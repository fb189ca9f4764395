# ruff: noqa: E501  (samples of the wire stand on one line, as they are sent)
"""Where the content of a native stream begins, and what its meter says of bytes that are no events."""

from __future__ import annotations

import pytest

from services.providers.dialects.cohere import native as cohere
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.native import Api, OpaqueStream, native_stream, read_native_answer
from services.providers.dialects.workers_ai import native as workers_ai

OPENAI = (
    b'data: {"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n',
    b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n',
    b'data: {"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
)
RESPONSES = (
    (
        b'event: response.created\ndata: {"type":"response.created","response":{"model":"m"}}\n\n'
        b'event: response.output_item.added\ndata: {"type":"response.output_item.added","item":{"type":"message"}}\n\n'
    ),
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"Hi"}\n\n',
    b'event: response.completed\ndata: {"type":"response.completed","response":{"status":"completed"}}\n\n',
)
TOOL_AT_WORK = (
    b'event: response.web_search_call.in_progress\ndata: {"type":"response.web_search_call.in_progress"}\n\n'
)
MESSAGES = (
    (
        b'event: message_start\ndata: {"type":"message_start","message":{"model":"m","usage":{"input_tokens":3}}}\n\n'
        b'event: ping\ndata: {"type":"ping"}\n\n'
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
    ),
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
)
GEMINI = (
    b'data: {"modelVersion":"m"}\r\n\r\n',
    b'data: {"candidates":[{"index":0,"content":{"parts":[{"text":"Hi"}]}}]}\r\n\r\n',
    b'data: {"candidates":[{"index":0,"finishReason":"STOP"}]}\r\n\r\n',
)
COHERE = (
    b'event: message-start\ndata: {"type":"message-start","id":"i","delta":{"message":{"role":"assistant"}}}\n\n',
    b'event: content-delta\ndata: {"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"Hi"}}}}\n\n',
)
GARBLED = b"data: oops\n\n"
THINKING = b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}\n\n'
REASONING = b'event: response.output_item.added\ndata: {"type":"response.output_item.added","item":{"type":"reasoning"}}\n\n'
QUEUED = b'event: response.queued\ndata: {"type":"response.queued","response":{"model":"m"}}\n\n'
# As hosts send them that tell the usage with every chunk.
WITH_USAGE = (
    b'data: {"model":"m","choices":[{"index":0,"delta":{"role":"assistant"}}],"usage":{"prompt_tokens":3,"completion_tokens":0}}\n\n',
    b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"Hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n',
)
STREAMS: list[tuple[Api, str, tuple[bytes, bytes, bytes]]] = [
    ("openai", "chat/completions", OPENAI),
    ("openai", "v1/responses", RESPONSES),
    ("anthropic", "v1/messages", MESSAGES),
    ("gemini", "models/m:streamGenerateContent", GEMINI),
]


@pytest.mark.parametrize(("api", "path", "events"), STREAMS)
def test_what_opens_a_stream_is_no_content(api: Api, path: str, events: tuple[bytes, bytes, bytes]) -> None:
    """Roles, starts and pings are handed on, and are not what a first content is waited for."""
    opening, content, _ = events
    stream = native_stream(api, path)

    assert opening == stream.feed(opening)
    assert not stream.began
    stream.feed(content)
    assert stream.began


def test_a_tool_at_work_is_content() -> None:
    """A provider that searches before it answers has begun."""
    stream = native_stream("openai", "v1/responses")
    stream.feed(RESPONSES[0])
    stream.feed(TOOL_AT_WORK)

    assert stream.began


@pytest.mark.parametrize(
    ("api", "path", "opening", "silence"),
    [
        ("anthropic", "v1/messages", MESSAGES[0].partition(b"event: content_block_start")[0], THINKING),
        ("openai", "v1/responses", RESPONSES[0].partition(b"event: response.output_item")[0], REASONING),
        ("openai", "v1/responses", b"", QUEUED),
    ],
)
def test_what_thinks_in_silence_has_begun(api: Api, path: str, opening: bytes, silence: bytes) -> None:
    """It may go on for minutes, in which its client wants signs of life."""
    stream = native_stream(api, path)
    stream.feed(opening)

    assert not stream.began
    stream.feed(silence)
    assert stream.began


def test_usage_with_every_chunk_does_not_hide_content() -> None:
    """A chunk is content by what it says, whatever else it tells."""
    stream = native_stream("openai", "chat/completions")
    stream.feed(WITH_USAGE[0])

    assert not stream.began
    stream.feed(WITH_USAGE[1])
    assert stream.began


@pytest.mark.parametrize(("api", "path", "events"), STREAMS)
def test_an_event_without_data_is_a_sign_of_life(
    api: Api, path: str, events: tuple[bytes, bytes, bytes]
) -> None:
    """It is handed on, and nothing is wrong with the answer."""
    stream = native_stream(api, path)
    sent = b"event: ping\ndata:\n\n" + b"".join(events)

    assert sent == stream.feed(sent) + stream.finish()
    assert stream.failure is None


def test_cohere_begins_with_its_content() -> None:
    """Of a dialect that is read for its usage alone the same holds."""
    stream = cohere.native_stream("v2/chat")
    stream.feed(COHERE[0])

    assert not stream.began
    stream.feed(COHERE[1])
    assert stream.began


def test_what_nobody_knows_begins_with_its_first_byte() -> None:
    """Of an unknown format there is no other mark."""
    assert isinstance(native_stream("openai", "threads/t/runs"), OpaqueStream)
    assert native_stream("openai", "threads/t/runs").began


@pytest.mark.parametrize(("api", "path", "events"), STREAMS)
@pytest.mark.parametrize("size", [7, 100_000])
def test_a_garbled_event_is_handed_on_and_told(
    api: Api, path: str, events: tuple[bytes, bytes, bytes], size: int
) -> None:
    """What comes after it is handed on, too, but such an answer is no success."""
    opening, content, end = events
    data = opening + content + GARBLED + content + end
    stream = native_stream(api, path)

    out = b"".join(stream.feed(data[start : start + size]) for start in range(0, len(data), size))
    assert data == out + stream.finish()
    assert stream.failure is not None
    assert (FailureClass.MALFORMED, True, True) == (
        stream.failure.failure_class,
        stream.failure.reported,
        stream.failure.started,
    )


@pytest.mark.parametrize(("api", "path", "events"), STREAMS)
def test_a_garbled_stream_without_an_end_is_to_be_told(
    api: Api, path: str, events: tuple[bytes, bytes, bytes]
) -> None:
    """The client could take the end of its bytes for the end of the answer."""
    stream = native_stream(api, path)
    stream.feed(events[0] + events[1] + GARBLED)
    assert not stream.done
    stream.finish()

    assert stream.failure is not None
    assert (FailureClass.MALFORMED, False) == (stream.failure.failure_class, stream.failure.reported)
    assert stream.usage is not None
    assert stream.usage.estimated


@pytest.mark.parametrize(("api", "path", "events"), STREAMS)
def test_a_piece_of_an_event_is_a_cut(api: Api, path: str, events: tuple[bytes, bytes, bytes]) -> None:
    """What is missing was not garbled."""
    stream = native_stream(api, path)
    stream.feed(events[0] + b'data: {"half')
    stream.finish()

    assert stream.failure is not None
    assert FailureClass.CUT is stream.failure.failure_class


@pytest.mark.parametrize(
    ("api", "path"), [(api, path) for api, path, _ in STREAMS] + [("openai", "v1/embeddings")]
)
@pytest.mark.parametrize("body", [b'{"broken', b"<html>"])
def test_a_garbled_plain_answer_is_told(api: Api, path: str, body: bytes) -> None:
    """A body that is no JSON stays what it is, and is a failure."""
    found = read_native_answer(api, path, body)

    assert body == found.body
    assert found.failure is not None
    assert FailureClass.MALFORMED is found.failure.failure_class


def test_garbled_plain_answers_of_other_dialects() -> None:
    """Cohere's and those of `run` likewise."""
    for read in (cohere.read_native_answer, workers_ai.read_native_answer):
        found = read(b'{"broken')
        assert found.failure is not None
        assert FailureClass.MALFORMED is found.failure.failure_class


def test_an_unknown_path_is_not_judged() -> None:
    """Nobody knows what its answers look like."""
    assert read_native_answer("openai", "v1/files/f/content", b"{broken").failure is None
