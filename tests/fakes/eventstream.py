"""
Writes AWS's event-stream frames, by their documented layout and without any code of AWS's.

A frame is: its length, the length of its headers, a CRC of these two; headers; payload; a CRC of all that.
A header is: length of its name, name, type of its value, value; text has type 7 and a length of two bytes.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "CONTENT_TYPE",
    "HeaderValue",
    "chunk",
    "content_delta",
    "content_start",
    "content_stop",
    "error",
    "event",
    "exception",
    "frame",
    "message_start",
    "message_stop",
    "metadata",
    "said",
]

CONTENT_TYPE = "application/vnd.amazon.eventstream"

HeaderValue = str | bytes | bool | int


def frame(headers: Mapping[str, HeaderValue], payload: bytes) -> bytes:
    """Write one frame."""
    head = b"".join(_header(name, value) for name, value in headers.items())
    lengths = struct.pack("!II", 12 + len(head) + len(payload) + 4, len(head))
    checked = lengths + struct.pack("!I", zlib.crc32(lengths)) + head + payload
    return checked + struct.pack("!I", zlib.crc32(checked))


def event(kind: str, payload: object) -> bytes:
    """Write an event that carries JSON."""
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return frame(headers, _json(payload))


def exception(kind: str, message: str, **members: Any) -> bytes:
    """Write an error that AWS's model names, such as `throttlingException`."""
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return frame(headers, _json({"message": message, **members}))


def error(code: str, message: str) -> bytes:
    """Write an error that AWS's model does not name: it is in the headers alone."""
    return frame({":error-code": code, ":error-message": message, ":message-type": "error"}, b"")


def message_start() -> bytes:
    """Write how an answer of ConverseStream begins."""
    return event("messageStart", {"role": "assistant", "p": "abcdefgh"})


def content_start(index: int, **start: Any) -> bytes:
    """Write how a block begins; calls of tools and images have a beginning, text and thoughts have none."""
    return event("contentBlockStart", {"contentBlockIndex": index, "start": start})


def content_delta(index: int, **delta: Any) -> bytes:
    """Write a piece of a block: `text=…`, `toolUse={"input": …}`, `reasoningContent={…}`."""
    return event("contentBlockDelta", {"contentBlockIndex": index, "delta": delta, "p": "abcd"})


def content_stop(index: int) -> bytes:
    """Write the end of a block."""
    return event("contentBlockStop", {"contentBlockIndex": index})


def message_stop(reason: str | None = "end_turn", **members: Any) -> bytes:
    """Write why the model stopped."""
    return event("messageStop", {"stopReason": reason, **members})


def metadata(**usage: Any) -> bytes:
    """Write the last event of ConverseStream, with what was used."""
    return event("metadata", {"metrics": {"latencyMs": 12}, "usage": usage})


def said(pieces: Iterable[str], *, input_tokens: int = 11, output_tokens: int = 3) -> bytes:
    """Write a whole answer of ConverseStream that is text."""
    deltas = b"".join(content_delta(0, text=piece) for piece in pieces)
    used = metadata(
        inputTokens=input_tokens, outputTokens=output_tokens, totalTokens=input_tokens + output_tokens
    )
    return message_start() + deltas + content_stop(0) + message_stop() + used


def chunk(document: object) -> bytes:
    """Write a frame of InvokeModelWithResponseStream: JSON of the model's own, in base64, in JSON."""
    return event("chunk", {"bytes": base64.b64encode(_json(document)).decode(), "p": "abc"})


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _header(name: str, value: HeaderValue) -> bytes:
    named = struct.pack("!B", len(name.encode())) + name.encode()
    if isinstance(value, bool):
        return named + (b"\x00" if value else b"\x01")
    if isinstance(value, int):
        return named + b"\x05" + struct.pack("!q", value)
    kind, raw = (b"\x07", value.encode()) if isinstance(value, str) else (b"\x06", value)
    return named + kind + struct.pack("!H", len(raw)) + raw
