"""Builds router. Decides nothing."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from headrace.audit.v1.audit_service_pb2_grpc import add_AuditServiceServicer_to_server
from headrace.router.v1.custom_provider_pb2_grpc import add_CustomProviderServiceServicer_to_server
from headrace.router.v1.gateway_service_pb2_grpc import add_GatewayServiceServicer_to_server
from headrace.router.v1.route_service_pb2_grpc import add_RouteServiceServicer_to_server
from headrace.router.v1.router_service_pb2_grpc import add_RouterServiceServicer_to_server
from kit.audit_service import AUDIT_CALLERS, AuditServicer
from kit.clock import SystemClock
from kit.config import load
from kit.database_location import location_of
from kit.database_watch import watch_changes
from kit.generation import WatchHub
from kit.providers import ALIASES, SLUGS, operator_custom
from kit.service import Binding, Service
from kit.valkey import Valkey
from kit.valkey_config import ValkeyConfig
from services.router.config import (
    CUSTOM_PROVIDER_CALLERS,
    GATEWAY_CALLERS,
    ROUTE_CALLERS,
    ROUTER_CALLERS,
    HealthConfig,
    RouterConfig,
)
from services.router.core.health import HealthRules
from services.router.core.health_book import HealthBook
from services.router.core.plan import Catalogue
from services.router.counters.metrics import LimitMetrics
from services.router.counters.opening import open_counters
from services.router.counters.outage import Outage
from services.router.counters.route_counters import RouteCounters
from services.router.health_memory import MemoryHealth
from services.router.health_metrics import HealthMetrics
from services.router.health_valkey import ValkeyHealth
from services.router.server.custom_providers import CustomProviderServicer
from services.router.server.gateways import GatewayServicer
from services.router.server.health import HealthRpcs
from services.router.server.limit_book import LimitBook
from services.router.server.limits import LimitServicer
from services.router.server.plans import RouterServicer
from services.router.server.route_book import RouteBook
from services.router.server.route_plans import RoutePlans
from services.router.server.route_simulation import RouteSimulator
from services.router.server.route_walk import RouteWalk
from services.router.server.routes import RouteServicer
from services.router.store_sql import open_store
from services.router.tables import AUDIT, GENERATION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.clock import Clock
    from kit.service import Runtime
    from services.router.health_store import HealthStore

__all__ = ["build"]

# How far a router's copy of what is known of providers is behind, at most.
_HEALTH_EVERY_S = 1.0


@asynccontextmanager
async def build(runtime: Runtime) -> AsyncIterator[Service]:
    """Build the service for a process."""
    config = load(RouterConfig, runtime.env)
    log = runtime.log("router")
    clock = SystemClock()
    metrics = LimitMetrics(runtime.metrics)
    outage = Outage(wait_s=config.counters_wait_s, clock=clock)

    async with (
        open_store(location_of(runtime), clock=clock, log=log) as store,
        _valkey(runtime, config, clock=clock) as valkey,
        _health(runtime, valkey, clock=clock, log=log) as health,
        open_counters(valkey, config, outage=outage, metrics=metrics, clock=clock, log=log) as counters,
    ):
        hub = WatchHub(await store.generation())

        known = frozenset((*SLUGS, *operator_custom(runtime.env)))
        catalogue = Catalogue(providers=known, aliases=ALIASES)
        book = LimitBook(store=store, hub=hub, aliases=ALIASES)
        limits = LimitServicer(book=book, counters=counters, metrics=metrics)
        route_counters = RouteCounters(counters)
        walk = RouteWalk(
            health=health,
            custom_providers=store.custom_providers,
            catalogue=catalogue,
            health_reuse_s=config.route_health_reuse_for_s,
        )
        route_plans = RoutePlans(
            book=RouteBook(store=store.routes, hub=hub, aliases=ALIASES),
            walk=walk,
            counters=route_counters,
            health=health,
            draw=random.random,
        )
        simulator = RouteSimulator(
            walk=walk, counters=route_counters, limits=limits, health=health, draw=random.random
        )
        router = RouterServicer(
            store=store,
            custom_providers=store.custom_providers,
            hub=hub,
            catalogue=catalogue,
            config=config,
            clock=clock,
            health=HealthRpcs(health),
            limits=limits,
            routes=route_plans,
            log=log,
        )
        gateways = GatewayServicer(store=store, hub=hub, clock=clock, log=log)
        custom_providers = CustomProviderServicer(
            store=store.custom_providers, hub=hub, catalogue=catalogue, clock=clock, log=log
        )
        routes = RouteServicer(
            store=store.routes,
            gateways=store,
            custom_providers=store.custom_providers,
            hub=hub,
            catalogue=catalogue,
            simulator=simulator,
            clock=clock,
            log=log,
        )
        audit = AuditServicer(database=store.database, trail=AUDIT)

        async def drain(_: float) -> None:
            # Watches never end by themselves, and who waits for Valkey does so at another replica; everything
            # else is over in a moment.
            hub.close()
            outage.stop()

        async with watch_changes(store.database, GENERATION, hub):
            yield Service(
                name="router",
                bindings=_bindings(router, gateways, custom_providers, routes, audit),
                check=store.check,
                drain=drain,
            )
        hub.close()


def _bindings(
    router: RouterServicer,
    gateways: GatewayServicer,
    custom_providers: CustomProviderServicer,
    routes: RouteServicer,
    audit: AuditServicer,
) -> tuple[Binding, ...]:
    return (
        Binding(
            service="headrace.router.v1.RouterService",
            add=add_RouterServiceServicer_to_server,
            servicer=router,
            callers=ROUTER_CALLERS,
        ),
        Binding(
            service="headrace.router.v1.GatewayService",
            add=add_GatewayServiceServicer_to_server,
            servicer=gateways,
            callers=GATEWAY_CALLERS,
        ),
        Binding(
            service="headrace.router.v1.CustomProviderService",
            add=add_CustomProviderServiceServicer_to_server,
            servicer=custom_providers,
            callers=CUSTOM_PROVIDER_CALLERS,
        ),
        Binding(
            service="headrace.router.v1.RouteService",
            add=add_RouteServiceServicer_to_server,
            servicer=routes,
            callers=ROUTE_CALLERS,
        ),
        Binding(
            service="headrace.audit.v1.AuditService",
            add=add_AuditServiceServicer_to_server,
            servicer=audit,
            callers=AUDIT_CALLERS,
        ),
    )


@asynccontextmanager
async def _valkey(runtime: Runtime, config: RouterConfig, *, clock: Clock) -> AsyncIterator[Valkey | None]:
    """Give what routers share, if there is any; it connects when it is first used."""
    if config.valkey_url is None:
        yield None
        return
    valkey = Valkey(config.valkey_url, load(ValkeyConfig, runtime.env), clock=clock)
    try:
        yield valkey
    finally:
        await valkey.close()


@asynccontextmanager
async def _health(
    runtime: Runtime, valkey: Valkey | None, *, clock: Clock, log: Any
) -> AsyncIterator[HealthStore]:
    """Keep how providers do: shared with other routers where there is a Valkey."""
    book = HealthBook(HealthRules(**asdict(load(HealthConfig, runtime.env))))
    metrics = HealthMetrics(runtime.metrics)
    if valkey is None:
        health = MemoryHealth(book, clock=clock, draw=random.random, changed=metrics.changed)
        metrics.watch(health.open_circuits)
        yield health
        return
    shared = ValkeyHealth(valkey, book, clock=clock, draw=random.random, changed=metrics.changed, log=log)
    metrics.watch(shared.open_circuits)
    async with shared.running(_HEALTH_EVERY_S):
        yield shared
