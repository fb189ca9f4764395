"""
The handshake of a WebSocket with a provider.

Goes the way of every other request: the same connectors, so the same certificates and the same look at
addresses, and the same proxy. A redirect is not followed, and an answer that is no upgrade is kept whole.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict

from kit.errors import GatewayError, Reason
from services.providers.conceal import Concealer, credentials_in
from services.providers.headers import response_headers
from services.providers.upstream import BareRequest, no_answer, with_trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

    from services.providers.config import ProvidersConfig
    from services.providers.headers import AnswerHeaders
    from services.providers.upstream import Upstream, UpstreamRequest

__all__ = ["Dialer", "Dialled", "Refused"]

Socket = aiohttp.ClientWebSocketResponse[bool]

_UPGRADED: Final = 101
# Longest part of an error's body that is kept.
_BODY_BYTES: Final = 256 << 10
# A handshake is short work for a provider, however long its answers to other requests may take.
_HANDSHAKE_S: Final = 30.0
# A provider that does not answer a close is not waited for.
_CLOSE_S: Final = 2.0
_OF_HANDSHAKE: Final = "sec-websocket-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialled:
    """A WebSocket that is open; whoever holds it closes it. `headers` are those of the answer."""

    socket: Socket
    headers: AnswerHeaders
    concealer: Concealer


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An answer that came instead, without secrets. `raw` are its headers with names in lower case."""

    status: int
    headers: AnswerHeaders
    raw: dict[str, str]
    body: bytes


@dataclass(slots=True)
class _Handshake:
    """What is learned of the answer to one handshake."""

    status: int = 0
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = field(default=b"", repr=False)


class _NotUpgradedError(Exception):
    """The answer is none that opens a WebSocket."""


_handshake: ContextVar[_Handshake | None] = ContextVar("handshake", default=None)


async def _only_upgraded(request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
    """Stop at an answer that is no upgrade, before aiohttp follows it or throws its body away."""
    response = await send(request)
    if (found := _handshake.get()) is None:
        return response
    found.status, found.headers = response.status, response.raw_headers
    if response.status == _UPGRADED:
        return response
    try:
        while len(found.body) < _BODY_BYTES and (data := await response.content.readany()):
            found.body += data
    except (aiohttp.ClientError, HttpProcessingError):
        pass  # what came has to do
    finally:
        response.close()
    raise _NotUpgradedError


class Dialer:
    """
    Opens WebSockets. Made inside a running event loop, and closed by `close`.

    Args:
        upstream: Whose connections are used.
        config: Limits.
    """

    def __init__(self, upstream: Upstream, config: ProvidersConfig) -> None:
        self._upstream = upstream
        self._heartbeat_s = config.realtime_heartbeat_s
        self._max_frame_bytes = config.realtime_max_frame_bytes
        self._sessions: dict[aiohttp.ClientSession, aiohttp.ClientSession] = {}

    async def close(self) -> None:
        """Let go of the connections."""
        for session in self._sessions.values():
            await session.close()

    async def dial(self, request: UpstreamRequest, subprotocols: Sequence[str]) -> Dialled | Refused:
        """
        Open a WebSocket.

        Args:
            request: The handshake, without what WebSockets add to it.
            subprotocols: What is offered.

        Raises:
            GatewayError: As `Upstream.send`; nobody answered.
        """
        concealer = Concealer(credentials_in(request.headers, request.url.raw_query_string))
        found = _Handshake()
        context = _handshake.set(found)
        timeouts = request.timeouts
        try:
            async with asyncio.timeout(timeouts.connect_s + min(timeouts.first_byte_s, _HANDSHAKE_S)):
                socket = await self._connect(request, subprotocols)
        except _NotUpgradedError:
            return _refused(found, concealer)
        except TimeoutError as error:
            text = "The provider did not open a WebSocket in time."
            raise GatewayError(
                Reason.UPSTREAM_TIMEOUT, text, provider=request.provider, timer="connect"
            ) from error
        except (aiohttp.ClientError, OSError, HttpProcessingError, ValueError) as error:
            raise no_answer(error, request.provider) from error
        finally:
            _handshake.reset(context)
        return Dialled(socket=socket, headers=_headers(found, concealer), concealer=concealer)

    async def _connect(self, request: UpstreamRequest, subprotocols: Sequence[str]) -> Socket:
        session, proxy = await self._upstream.way(request)
        return await self._session(session).ws_connect(
            request.url,
            headers=CIMultiDict(with_trace(request.headers)),
            protocols=tuple(subprotocols),
            proxy=proxy,
            heartbeat=self._heartbeat_s,
            max_msg_size=self._max_frame_bytes,
            timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_S),
            # Frames go on as they are; what compresses them is each hop's own affair.
            compress=0,
            decode_text=False,
        )

    def _session(self, usual: aiohttp.ClientSession) -> aiohttp.ClientSession:
        """Give a session that opens WebSockets over the connections of another."""
        found = self._sessions.get(usual)
        if found is None:
            found = self._sessions[usual] = aiohttp.ClientSession(
                connector=usual.connector,
                connector_owner=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                request_class=BareRequest,
                middlewares=(_only_upgraded,),
                # The whole handshake has a time of its own, and a session may last for hours.
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return found


def _refused(found: _Handshake, concealer: Concealer) -> Refused:
    headers = [(name, concealer.whole(value)) for name, value in found.headers]
    return Refused(
        status=found.status,
        headers=_headers(found, concealer),
        raw={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers},
        body=concealer.whole(found.body[:_BODY_BYTES]),
    )


def _headers(found: _Handshake, concealer: Concealer) -> AnswerHeaders:
    """Return the headers that mean something to the client, whose own handshake is another one."""
    received = ((name, concealer.whole(value)) for name, value in found.headers)
    return [
        pair
        for pair in response_headers(received, decoded=False, with_length=False)
        if not pair[0].startswith(_OF_HANDSHAKE)
    ]
