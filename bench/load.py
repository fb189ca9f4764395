"""
Sends requests and measures latencies. A bare HTTP/1.1 client: what it costs must not hide what it measures.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson

__all__ = ["PROMPT", "Target", "run"]

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
PROMPT = "Explain what an AI gateway does, and why one would put it in front of a model. " * 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where requests go, and what they say."""

    url: str
    model: str
    stream: bool = False
    headers: tuple[tuple[str, str], ...] = ()

    def request(self) -> bytes:
        """Give the request as it goes over the wire: a body of about 2 kB."""
        parts = urlsplit(self.url)
        body = orjson.dumps(
            {"model": self.model, "messages": [{"role": "user", "content": PROMPT}], "stream": self.stream}
        )
        lines = [
            f"POST {parts.path} HTTP/1.1",
            f"host: {parts.netloc}",
            "content-type: application/json",
            "accept: application/json",
            "user-agent: bench/1",
            f"content-length: {len(body)}",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def run(target: Target, *, count: int, in_flight: int) -> list[float]:
    """
    Send requests and give the seconds that each took, in no order.

    Raises:
        RuntimeError: An answer was not a success.
    """
    request = target.request()
    parts = urlsplit(target.url)
    left = count
    seconds: list[float] = []

    async def worker() -> None:
        nonlocal left
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 22)
        while left > 0:
            left -= 1
            began = time.perf_counter()
            writer.write(request)
            await _answer(reader)
            seconds.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return seconds


async def _answer(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"not a success: {head!r} {await reader.read(2000)!r}")
    length = _LENGTH.search(head)
    if length:
        await reader.readexactly(int(length[1]))
        return
    while (size := int(await reader.readline(), 16)) > 0:
        await reader.readexactly(size + 2)
    await reader.readline()
