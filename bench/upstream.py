"""
A provider that costs next to nothing: `python -m bench.upstream PORT`.

Speaks as much of OpenAI's chat dialect as the measurement needs. The model's name says what comes:
`tokens-N` streams N tokens, one write each, a pause apart; anything else is a whole answer.
"""

from __future__ import annotations

import asyncio
import re
import sys

import orjson
import uvloop

# About 1 kB, as a typical short answer with its envelope.
_WHOLE = orjson.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "The gateway costs little. " * 30,
                    "refusal": None,
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 400, "completion_tokens": 150, "total_tokens": 550},
    }
)
_TOKENS = re.compile(rb"tokens-(\d+)")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
# Slow enough for each token to be a read of its own at every hop, as with a real model.
_PAUSE_S = 0.01


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    chunk = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        "usage": None,
    }
    return _chunked(b"data: " + orjson.dumps(chunk) + b"\n\n")


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


_USAGE = _chunked(
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"gpt-4o-mini-2024-07-18","choices":[],'
    b'"usage":{"prompt_tokens":400,"completion_tokens":150,"total_tokens":550}}\n\n'
)
_FIRST = _event({"role": "assistant", "content": ""})
_TOKEN = _event({"content": " token"})
_LAST = _event({}, "stop") + _USAGE + _chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n"


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
            tokens = _TOKENS.search(body)
            if tokens is None:
                writer.write(_HEAD % len(_WHOLE) + _WHOLE)
            else:
                await _stream(writer, int(tokens[1]))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _stream(writer: asyncio.StreamWriter, count: int) -> None:
    writer.write(_STREAM_HEAD + _FIRST)
    for _ in range(count):
        await asyncio.sleep(_PAUSE_S)
        writer.write(_TOKEN)
        await writer.drain()
    writer.write(_LAST)


async def _main(port: int) -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))
