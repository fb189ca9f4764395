"""
The gRPC server of a process: its services, health and reflection, on one or more addresses.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from kit.errors import GatewayError
from kit.rpc import deadline, network, status
from kit.rpc.client import KEEPALIVE_S, KEEPALIVE_TIMEOUT_S, channel_options
from kit.rpc.credentials import is_local, server_credentials
from kit.rpc.health import HealthServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from kit.rpc.endpoint import Endpoint
    from kit.tls import TlsSource

__all__ = ["RpcServer"]


class RpcServer:
    """
    Serves endpoints over gRPC.

    Args:
        endpoints: What it serves.
        max_message_bytes: Longest message either way.
        keepalive_s: After how long without a sign of life a client is pinged, in seconds. Clients may ping
            twice as often.
        keepalive_timeout_s: How long it may take to answer before the connection is closed, in seconds.
        max_age_s: How old a connection gets, in seconds, on a server that other hosts call; None: it is for
            this machine alone.
    """

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        *,
        max_message_bytes: int,
        keepalive_s: float = KEEPALIVE_S,
        keepalive_timeout_s: float = KEEPALIVE_TIMEOUT_S,
        max_age_s: float | None = None,
    ) -> None:
        options: dict[str, Any] = channel_options(
            max_message_bytes, keepalive_s=keepalive_s, keepalive_timeout_s=keepalive_timeout_s
        )
        if max_age_s is not None:
            options |= network.server_options(max_age_s=max_age_s)
        self._server = grpc.aio.server(options=list(options.items()))
        by_service: dict[str, dict[str, Any]] = {}
        for endpoint in endpoints:
            by_service.setdefault(endpoint.service, {})[endpoint.rpc] = _handler(endpoint)
        for service, handlers in by_service.items():
            self._server.add_registered_method_handlers(service, handlers)
        self._services = tuple(by_service)
        self._health = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*by_service, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self, addresses: Sequence[str], *, tls: TlsSource | None = None) -> None:
        """
        Begin to serve.

        Args:
            addresses: Such as `unix:/run/headrace/auth.sock` or `0.0.0.0:9000`.
            tls: Certificates for addresses that other hosts can reach; None: there is no TLS.

        Raises:
            OSError: An address cannot be listened on.
        """
        self.set_serving(serving=False)
        self._accept(accepting=True)
        for address in addresses:
            try:
                if tls is None or is_local(address):
                    self._server.add_insecure_port(address)
                else:
                    self._server.add_secure_port(address, server_credentials(tls))
            except RuntimeError as error:
                raise OSError(f"cannot listen on {address}") from error
        await self._server.start()

    def set_serving(self, *, serving: bool) -> None:
        """Say whether the process as a whole can do its work."""
        self._health.set("", serving=serving)

    def leave(self) -> None:
        """Have clients of other hosts call another replica; what they call here is still answered."""
        self._accept(accepting=False)

    async def stop(self, grace_s: float) -> None:
        """Stop accepting, let running calls end within the grace, then cut them off."""
        self._health.close()
        await self._server.stop(grace_s)

    def _accept(self, *, accepting: bool) -> None:
        # A service that cannot do its work answers so itself. Only one that is about to stop is to be left:
        # were it otherwise, a store that is away would take all replicas from their clients.
        for name in self._services:
            self._health.set(name, serving=accepting)


def _handler(endpoint: Endpoint) -> Any:
    make = _MAKERS[(bool(endpoint.handler.request_streaming), endpoint.streams_answer)]
    return make(
        _streaming(endpoint) if endpoint.streams_answer else _single(endpoint),
        request_deserializer=endpoint.handler.request_deserializer,
        response_serializer=endpoint.handler.response_serializer,
    )


_MAKERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _single(endpoint: Endpoint) -> Any:
    async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        with deadline.accept(context.time_remaining()):
            try:
                return await endpoint.behaviour(request, context)
            except GatewayError as error:
                code, message, trailers = status.encode(error)
                await context.abort(code, message, trailers)

    return call


def _streaming(endpoint: Endpoint) -> Any:
    async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        with deadline.accept(context.time_remaining()):
            try:
                # Closed with this one, not when it is found to be garbage: it may hold a connection upstream.
                async with aclosing(endpoint.behaviour(request, context)) as answers:
                    async for answer in answers:
                        yield answer
            except GatewayError as error:
                code, message, trailers = status.encode(error)
                await context.abort(code, message, trailers)

    return call
