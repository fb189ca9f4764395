"""
The one HTTP client for all provider APIs.

Owns connections, time-outs, proxy and certificate settings, and how what goes wrong on the wire is named.
Knows no provider and no dialect. Never follows a redirect, never keeps a cookie. Sends nothing twice but a
request that may be repeated (GET, HEAD, PUT, DELETE, …) and met a kept connection which the provider had just
closed.
"""

from __future__ import annotations

import asyncio
import io
import ssl
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict

from kit.config import ConfigError
from kit.errors import GatewayError, Reason
from kit.telemetry.tracing import propagation_headers
from services.providers.answer import BrokenAnswerError, UpstreamAnswer
from services.providers.conceal import credentials_in
from services.providers.guard import AddressGuard, GuardedResolver
from services.providers.headers import without_trace
from services.providers.kept import MOST_BYTES, KeptConnections

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from aiohttp.client_proto import ResponseHandler
    from yarl import URL

    from services.providers.answer import Received
    from services.providers.config import ProvidersConfig
    from services.providers.headers import HeaderList
    from services.providers.kept import KeptAnswer

__all__ = [
    "BareRequest",
    "BrokenAnswerError",
    "Timeouts",
    "Upstream",
    "UpstreamAnswer",
    "UpstreamRequest",
    "no_answer",
    "with_trace",
]

# Above it aiohttp wants a file-like body, which it sends in pieces.
_LARGE_BODY_BYTES: Final = 1 << 20
_LOCAL_ENGINE_HOST: Final = "127.0.0.1"
_IDENTITY: Final = ("accept-encoding", "identity")
# Some providers send their whole quota state in headers, or a policy of several kilobytes.
_MOST_FIELD_BYTES: Final = 32 << 10
_MOST_LINE_BYTES: Final = 16 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Longest times of one attempt; `first_byte_s` counts from the request sent."""

    connect_s: float
    first_byte_s: float
    idle_s: float
    total_s: float


@dataclass(slots=True, kw_only=True)  # made for each request; freezing would cost most of it
class UpstreamRequest:
    """
    One HTTP request to a provider.

    Attributes:
        pieces: The body, when it is sent as it comes; `body` is empty then.
        guarded: The host was chosen by whoever calls, and is called only when its address is public.
    """

    provider: str
    method: str
    url: URL = field(repr=False)  # may hold a key
    headers: HeaderList = field(repr=False)
    body: bytes = field(repr=False)
    timeouts: Timeouts
    pieces: AsyncIterator[bytes] | None = None
    guarded: bool = False


@dataclass(slots=True)
class _Connecting:
    """
    How an attempt begins.

    Attributes:
        took_s: How long its connection took to make; zero when one was reused.
        sent_at: When the last piece of its body was taken; zero when it was not, or there are no pieces.
    """

    took_s: float = 0.0
    sent_at: float = 0.0


_connecting: ContextVar[_Connecting | None] = ContextVar("connecting", default=None)


class _TimedConnector(aiohttp.TCPConnector):
    """A connector that says how long a new connection took. aiohttp's own tracing costs every request."""

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: Any,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> ResponseHandler:
        started = time.monotonic()
        protocol = await super()._create_connection(req, traces, timeout)
        if (connecting := _connecting.get()) is not None:
            connecting.took_s = time.monotonic() - started
        return protocol


class BareRequest(aiohttp.ClientRequest):
    """A request with no header that the caller did not ask for. aiohttp's own way costs a tenth of a call."""

    _nothing_added: Final = CIMultiDict[None]({"Content-Type": None})

    def update_auto_headers(self, skip_auto_headers: Iterable[str] | None) -> None:
        """Add nothing, and have no content type guessed later."""
        del skip_auto_headers
        self._skip_auto_headers = self._nothing_added


