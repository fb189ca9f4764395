"""
Ask a process of ours how it is, over HTTP on a Unix socket or a port.

One request, one connection. A few lines of HTTP of their own: a client library takes longer to import than a
whole poll takes to answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

__all__ = ["Answer", "ask"]

Place = Path | tuple[str, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What came back.

    Attributes:
        status: HTTP status; 0 when nobody answered.
        body: The body.
    """

    status: int
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON; None when it is none."""
        with contextlib.suppress(orjson.JSONDecodeError):
            return orjson.loads(self.body)
        return None


async def ask(place: Place, path: str, *, method: str = "GET", timeout_s: float = 1.0) -> Answer:
    """Send a request without a body, and give the answer. Never raises for a peer that is not there."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _exchange(place, path, method)
    except (OSError, TimeoutError, ValueError, IndexError, asyncio.IncompleteReadError):
        return Answer(0, b"")


async def _exchange(place: Place, path: str, method: str) -> Answer:
    if isinstance(place, Path):
        reader, writer = await asyncio.open_unix_connection(str(place))
    else:
        reader, writer = await asyncio.open_connection(*place)
    try:
        head = f"{method} {path} HTTP/1.1\r\nhost: headrace\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        writer.write(head.encode())
        answer = await reader.read()
    finally:
        writer.close()
    top, _, body = answer.partition(b"\r\n\r\n")
    status = int(top.split(maxsplit=2)[1])
    if b"transfer-encoding: chunked" in top.lower():
        body = _join_chunks(body)
    return Answer(status, body)


def _join_chunks(body: bytes) -> bytes:
    joined = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        if length == 0:
            break
        joined += rest[:length]
        body = rest[length + 2 :]
    return joined
