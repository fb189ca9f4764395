"""Composition root of the edge."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from headrace.inference.v1 import inference_service_pb2_grpc
from headrace.ledger.v1 import ledger_service_pb2_grpc
from headrace.router.v1 import router_service_pb2_grpc
from kit.clock import SystemClock
from kit.config import load
from kit.errors import GatewayError, Reason
from kit.pricing.pricer import Pricer
from kit.pricing.table import PriceTable
from kit.service import Binding, Service
from services.edge import routes
from services.edge.body_room import BodyRoom
from services.edge.config import EdgeConfig
from services.edge.handlers.models import Models
from services.edge.handlers.operations import Operations
from services.edge.health_reports import HealthReports
from services.edge.http_server import HttpServer
from services.edge.inference.servicer import InferenceServicer
from services.edge.management.api import ManagementApi
from services.edge.metrics import EdgeMetrics
from services.edge.pipeline.access import Access
from services.edge.pipeline.attempts import Attempts
from services.edge.pipeline.caching import Caching
from services.edge.pipeline.pipeline import Pipeline
from services.edge.pipeline.providers import Providers
from services.edge.pipeline.record import Recorder
from services.edge.pipeline.reservations import Reservations
from services.edge.realtime.realtime import Realtime
from services.edge.spool.config import SpoolConfig
from services.edge.spool.sender import LedgerSender
from services.edge.spool.spool import Spool
from services.edge.websocket.sockets import Sockets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.service import Runtime
    from services.edge.http_server import Handler

__all__ = ["build"]

# Everyone may call the typed front door: it asks for a token itself.
_ANYONE = frozenset({"", "external", "cli", "edge", "auth", "router", "cache", "ledger", "providers"})


_HEALTH_EVERY_S = 1.0


@asynccontextmanager
async def build(runtime: Runtime) -> AsyncIterator[Service]:
    """Build the edge."""
    config = load(EdgeConfig, runtime.env)
    async with AsyncExitStack() as stack:
        access = Access(runtime, config)
        await stack.enter_async_context(access.following())
        caching = Caching(runtime, config)
        stack.push_async_callback(caching.close)
        providers = Providers(runtime, local_model=runtime.settings.local_enabled)
        spool = await _open_spool(runtime)
        stack.push_async_callback(spool.close, 1.0)
        pricer = _pricer(runtime)
        reservations = Reservations(runtime, config, pricer)
        reservations.start()
        reservations.settle_left(spool.unsettled)
        stack.push_async_callback(reservations.close)
        health = _health(runtime, config)
        await stack.enter_async_context(health.sending(_HEALTH_EVERY_S))
        recorder = Recorder(spool, pricer)
        await stack.enter_async_context(recorder.amending(reservations.settlement, runtime.log("record")))
        attempts = Attempts(
            access=access,
            providers=providers,
            reservations=reservations,
            health=health,
            recorder=recorder,
            config=config,
            log=runtime.log("attempts"),
        )
        metrics = EdgeMetrics(runtime.metrics)
        pipeline = Pipeline(
            access=access,
            caching=caching,
            attempts=attempts,
            reservations=reservations,
            reshape=providers.reshape,
            recorder=recorder,
            config=config,
            observe=metrics.observe,
            log=runtime.log("pipeline"),
        )
        metrics.watch(lambda: pipeline.running)
        room = _room(config, metrics)
        models = Models(access, providers)
        operations = Operations(runtime, access, processes=providers.processes, refusal=lambda: spool.refusal)
        http = HttpServer(
            runtime,
            config,
            pipeline,
            _handlers(runtime, config, access, models, operations),
            Sockets(access, pipeline, config, runtime.log("websocket")),
            realtime=Realtime(pipeline, providers, reservations, health, config, log=runtime.log("realtime")),
            room=room,
        )
        inference = InferenceServicer(
            pipeline,
            models,
            room=room,
            account=runtime.settings.account,
            callers=runtime.callers,
        )
        yield Service(
            name="edge",
            bindings=(
                Binding(
                    service="headrace.inference.v1.InferenceService",
                    add=inference_service_pb2_grpc.add_InferenceServiceServicer_to_server,
                    servicer=inference,
                    callers=_ANYONE,
                ),
            ),
            check=partial(_takes_requests, access, spool),
            start=http.start,
            drain=http.drain,
        )


def _handlers(
    runtime: Runtime, config: EdgeConfig, access: Access, models: Models, operations: Operations
) -> dict[str, Handler]:
    """Give what answers all but inference."""
    management = ManagementApi(runtime, access, public_url=config.public_url)
    return {
        routes.MODELS: models.answer,
        routes.MANAGEMENT: management.answer,
        routes.OPENAPI: management.openapi,
        routes.HEALTHZ: operations.healthz,
        routes.READYZ: operations.readyz,
    }


def _room(config: EdgeConfig, metrics: EdgeMetrics) -> BodyRoom:
    room = BodyRoom(config.bodies_bytes, longest_bytes=config.max_body_bytes, refused=metrics.without_room)
    metrics.watch_bodies(lambda: room.held_bytes)
    return room


def _health(runtime: Runtime, config: EdgeConfig) -> HealthReports:
    router = router_service_pb2_grpc.RouterServiceStub(runtime.channel("router"))
    return HealthReports(
        lambda report: router.ReportHealth(report, timeout=config.decision_timeout_s), SystemClock()
    )


def _pricer(runtime: Runtime) -> Pricer:
    prices = PriceTable()
    prices.load()  # every request asks for its price, and none should wait for it
    return Pricer(prices, log=runtime.log("pricing"))


async def _open_spool(runtime: Runtime) -> Spool:
    return await Spool.open(
        root=runtime.settings.data_dir / "spool",
        name=runtime.settings.process,
        send=LedgerSender(ledger_service_pb2_grpc.LedgerServiceStub(runtime.channel("ledger"))),
        config=load(SpoolConfig, runtime.env),
        clock=SystemClock(),
        registry=runtime.metrics,
        log=runtime.log("spool"),
    )


async def _takes_requests(access: Access, spool: Spool) -> None:
    """
    Fail until auth and router were heard of once, and while the disk does not take records of requests.

    Later the edge works without any of its services, as far as its decisions and its spool reach. A spool
    that the ledger leaves full is no failure here, though `/healthz` tells of it: it is so at every edge, and
    a name that no edge answers to keeps clients from hearing why, and operators from the management API.
    """
    if not access.heard:
        raise GatewayError(Reason.SERVICE_UNAVAILABLE, "Nothing was heard of auth and router yet.")
    if (failure := spool.disk_failure) is not None:
        raise GatewayError(Reason.OVERLOADED, failure, resource="spool")