class Upstream:
    """
    Sends requests to providers. Made inside a running event loop, and closed by `close`.

    Args:
        config: Pool, proxy, certificates, limits.

    Raises:
        ConfigError: the settings name certificates that cannot be read.
    """

    def __init__(self, config: ProvidersConfig) -> None:
        ssl_context = _ssl_of(config)
        self._guard = AddressGuard(config.allowed_networks)
        self._session = _session(config, ssl_context, None)
        self._kept = _kept(self._session)
        # Connections of its own, so that none is shared that was made without a look at its address.
        self._resolver = GuardedResolver(self._guard, aiohttp.ThreadedResolver())
        self._guarded = _session(config, ssl_context, self._resolver)
        self._proxy = config.proxy_url
        self._no_proxy = frozenset({*config.no_proxy, _LOCAL_ENGINE_HOST})
        self._max_bytes = config.max_answer_bytes
        # One object for each distinct set of time-outs: gateways have few.
        self._client_timeouts: dict[Timeouts, aiohttp.ClientTimeout] = {}

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
        await self._guarded.close()

    async def send(self, request: UpstreamRequest) -> UpstreamAnswer:
        """
        Send a request and return its answer as soon as the answer's headers are there.

        The answer must be closed by the caller.

        Raises:
            GatewayError: UPSTREAM_UNREACHABLE, UPSTREAM_TIMEOUT or UPSTREAM_MALFORMED; no answer came.
                INVALID_REQUEST; the request cannot be sent as it is, or its address may not be called.
        """
        started = time.monotonic()
        try:
            kept = await self._over_kept(request)
        except (aiohttp.ClientError, OSError, HttpProcessingError, ValueError) as error:
            raise no_answer(error, request.provider) from error
        if kept is not None:
            return self._answer(request, kept, started)
        connecting = _Connecting()
        _connecting.set(connecting)
        body: bytes | io.BytesIO | AsyncIterator[bytes] | None = request.body or None
        if request.pieces is not None:
            body = _timed(request.pieces, connecting)
        elif len(request.body) > _LARGE_BODY_BYTES:
            body = io.BytesIO(request.body)
        try:
            session, proxy = await self.way(request)
            response = await session.request(
                request.method,
                request.url,
                headers=with_trace(request.headers),
                data=body,
                allow_redirects=False,
                timeout=self._client_timeout(request.timeouts),
                proxy=proxy,
            )
        except (aiohttp.ClientError, OSError, HttpProcessingError, ValueError) as error:
            raise no_answer(error, request.provider) from error
        # An upload may take longer than its answer may.
        sent_at = connecting.sent_at if request.pieces is None else connecting.sent_at or time.monotonic()
        return self._answer(request, response, started, connect_s=connecting.took_s, sent_at=sent_at)

    async def _over_kept(self, request: UpstreamRequest) -> KeptAnswer | None:
        """Send a usual request over a connection that is kept; None where it is not, or there is none."""
        if (
            request.method != "POST"
            or not 0 < len(request.body) <= MOST_BYTES
            or request.guarded
            or self._proxy is not None
        ):
            return None
        return await self._kept.post(
            request.url,
            with_trace(request.headers),
            request.body,
            first_byte_s=request.timeouts.first_byte_s,
            total_s=request.timeouts.total_s,
        )

    def _answer(
        self,
        request: UpstreamRequest,
        received: Received,
        started: float,
        *,
        connect_s: float = 0.0,
        sent_at: float = 0.0,
    ) -> UpstreamAnswer:
        return UpstreamAnswer(
            received,
            started=started,
            connect_s=connect_s,
            first_byte_s=request.timeouts.first_byte_s,
            idle_s=request.timeouts.idle_s,
            max_bytes=self._max_bytes,
            sent_at=sent_at,
            secrets=credentials_in(request.headers, request.url.raw_query_string),
        )

    async def way(self, request: UpstreamRequest) -> tuple[aiohttp.ClientSession, str | None]:
        """
        Choose whose connections a request goes over, and by which proxy, after a look at its address.

        Raises:
            GatewayError: INVALID_REQUEST; its address may not be called. UPSTREAM_TIMEOUT.
        """
        proxy = self._proxy_for(request.url)
        if not request.guarded:
            return self._session, proxy
        await self._look(request, behind_proxy=proxy is not None)
        # The proxy's own address is the operator's, and may be in a network that is not public.
        return (self._guarded if proxy is None else self._session), proxy

    async def _look(self, request: UpstreamRequest, *, behind_proxy: bool) -> None:
        """Look at the address of a host; without a proxy, a name is looked at when it is connected to."""
        host = request.url.host or ""
        self._guard.check(host)
        if not behind_proxy or self._guard.is_open:
            return
        # The proxy resolves the name once more, and by itself: what it is led to is for it to refuse.
        try:
            async with asyncio.timeout(request.timeouts.connect_s):
                await self._resolver.resolve(host, request.url.port or 0)
        except TimeoutError:
            text = "The provider's name could not be resolved in time."
            raise _timeout(request.provider, "connect", text) from None

    def _client_timeout(self, timeouts: Timeouts) -> aiohttp.ClientTimeout:
        found = self._client_timeouts.get(timeouts)
        if found is None:
            found = aiohttp.ClientTimeout(
                total=timeouts.total_s, connect=timeouts.connect_s, sock_read=timeouts.first_byte_s
            )
            if len(self._client_timeouts) < 1024:
                self._client_timeouts[timeouts] = found
        return found

    def _proxy_for(self, url: URL) -> str | None:
        if self._proxy is None or url.host in self._no_proxy:
            return None
        return self._proxy.reveal()


