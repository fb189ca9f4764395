"""
The admin endpoints of a process: `/healthz`, `/readyz` and `/metrics`.

A few lines of HTTP of their own rather than aiohttp: importing that takes longer than everything else that a
small service imports (350 ms of CPU), and a killed service must be back at once. Serves GET alone, one
request on a connection, to whoever can reach the process's own socket.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from kit import rundir
from kit.redaction import mask_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from prometheus_client import CollectorRegistry

__all__ = ["AdminServer", "Readiness"]

_REQUEST_MAX_BYTES: Final = 16 << 10
_REQUEST_TIMEOUT_S: Final = 5.0
_JSON: Final = "application/json"
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


class Readiness:
    """
    Tells which services of this process cannot do their work right now.

    Args:
        checks: By service; each raises when its service is not ready.
        timeout_s: A check that takes longer counts as failed.
    """

    def __init__(
        self, checks: Mapping[str, Callable[[], Awaitable[None]]], *, timeout_s: float = 1.0
    ) -> None:
        self._checks = dict(checks)
        self._timeout_s = timeout_s
        self.stopping = False

    async def failures(self) -> dict[str, str]:
        """Run all checks at once; return what is wrong by service, empty when all are ready."""
        if self.stopping:
            return dict.fromkeys(self._checks, "stopping")
        names = list(self._checks)
        found = await asyncio.gather(*(self._failure(name) for name in names))
        return {name: text for name, text in zip(names, found, strict=True) if text is not None}

    async def _failure(self, name: str) -> str | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._checks[name]()
        except TimeoutError:
            return f"no answer within {self._timeout_s:g} s"
        except Exception as error:  # noqa: BLE001 - whatever it is, the service is not ready
            return mask_text(str(error)) or type(error).__name__
        return None


class _Answer(NamedTuple):
    status: int
    content_type: str
    body: bytes


class AdminServer:
    """
    Serves the admin endpoints.

    Args:
        process: Name of the process, for the answers.
        readiness: Answers `/readyz`.
        registry: Answers `/metrics`.
    """

    def __init__(self, *, process: str, readiness: Readiness, registry: CollectorRegistry) -> None:
        self._process = process
        self._readiness = readiness
        self._registry = registry
        self._server: asyncio.Server | None = None

    async def start(self, where: Path | tuple[str, int]) -> None:
        """
        Begin to serve on a Unix socket or on a host and port.

        Raises:
            OSError: it cannot be listened on.
        """
        if isinstance(where, tuple):
            host, port = where
            self._server = await asyncio.start_server(self._serve, host, port, limit=_REQUEST_MAX_BYTES)
        else:
            rundir.claim(where)
            self._server = await asyncio.start_unix_server(self._serve, where, limit=_REQUEST_MAX_BYTES)

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop serving. Answers are short; none is waited for."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                answer = await self._answer(head)
                writer.write(_encode(answer, with_body=not head.startswith(b"HEAD ")))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # they went away, or sent what is no request of the kind that comes here
        finally:
            writer.close()

    async def _answer(self, head: bytes) -> _Answer:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in {b"GET", b"HEAD"}:
            return _json(405, {"error": "only GET"})
        if path == b"/healthz":
            return _json(200, {"status": "alive", "process": self._process})
        if path == b"/readyz":
            failures = await self._readiness.failures()
            status = "not ready" if failures else "ready"
            body = {"status": status, "process": self._process, "failures": failures}
            return _json(503 if failures else 200, body)
        if path == b"/metrics":
            return _Answer(200, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self._registry))
        return _json(404, {"error": "there are /healthz, /readyz and /metrics"})


def _json(status: int, body: object) -> _Answer:
    return _Answer(status, _JSON, orjson.dumps(body))


def _encode(answer: _Answer, *, with_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\n"
        f"content-type: {answer.content_type}\r\n"
        f"content-length: {len(answer.body)}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + (answer.body if with_body else b"")
