"""
The one HTTP client for all provider APIs.

Owns connections, time-outs, proxy and certificate settings, and how what goes wrong on the wire is named.
Knows no provider and no dialect. Never follows a redirect, never keeps a cookie. Sends nothing twice but a
request without side effects (GET, HEAD, …) that met a kept connection which the provider had just closed.
"""

from __future__ import annotations

import asyncio
import io
import ssl
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict

from kit.config import ConfigError
from kit.errors import GatewayError, Reason
from kit.telemetry.tracing import propagation_headers
from services.providers.answer import BrokenAnswerError, UpstreamAnswer
from services.providers.headers import without_trace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp.client_proto import ResponseHandler
    from yarl import URL

    from services.providers.config import ProvidersConfig
    from services.providers.headers import HeaderList

__all__ = ["BrokenAnswerError", "Timeouts", "Upstream", "UpstreamAnswer", "UpstreamRequest"]

# Above it aiohttp wants a file-like body, which it sends in pieces.
_LARGE_BODY_BYTES: Final = 1 << 20
_LOCAL_ENGINE_HOST: Final = "127.0.0.1"
_IDENTITY: Final = ("accept-encoding", "identity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Longest times of one attempt; `first_byte_s` counts from the request sent."""

    connect_s: float
    first_byte_s: float
    idle_s: float
    total_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRequest:
    """One HTTP request to a provider."""

    provider: str
    method: str
    url: URL
    headers: HeaderList
    body: bytes
    timeouts: Timeouts


@dataclass(slots=True)
class _Connecting:
    """How long the connection of one attempt took to make; zero when one was reused."""

    took_s: float = 0.0


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


class _BareRequest(aiohttp.ClientRequest):
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
        self._session = aiohttp.ClientSession(
            connector=_TimedConnector(
                limit=config.pool_size,
                limit_per_host=config.pool_size_per_host,
                keepalive_timeout=config.keepalive_s,
                ssl=_ssl_of(config),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            raise_for_status=False,
            trust_env=False,
            request_class=_BareRequest,
            # Some providers send their whole quota state in headers, or a policy of several kilobytes.
            max_field_size=32 << 10,
            max_line_size=16 << 10,
        )
        self._proxy = config.proxy_url
        self._no_proxy = frozenset({*config.no_proxy, _LOCAL_ENGINE_HOST})
        self._max_bytes = config.max_answer_bytes
        # One object for each distinct set of time-outs: gateways have few.
        self._client_timeouts: dict[Timeouts, aiohttp.ClientTimeout] = {}

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def send(self, request: UpstreamRequest) -> UpstreamAnswer:
        """
        Send a request and return its answer as soon as the answer's headers are there.

        The answer must be closed by the caller.

        Raises:
            GatewayError: UPSTREAM_UNREACHABLE, UPSTREAM_TIMEOUT or UPSTREAM_MALFORMED; no answer came.
                INVALID_REQUEST; the request cannot be sent as it is.
        """
        started = time.monotonic()
        connecting = _Connecting()
        _connecting.set(connecting)
        body: bytes | io.BytesIO | None = request.body or None
        if len(request.body) > _LARGE_BODY_BYTES:
            body = io.BytesIO(request.body)
        try:
            response = await self._session.request(
                request.method,
                request.url,
                headers=_with_trace(request.headers),
                data=body,
                allow_redirects=False,
                timeout=self._client_timeout(request.timeouts),
                proxy=self._proxy_for(request.url),
            )
        except (aiohttp.ClientError, OSError, HttpProcessingError, ValueError) as error:
            raise _no_answer(error, request.provider) from error
        return UpstreamAnswer(
            response,
            started=started,
            connect_s=connecting.took_s,
            first_byte_s=request.timeouts.first_byte_s,
            idle_s=request.timeouts.idle_s,
            max_bytes=self._max_bytes,
        )

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


def _ssl_of(config: ProvidersConfig) -> ssl.SSLContext | bool:
    if config.ca_bundle is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(config.ca_bundle))
    except (OSError, ssl.SSLError) as error:
        why = f"HEADRACE_PROVIDERS_CA_BUNDLE: the file {config.ca_bundle} cannot be used: {error.strerror}"
        raise ConfigError([why]) from error


def _with_trace(headers: HeaderList) -> HeaderList:
    """Add our trace context; without one, the client's own stays."""
    trace = propagation_headers()
    if not trace:
        return [*headers, _IDENTITY]
    return [*without_trace(headers), _IDENTITY, *trace.items()]


def _no_answer(error: Exception, provider: str) -> GatewayError:
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
