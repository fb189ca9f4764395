"""
The client side of an RPC over a real connection.

`connect` gives a channel for generated stubs. Calls through it carry the caller's name, the trace and a
deadline, and fail with `GatewayError`. It is a channel of its own rather than gRPC interceptors, which make
a task for every call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio

from kit.errors import GatewayError, Reason
from kit.rpc import deadline, network, status
from kit.rpc.again import RepeatingChannel
from kit.rpc.caller import CALLER_KEY
from kit.rpc.credentials import channel_credentials, is_local
from kit.rpc.rotating import RotatingChannel
from kit.rpc.wrapping import WrappingChannel
from kit.telemetry import names
from kit.telemetry.tracing import propagation_headers

if TYPE_CHECKING:
    from kit.telemetry.tracing import Tracing
    from kit.tls import TlsSource
    from kit.tls_files import TlsFiles

__all__ = ["KEEPALIVE_S", "KEEPALIVE_TIMEOUT_S", "DelegatingChannel", "channel_options", "connect"]

Metadata = Sequence[tuple[str, str | bytes]]

# A peer that is gone closes its connections, and a call that hangs has its deadline. A peer that is stopped,
# or behind a network that broke, does neither, and a `Watch` stream has no deadline: a revocation would never
# arrive while everybody takes the stream to be open. Pings find out within the sum of these two. More often
# would wake idle processes for nothing; a shorter time-out would take a machine that is merely busy for dead.
KEEPALIVE_S = 10.0
KEEPALIVE_TIMEOUT_S = 5.0


def channel_options(
    max_message_bytes: int,
    *,
    keepalive_s: float = KEEPALIVE_S,
    keepalive_timeout_s: float = KEEPALIVE_TIMEOUT_S,
) -> dict[str, int]:
    """
    Give the gRPC options that servers and clients share.

    Args:
        max_message_bytes: Longest message either way.
        keepalive_s: After how long without a sign of life the peer is pinged, in seconds.
        keepalive_timeout_s: How long it may take to answer before the connection is closed, in seconds.
    """
    keepalive_ms = int(keepalive_s * 1000)
    timeout_ms = int(keepalive_timeout_s * 1000)
    return {
        "grpc.max_receive_message_length": max_message_bytes,
        "grpc.max_send_message_length": max_message_bytes,
        # A service that was killed is back within a second or two; do not sit out gRPC's default of up to
        # two minutes.
        "grpc.initial_reconnect_backoff_ms": 50,
        "grpc.min_reconnect_backoff_ms": 50,
        "grpc.max_reconnect_backoff_ms": 500,
        # No proxy stands between services, whatever the environment says for upstream calls.
        "grpc.enable_http_proxy": 0,
        "grpc.keepalive_time_ms": keepalive_ms,
        "grpc.keepalive_timeout_ms": timeout_ms,
        # What ends the connection when a ping has no answer is this one, a minute unless set.
        "grpc.http2.ping_timeout_ms": timeout_ms,
        # Between calls too: the next one shall not be the one to find out.
        "grpc.keepalive_permit_without_calls": 1,
        # gRPC stops pinging after two pings without data; a `Watch` stream may have none for days.
        "grpc.http2.max_pings_without_data": 0,
        # A server takes pings more than once in five minutes for an attack, and ends the connection. Far
        # below what our clients do, so that neither one that is a little early nor a later one is punished.
        "grpc.http2.min_ping_interval_without_data_ms": min(1000, keepalive_ms // 2),
    }


def connect(
    target: str,
    *,
    service: str,
    caller: str,
    tracing: Tracing,
    max_message_bytes: int,
    keepalive_s: float = KEEPALIVE_S,
    keepalive_timeout_s: float = KEEPALIVE_TIMEOUT_S,
    tls: TlsSource | None = None,
) -> grpc.aio.Channel:
    """
    Open a channel to a service.

    Args:
        target: gRPC target, such as `unix:/run/headrace/auth.sock` or `dns:///auth:9000`.
        service: Name of the service, for messages.
        caller: Name of the calling service.
        tracing: Spans of the calling service.
        max_message_bytes: Longest message either way.
        keepalive_s: After how long without a sign of life the service is pinged, in seconds.
        keepalive_timeout_s: How long it may take to answer before the connection is closed, in seconds.
        tls: Certificates for a target on another host; None: there is no TLS.
    """
    local = is_local(target)
    given: dict[str, Any] = channel_options(
        max_message_bytes, keepalive_s=keepalive_s, keepalive_timeout_s=keepalive_timeout_s
    )
    if not local:
        given |= network.client_options(service)
    options = list(given.items())

    def secure(files: TlsFiles) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(target, channel_credentials(files), options=options)

    channel: grpc.aio.Channel | WrappingChannel
    if tls is None or local:
        channel = grpc.aio.insecure_channel(target, options=options)
    else:
        channel = RotatingChannel(secure, tls, service=service, caller=caller)
    if not local:
        channel = RepeatingChannel(channel)
    return _RemoteChannel(channel, service=service, caller=caller, tracing=tracing)


class DelegatingChannel(grpc.aio.Channel):
    """The parts of `grpc.aio.Channel` that generated stubs never use."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close the channel."""

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002, ARG002 - gRPC's signature
        """Say that the channel is ready."""
        return grpc.ChannelConnectivity.READY

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Return at once: the state never changes."""

    async def channel_ready(self) -> None:
        """Return at once: the channel is always ready."""


class _RemoteChannel(WrappingChannel, DelegatingChannel):
    def __init__(
        self, channel: grpc.aio.Channel | WrappingChannel, *, service: str, caller: str, tracing: Tracing
    ) -> None:
        super().__init__(channel)
        self._service = service
        self._own = ((CALLER_KEY, caller),)
        self._tracing = tracing

    # Stubs call these four with gRPC's own signatures; what they return is called with (request, timeout=…,
    # metadata=…) and is awaited or iterated, which is all that callers rely on.

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._unary(method, self._channel.unary_unary(method, *args, **kwargs))

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._unary(method, self._channel.stream_unary(method, *args, **kwargs))

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._stream(method, self._channel.unary_stream(method, *args, **kwargs))

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._stream(method, self._channel.stream_stream(method, *args, **kwargs))

    def _unary(self, method: str, callable_: Any) -> Any:
        name = method[1:]

        attributes = _attributes(name)

        async def call(request: Any, *, timeout: float | None = None, metadata: Metadata = ()) -> Any:
            with self._tracing.span(name, "client", attributes):
                seconds = deadline.budget(timeout)
                try:
                    return await callable_(request, timeout=seconds, metadata=self._metadata(metadata))
                except grpc.aio.AioRpcError as error:
                    raise status.decode(error, service=self._service) from None
                except asyncio.CancelledError:
                    self._tell_if_cut()
                    raise

        return call

    def _stream(self, method: str, callable_: Any) -> Any:
        name = method[1:]
        attributes = _attributes(name)

        async def call(
            request: Any, *, timeout: float | None = None, metadata: Metadata = ()
        ) -> AsyncIterator[Any]:
            with self._tracing.span(name, "client", attributes):
                running = callable_(
                    request, timeout=deadline.budget(timeout), metadata=self._metadata(metadata)
                )
                try:
                    while (answer := await running.read()) is not grpc.aio.EOF:
                        yield answer
                except grpc.aio.AioRpcError as error:
                    raise status.decode(error, service=self._service) from None
                except asyncio.CancelledError:
                    self._tell_if_cut()
                    raise
                finally:
                    # A consumer that stopped early must not leave the peer working.
                    running.cancel()

        return call

    def _tell_if_cut(self) -> None:
        """
        Tell a call that was cut off with its channel from one whose caller was cancelled.

        Raises:
            GatewayError: SERVICE_UNAVAILABLE; nobody cancelled the caller, so it must not end as if.
        """
        task = asyncio.current_task()
        if task is not None and not task.cancelling():
            raise GatewayError(
                Reason.SERVICE_UNAVAILABLE,
                f"The connection to {self._service} was closed.",
                service=self._service,
            ) from None

    def _metadata(self, given: Metadata) -> Metadata:
        return (*self._own, *propagation_headers().items(), *given)


def _attributes(method: str) -> dict[str, Any]:
    return {names.RPC_SYSTEM_NAME: names.RPC_SYSTEM_GRPC, names.RPC_METHOD: method}
