"""
The one upstream of the end-to-end tests: remembers what arrives, and has it answered.

A request with directives, in its model, its text or its `x-fake` header, is answered by the steerable fake in
`tests/fakes/upstream.py`; every other one by aimock, which others wrote. aimock blacks out keys in its
journal and cannot say when a connection closed; the journal here has both. It knows neither signatures of
AWS's nor Google's service accounts, which are seen to here, and what it gets wrong, `aimock_gaps.py` mends.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Self

import aiohttp
from aiohttp import web

from tests.fakes import shapes_converse
from tests.fakes.aimock_gaps import gap_of
from tests.fakes.aws_door import AwsDoor
from tests.fakes.upstream import FakeUpstream, is_steered

if TYPE_CHECKING:
    from types import TracebackType

    from tests.fakes.aimock_gaps import Gap
    from tests.fakes.google_door import GoogleDoor
    from tests.fakes.upstream import Received

# Headers that belong to one connection, or that the client library sets itself.
_OWN = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "date", "server"}
)
_TOKENS = "/token"
# aimock takes no keys in the query, and logs paths.
_KEY_PARAMETER = re.compile(r"(?<=[?&])key=([^&]+)&?")


class Front(FakeUpstream):
    """
    Answers what is steered, and relays the rest.

    Args:
        relay_to: Address of aimock.
        aws: Judges signatures; None: a signed request is refused.
        google: Gives tokens; None: nobody gets one.
        relay_key: What a request that is signed, or has its key elsewhere, goes on with.
    """

    def __init__(
        self,
        relay_to: str,
        *,
        aws: AwsDoor | None = None,
        google: GoogleDoor | None = None,
        relay_key: str = "",
    ) -> None:
        super().__init__()
        self._relay_to = relay_to
        self._aws = aws
        self._google = google
        self._relay_key = relay_key
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Listen."""
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=60),
            # A connection that was kept may be closed by the other side just when it is used again.
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
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
        if "x-fake" in request.headers or is_steered(body):
            try:
                return await super()._handle(request)
            except (AttributeError, IndexError, KeyError, TypeError, ValueError):
                # The fake looks no closer at a request than it must; a provider refuses nonsense.
                return web.json_response(
                    {"error": {"message": "Nonsense.", "type": "invalid_request_error"}}, status=400
                )
        received = await self._record(request)
        try:
            response = await self._answer(request, received)
        except (asyncio.CancelledError, ConnectionError):
            received.closed_at = asyncio.get_running_loop().time()
            raise
        else:
            received.finished = True
            return response
        finally:
            received.closed.set()

    async def _answer(self, request: web.Request, received: Received) -> web.StreamResponse:
        if request.path == _TOKENS and self._google is not None:
            status, answer = self._google.answer(received.body)
            return web.json_response(answer, status=status)
        headers = [(key, value) for key, value in received.headers if key.lower() not in _OWN]
        path = request.raw_path
        named = {key.lower(): value for key, value in received.headers}
        if AwsDoor.is_signed(named):
            if self._aws is None or not self._aws.admits(request.method, path, named, received.body):
                refusal = shapes_converse.error_body("The request signature we calculated does not match.")
                return web.json_response(
                    refusal, status=403, headers={"x-amzn-errortype": "InvalidSignatureException"}
                )
            headers = self._with_key(headers, self._relay_key)
        elif in_query := _KEY_PARAMETER.search(path):
            headers = self._with_key(headers, in_query[1])
            path = _KEY_PARAMETER.sub("", path).rstrip("?&")
        if gap := gap_of(path, received.body):
            return await self._mended(request, gap, headers)
        return await self._relay(request, received, headers, path)

    @staticmethod
    def _with_key(headers: list[tuple[str, str]], key: str) -> list[tuple[str, str]]:
        kept = [pair for pair in headers if pair[0].lower() != "authorization"]
        return [*kept, ("authorization", f"Bearer {key}")]

    async def _mended(
        self, request: web.Request, gap: Gap, headers: list[tuple[str, str]]
    ) -> web.StreamResponse:
        """Have a request answered and mend the answer, which is there as a whole by then."""
        assert self._session is not None
        if gap.refusal is not None:
            status, refusal = gap.refusal
            return web.json_response(refusal, status=status)
        async with self._session.request(
            request.method, self._relay_to + gap.path, headers=headers, data=gap.body
        ) as answer:
            body = await answer.read()
        if answer.status == 200:
            body = gap.mended(body, answer.content_type)
        return web.Response(
            status=answer.status, body=body, headers={"content-type": answer.headers["content-type"]}
        )

    async def _relay(
        self, request: web.Request, received: Received, headers: list[tuple[str, str]], path: str
    ) -> web.StreamResponse:
        assert self._session is not None
        async with self._session.request(
            request.method, self._relay_to + path, headers=headers, data=received.body
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
