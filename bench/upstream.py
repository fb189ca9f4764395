"""
A provider that costs next to nothing: `python -m bench.upstream PORT`.

Speaks as much of OpenAI's chat dialect, and of Anthropic's messages, as the measurement needs. The name of
the model says what comes: `tokens-N` streams N tokens, one write each, a pause apart; any other is a whole
answer.
"""

from __future__ import annotations

import asyncio
import re
import sys
from dataclasses import dataclass
from typing import Any

import orjson
import uvloop

# About 1 kB with its envelope, as a typical short answer.
_TEXT = "The gateway costs little. " * 30
_TOKENS = re.compile(rb"tokens-(\d+)")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
# Slow enough for each token to be a read of its own at every hop, as with a real model.
_PAUSE_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dialect:
    """What is answered: whole, or what a stream begins with, its token, and what it ends with."""

    whole: bytes
    first: bytes
    token: bytes
    last: bytes


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    chunk = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        "usage": None,
    }
    return _chunked(b"data: " + orjson.dumps(chunk) + b"\n\n")


_CHAT_WHOLE = orjson.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": _TEXT, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 400, "completion_tokens": 150, "total_tokens": 550},
    }
)
_CHAT_USAGE = _chunked(
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"gpt-4o-mini-2024-07-18","choices":[],'
    b'"usage":{"prompt_tokens":400,"completion_tokens":150,"total_tokens":550}}\n\n'
)
_CHAT = _Dialect(
    whole=_CHAT_WHOLE,
    first=_chunk({"role": "assistant", "content": ""}),
    token=_chunk({"content": " token"}),
    last=_chunk({}, "stop") + _CHAT_USAGE + _chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n",
)

_MESSAGE: dict[str, Any] = {
    "id": "msg_bench",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": _TEXT}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 400,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 150,
    },
}


def _event(kind: str, **members: Any) -> bytes:
    return _chunked(b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps({"type": kind, **members})))


_MESSAGES = _Dialect(
    whole=orjson.dumps(_MESSAGE),
    first=_event("message_start", message={**_MESSAGE, "content": [], "stop_reason": None})
    + _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    + _event("ping"),
    token=_event("content_block_delta", index=0, delta={"type": "text_delta", "text": " token"}),
    last=_event("content_block_stop", index=0)
    + _event(
        "message_delta",
        delta={"stop_reason": "end_turn", "stop_sequence": None},
        usage={"output_tokens": 150},
    )
    + _event("message_stop")
    + b"0\r\n\r\n",
)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
            dialect = _MESSAGES if b"/messages " in head else _CHAT
            tokens = _TOKENS.search(body)
            if tokens is None:
                writer.write(_HEAD % len(dialect.whole) + dialect.whole)
            else:
                await _stream(writer, dialect, int(tokens[1]))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _stream(writer: asyncio.StreamWriter, dialect: _Dialect, count: int) -> None:
    writer.write(_STREAM_HEAD + dialect.first)
    for _ in range(count):
        await asyncio.sleep(_PAUSE_S)
        writer.write(dialect.token)
        await writer.drain()
    writer.write(dialect.last)


async def _main(port: int) -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))
