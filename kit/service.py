"""
What a service is to the process that runs it, and what the process gives to a service.

`Build` is the type of each `services/<name>/app.py`'s `build`; `kit.lifecycle` calls it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kit import logs
from kit.rpc.caller import CallerRule
from kit.rpc.client import connect
from kit.rpc.inline import InlineChannel, InlineRegistry

if TYPE_CHECKING:
    import grpc.aio
    import prometheus_client

    from kit.runtime_config import RuntimeConfig
    from kit.telemetry.tracing import Tracing
    from kit.tls import TlsSource

__all__ = ["Binding", "Build", "Runtime", "Service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """
    One gRPC service that a process offers.

    Attributes:
        service: Full name, such as `headrace.auth.v1.AuthService`.
        add: The generated `add_…Servicer_to_server`.
        servicer: What answers.
        callers: Names of the services that may call it: one set for all RPCs, or one for each RPC.
    """

    service: str
    add: Callable[[Any, Any], None]
    servicer: object
    callers: Mapping[str, frozenset[str]] | frozenset[str]

    def allowed(self, rpc: str) -> frozenset[str]:
        """Names of the services that may call an RPC."""
        if isinstance(self.callers, frozenset):
            return self.callers
        return self.callers.get(rpc, frozenset())


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """
    A service that was built and can be served.

    Attributes:
        name: As in `Runtime.channel`.
        bindings: The gRPC services it offers.
        check: Raises when the service cannot do its work; polled for health.
        start: Begins to accept what does not come over gRPC. Called once gRPC is served.
        drain: Stops accepting, and returns once what runs has ended or the seconds given are over.
    """

    name: str
    bindings: tuple[Binding, ...]
    check: Callable[[], Awaitable[None]]
    start: Callable[[], Awaitable[None]] | None = None
    drain: Callable[[float], Awaitable[None]] | None = None


@dataclass(slots=True, kw_only=True)
class Runtime:
    """
    What a process gives to each service it runs.

    Attributes:
        name: Name of the service that this is for; other services see it as the caller.
        env: The process environment.
        settings: Settings that all services share.
        tracing: Spans of this service.
        metrics: Registry for this process's metrics.
        statements: Counts statements of databases, by `service` and `kind`; None: nobody wants to know.
        tls: Certificates for what goes between hosts; None: it has no TLS.
        callers: Finds out who calls.
        inline: Services of this same process, called without a connection.
        addresses: gRPC target of every service that lives elsewhere, by name.
        stopping: Tells whether the process was asked to stop.
    """

    name: str
    env: Mapping[str, str]
    settings: RuntimeConfig
    tracing: Tracing
    metrics: prometheus_client.CollectorRegistry
    inline: InlineRegistry
    addresses: Mapping[str, str]
    stopping: Callable[[], bool] = lambda: False
    statements: prometheus_client.Counter | None = None
    tls: TlsSource | None = None
    callers: CallerRule = field(default_factory=CallerRule)
    _channels: dict[str, grpc.aio.Channel] = field(default_factory=dict)

    def channel(self, name: str, address: str | None = None) -> grpc.aio.Channel:
        """
        Give the channel to a service, for a generated stub.

        The service may live in this process (`inline`) or elsewhere; the caller cannot tell.

        Args:
            name: Name of the service.
            address: Where it is, when it is none of those that the settings know.

        Raises:
            KeyError: There is no service of that name.
        """
        if name not in self._channels:
            self._channels[name] = self._connect(name, address)
        return self._channels[name]

    def log(self, component: str) -> Any:
        """Give the logger of a part of this service."""
        return logs.get(self.name, component)

    async def close(self) -> None:
        """Close all channels."""
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()

    def _connect(self, name: str, address: str | None) -> grpc.aio.Channel:
        if address is None and self.inline.offers(name):
            return InlineChannel(self.inline, name, caller=self.name, tracing=self.tracing)
        return connect(
            address or self.addresses[name],
            service=name,
            caller=self.name,
            tracing=self.tracing,
            max_message_bytes=self.settings.max_message_bytes,
            tls=self.tls,
        )


Build = Callable[[Runtime], AbstractAsyncContextManager[Service]]
