"""
One process that serves services: builds them, serves them, watches their health, and stops them.

`kit.lifecycle` is what calls this and knows about signals and exit codes.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING, Any, Final

from kit import logs, rundir
from kit.admin import AdminServer, Readiness
from kit.rpc.caller import CallerRule, parse_grants
from kit.rpc.credentials import is_local
from kit.rpc.endpoint import endpoints
from kit.rpc.health import HealthServer
from kit.rpc.inline import InlineRegistry
from kit.rpc.server import RpcServer
from kit.service import Runtime
from kit.telemetry import names
from kit.telemetry.metrics import LoopStall, new_registry, statement_counter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AsyncExitStack

    from kit.rpc.endpoint import Endpoint
    from kit.runtime_config import RuntimeConfig
    from kit.service import Build, Service
    from kit.telemetry.setup import Telemetry
    from kit.tls import TlsSource

__all__ = ["ServingProcess"]

_POLL_S: Final = 1.0
# What clients need to hear of it and to send their next calls elsewhere.
_LEAVING_S: Final = 0.5
_POLL_UNTIL_READY_S: Final = 0.1  # a killed service should be found ready as soon as it is
# New objects between two collections. Python's 700 are made by a few requests that run at the same time:
# nearly all of them are still in use then, and would be looked at for nothing.
_YOUNG_OBJECTS: Final = 5000


class ServingProcess:
    """
    Some services in one process.

    Args:
        builds: Names and builds of the services, in the order in which they are built.
        env: The environment.
        settings: What all processes have in common.
        telemetry: Makes each service's tracing.
        aliases: Further names that a service of this process answers to, when no address is set for them.
    """

    def __init__(
        self,
        builds: Sequence[tuple[str, Build]],
        env: Mapping[str, str],
        *,
        settings: RuntimeConfig,
        telemetry: Telemetry,
        aliases: Mapping[str, str],
    ) -> None:
        self._builds = builds
        self._env = env
        self._settings = settings
        self._telemetry = telemetry
        built = {name for name, _ in builds}
        configured = settings.configured_addresses()
        self._aliases = {
            alias: name for alias, name in aliases.items() if name in built and alias not in configured
        }
        self._inline = InlineRegistry([*built, *self._aliases])
        self._registry = new_registry(settings.process)
        self._statements = statement_counter(self._registry)
        self._services: list[Service] = []
        self._server: RpcServer | None = None
        self._health: HealthServer | None = None
        self._readiness = Readiness({})
        self._log: Any = logs.get(settings.process, "lifecycle")
        self._tls: TlsSource | None = None
        self._callers = CallerRule(
            trust_network=settings.trust_network,
            trust_domain=None if settings.tls_dir is None else settings.tls_trust_domain,
            grants=parse_grants(settings.callers),
        )

    async def start(self, stack: AsyncExitStack) -> None:
        """
        Build all services and begin to serve them. What must be undone is pushed on the stack.

        Raises:
            ConfigError: a service does not accept its settings.
            OSError: an address cannot be listened on, or the run directory is not usable.
        """
        began_s = time.monotonic()
        rundir.prepare(self._settings.run_dir)
        await self._serve_health(stack)
        self._open_tls(stack)
        all_endpoints: list[Endpoint] = []
        for name, build in self._builds:
            all_endpoints += await self._build(stack, name, build)
        self._watch_loop(stack)
        await self._serve(stack, all_endpoints)
        for service in self._services:
            if service.start is not None:
                await service.start()
        self._watch_health(stack)
        # What has been made so far stays: no collection needs to look at it again, and pauses stay short.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_YOUNG_OBJECTS)
        self._log.info("serving", services=self._names(), seconds=round(time.monotonic() - began_s, 3))

    async def _serve_health(self, stack: AsyncExitStack) -> None:
        # First, as building may take long: a process that waits for its database is alive. Undone last.
        if self._settings.health_listen is not None:
            self._health = HealthServer()
            stack.push_async_callback(self._health.stop)
            await self._health.start(self._settings.health_listen)

    def _open_tls(self, stack: AsyncExitStack) -> None:
        if self._settings.tls_dir is None:
            return
        from kit.tls import source_of

        self._tls = source_of(self._settings.tls_dir, log=logs.get(self._settings.process, "tls"))
        self._tls.measure(self._registry)
        task = asyncio.create_task(self._tls.watch(), name="certificates")
        stack.callback(task.cancel)

    async def _build(self, stack: AsyncExitStack, name: str, build: Build) -> list[Endpoint]:
        tracing = self._telemetry.tracing(name)
        runtime = Runtime(
            name=name,
            env=self._env,
            settings=self._settings,
            tracing=tracing,
            metrics=self._registry,
            inline=self._inline,
            addresses=self._settings.addresses(),
            stopping=lambda: self._readiness.stopping,
            statements=self._statements,
            tls=self._tls,
            callers=self._callers,
        )
        stack.push_async_callback(runtime.close)
        service = await stack.enter_async_context(build(runtime))
        self._services.append(service)
        found = [
            endpoint
            for binding in service.bindings
            for endpoint in endpoints(binding, tracing, callers=self._callers)
        ]
        for known_as in (name, *(alias for alias, target in self._aliases.items() if target == name)):
            self._inline.add(known_as, found)
        return found

    def _watch_loop(self, stack: AsyncExitStack) -> None:
        stall = LoopStall(self._registry)
        stall.start()
        stack.callback(stall.stop)

    async def _serve(self, stack: AsyncExitStack, all_endpoints: list[Endpoint]) -> None:
        for path in self._settings.sockets():
            rundir.claim(path)
            stack.callback(path.unlink, missing_ok=True)
        listen = self._settings.listen_addresses()
        self._server = RpcServer(
            all_endpoints,
            max_message_bytes=self._settings.max_message_bytes,
            max_age_s=None if all(map(is_local, listen)) else self._settings.max_connection_age_s,
        )
        stack.push_async_callback(self._server.stop, 0)
        await self._server.start(listen, tls=self._tls)
        self._readiness = Readiness({service.name: service.check for service in self._services})
        admin = AdminServer(
            process=self._settings.process, readiness=self._readiness, registry=self._registry
        )
        await admin.start(self._settings.admin_address())
        stack.push_async_callback(admin.stop)

    def _watch_health(self, stack: AsyncExitStack) -> None:
        task = asyncio.create_task(self._poll_health(), name="health")
        stack.callback(task.cancel)

    async def _poll_health(self) -> None:
        assert self._server is not None
        from prometheus_client import Gauge

        gauge = Gauge(names.METRIC_SERVICE_READY, "1 when ready.", ["service"], registry=self._registry)
        before: dict[str, str] | None = None
        while True:
            failures = await self._readiness.failures()
            if failures != before and not self._readiness.stopping:
                self._set_serving(serving=not failures)
                for service in self._services:
                    gauge.labels(service=service.name).set(service.name not in failures)
                self._report(failures, first=before is None)
                before = failures
            await asyncio.sleep(_POLL_UNTIL_READY_S if failures else _POLL_S)

    def _set_serving(self, *, serving: bool) -> None:
        assert self._server is not None
        self._server.set_serving(serving=serving)
        if self._health is not None:
            self._health.set_ready(ready=serving)

    def _report(self, failures: dict[str, str], *, first: bool) -> None:
        if not failures:
            self._log.info("ready", services=self._names())
        elif first:
            self._log.info("waiting to be ready", failures=failures)
        else:
            self._log.warning("not ready", failures=failures)

    async def drain(self) -> None:
        """Say that no more should come, let what runs come to its end, and stop serving gRPC."""
        self._readiness.stopping = True
        assert self._server is not None
        self._set_serving(serving=False)
        await self._be_left(self._settings.drain_delay_s)
        until_s = time.monotonic() + self._settings.grace_s
        # Front doors first: what they still answer may need the RPCs of this process.
        await asyncio.gather(*(self._drain_one(service) for service in self._services))
        await self._server.stop(max(0.0, until_s - time.monotonic()))

    async def _be_left(self, delay_s: float) -> None:
        """Answer on while others find out that they should call another replica."""
        assert self._server is not None
        if not delay_s:
            return
        # By name first: who is told to leave looks the name up, and must find whoever takes this one's place.
        leaving_s = min(_LEAVING_S, delay_s / 2)
        await asyncio.sleep(delay_s - leaving_s)
        self._server.leave()
        await asyncio.sleep(leaving_s)

    async def _drain_one(self, service: Service) -> None:
        if service.drain is None:
            return
        grace_s = self._settings.grace_s
        try:
            async with asyncio.timeout(grace_s + 0.1):  # it should keep to the grace by itself
                await service.drain(grace_s)
        except Exception as error:  # noqa: BLE001 - one service's trouble must not keep others from draining
            self._log.warning("drain failed", failed_service=service.name, exc_info=error)

    def _names(self) -> list[str]:
        return [service.name for service in self._services]