async def _timed(pieces: AsyncIterator[bytes], connecting: _Connecting) -> AsyncIterator[bytes]:
    async for piece in pieces:
        yield piece
    connecting.sent_at = time.monotonic()


def _session(
    config: ProvidersConfig, ssl_context: ssl.SSLContext | Literal[True], resolver: GuardedResolver | None
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=_TimedConnector(
            limit=config.pool_size,
            limit_per_host=config.pool_size_per_host,
            keepalive_timeout=config.keepalive_s,
            ssl=ssl_context,
            resolver=resolver,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        raise_for_status=False,
        trust_env=False,
        request_class=BareRequest,
        max_field_size=_MOST_FIELD_BYTES,
        max_line_size=_MOST_LINE_BYTES,
    )


def _kept(session: aiohttp.ClientSession) -> KeptConnections:
    assert session.connector is not None
    # As the session itself has them.
    return KeptConnections(
        session.connector,
        read_until_eof=True,
        auto_decompress=False,
        max_field_size=_MOST_FIELD_BYTES,
        max_line_size=_MOST_LINE_BYTES,
    )


def _ssl_of(config: ProvidersConfig) -> ssl.SSLContext | Literal[True]:
    if config.ca_bundle is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(config.ca_bundle))
    except (OSError, ssl.SSLError) as error:
        why = f"HEADRACE_PROVIDERS_CA_BUNDLE: the file {config.ca_bundle} cannot be used: {error.strerror}"
        raise ConfigError([why]) from error


def with_trace(headers: HeaderList) -> HeaderList:
    """Add our trace context; without one, the client's own stays."""
    trace = propagation_headers()
    # Only where the client's own signature covers what it accepts, an adapter passes that on.
    coding = () if any(name == _IDENTITY[0] for name, _ in headers) else (_IDENTITY,)
    if not trace:
        return [*headers, *coding]
    return [*without_trace(headers), *coding, *trace.items()]


def no_answer(error: Exception, provider: str) -> GatewayError:
    """Name what kept an answer from coming."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return _timeout(provider, "connect", "No connection to the provider could be made in time.")
    if isinstance(error, aiohttp.SocketTimeoutError):
        return _timeout(provider, "first_byte", "The provider did not begin to answer in time.")
    if isinstance(error, asyncio.TimeoutError):
        return _timeout(provider, "total", "The provider did not answer in time.")
    if isinstance(error, (aiohttp.InvalidURL, aiohttp.ClientPayloadError)) or (
        isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientError)
    ):
        return GatewayError(Reason.INVALID_REQUEST, "The request cannot be sent to the provider as it is.")
    if isinstance(error, (aiohttp.ClientResponseError, HttpProcessingError)) and not isinstance(
        error, aiohttp.ClientHttpProxyError
    ):
        return GatewayError(
            Reason.UPSTREAM_MALFORMED,
            "The provider answered with something that is not HTTP.",
            provider=provider,
        )
    if isinstance(error, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError)):
        text = "The provider's TLS certificate was not accepted."
    elif isinstance(error, (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError)):
        text = "The provider closed the connection without an answer."
    else:
        text = "No connection to the provider could be made."
    return GatewayError(Reason.UPSTREAM_UNREACHABLE, text, provider=provider)


def _timeout(provider: str, timer: str, text: str) -> GatewayError:
    return GatewayError(Reason.UPSTREAM_TIMEOUT, text, provider=provider, timer=timer)
