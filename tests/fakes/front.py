"""
The one upstream of the end-to-end tests: remembers what arrives, and has it answered.

A request whose model (or `x-fake` header) has directives is answered by the steerable fake in
`tests/fakes/upstream.py`; every other one by aimock, which others wrote. aimock blacks out keys in its
journal and cannot say when a connection closed; the journal here has both.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Self

import aiohttp
from aiohttp import web

from tests.fakes.upstream import FakeUpstream

if TYPE_CHECKING:
    from types import TracebackType

    from tests.fakes.upstream import Received

_DIRECTIVE = re.compile(rb'"model": ?"[^"]*\+')
# Headers that belong to one connection, or that the client library sets itself.
_OWN = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "date", "server"}
)


class Front(FakeUpstream):
    """Answers what is steered, and relays the rest."""

    def __init__(self, relay_to: str) -> None:
        super().__init__()
        self._relay_to = relay_to
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Listen."""
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=60),
            connector=aiohttp.TCPConnector(limit=0),
        )
        return await super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening and drop every connection."""
        await super().__aexit__(kind, error, trace)
        assert self._session is not None
        await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if "x-fake" in request.headers or _DIRECTIVE.search(body):
            try:
                return await super()._handle(request)
            except (AttributeError, IndexError, KeyError, TypeError, ValueError):
                # The fake looks no closer at a request than it must; a provider refuses nonsense.
                return web.json_response(
                    {"error": {"message": "Nonsense.", "type": "invalid_request_error"}}, status=400
                )
        received = await self._record(request)
        try:
            response = await self._relay(request, received)
        except (asyncio.CancelledError, ConnectionError):
            received.closed_at = asyncio.get_running_loop().time()
            raise
        else:
            received.finished = True
            return response
        finally:
            received.closed.set()

    async def _relay(self, request: web.Request, received: Received) -> web.StreamResponse:
        assert self._session is not None
        headers = [(key, value) for key, value in received.headers if key.lower() not in _OWN]
        async with self._session.request(
            request.method, self._relay_to + request.raw_path, headers=headers, data=received.body
        ) as answer:
            response = web.StreamResponse(status=answer.status)
            for key, value in answer.headers.items():
                if key.lower() not in _OWN:
                    response.headers.add(key, value)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response
