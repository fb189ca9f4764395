"""One real service behind a real gRPC server on a Unix socket, as its own process would run it."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import prometheus_client

from kit.config import load
from kit.rpc.endpoint import endpoints
from kit.rpc.inline import InlineRegistry
from kit.rpc.server import RpcServer
from kit.runtime_config import RuntimeConfig
from kit.service import Runtime, Service
from kit.telemetry.metrics import statement_counter
from kit.telemetry.tracing import Tracing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import grpc.aio

    from kit.service import Build

__all__ = ["OneService", "serve"]

_PEERS = ("auth", "cache", "ledger", "providers", "router")


class OneService:
    """
    A service that is being served.

    Args:
        service: What was built.
        runtime: What it was built with.
        address: Its gRPC target.
        server: What serves it.
    """

    def __init__(self, service: Service, runtime: Runtime, address: str, server: RpcServer) -> None:
        self.service = service
        self.settings = runtime.settings
        self.metrics = runtime.metrics
        self._address = address
        self._server = server
        self._stack = AsyncExitStack()

    def channel(self, caller: str) -> grpc.aio.Channel:
        """Give a channel on which calls come from the named service."""
        runtime = _runtime(caller, {}, self.settings, {self.service.name: self._address})
        self._stack.push_async_callback(runtime.close)
        return runtime.channel(self.service.name)

    async def stop(self, grace_s: float = 2.0) -> None:
        """Drain and stop serving, in the order in which a process does it."""
        if self.service.drain is not None:
            await self.service.drain(grace_s)
        await self._server.stop(grace_s)
        await self._stack.aclose()


@asynccontextmanager
async def serve(
    build: Build,
    env: Mapping[str, str],
    *,
    name: str = "under-test",
    addresses: Mapping[str, str] | None = None,
) -> AsyncIterator[OneService]:
    """
    Build a service from an environment and serve it.

    Args:
        build: The service's.
        env: Its settings; `HEADRACE_DATA_DIR` must be among them.
        name: By which the services that it calls know it.
        addresses: Of the services that it calls; nobody is at those that are not named.
    """
    # A test's own directory is often too deep for a Unix socket's path.
    run_dir = Path(tempfile.mkdtemp(prefix="hr-"))
    settings = load(RuntimeConfig, {**env, "HEADRACE_RUN_DIR": str(run_dir)})
    nobody = dict.fromkeys(_PEERS, f"unix:{run_dir / 'nobody.sock'}")
    runtime = _runtime(name, env, settings, nobody | dict(addresses or {}))
    address = f"unix:{run_dir / 'x.sock'}"
    try:
        async with build(runtime) as service:
            found = [each for binding in service.bindings for each in endpoints(binding, runtime.tracing)]
            server = RpcServer(found, max_message_bytes=settings.max_message_bytes)
            await server.start([address])
            one = OneService(service, runtime, address, server)
            try:
                yield one
            finally:
                await one.stop()
    finally:
        await runtime.close()
        shutil.rmtree(run_dir, ignore_errors=True)


def _runtime(
    name: str, env: Mapping[str, str], settings: RuntimeConfig, addresses: Mapping[str, str]
) -> Runtime:
    metrics = prometheus_client.CollectorRegistry()
    return Runtime(
        name=name,
        env=env,
        settings=settings,
        tracing=Tracing(name),
        metrics=metrics,
        statements=statement_counter(metrics),
        inline=InlineRegistry(),
        addresses=addresses,
    )
