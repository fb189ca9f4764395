"""Builds router. Decides nothing."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

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
from services.router.config import (
    CUSTOM_PROVIDER_CALLERS,
    GATEWAY_CALLERS,
    ROUTE_CALLERS,
    ROUTER_CALLERS,
    RouterConfig,
)
from services.router.core.plan import Catalogue
from services.router.server.custom_providers import CustomProviderServicer
from services.router.server.gateways import GatewayServicer
from services.router.server.plans import RouterServicer
from services.router.server.routes import RouteServicer
from services.router.store_sql import open_store
from services.router.tables import AUDIT, GENERATION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.service import Runtime

__all__ = ["build"]


@asynccontextmanager
async def build(runtime: Runtime) -> AsyncIterator[Service]:
    """Build the service for a process."""
    config = load(RouterConfig, runtime.env)
    log = runtime.log("router")
    clock = SystemClock()

    async with open_store(location_of(runtime), clock=clock, log=log) as store:
        hub = WatchHub(await store.generation())

        known = frozenset((*SLUGS, *operator_custom(runtime.env)))
        catalogue = Catalogue(providers=known, aliases=ALIASES)
        router = RouterServicer(
            store=store,
            custom_providers=store.custom_providers,
            hub=hub,
            catalogue=catalogue,
            config=config,
            clock=clock,
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
            clock=clock,
            log=log,
        )
        audit = AuditServicer(database=store.database, trail=AUDIT)

        async def drain(_: float) -> None:
            # Watches never end by themselves; everything else is over in a moment.
            hub.close()

        async with watch_changes(store.database, GENERATION, hub):
            yield Service(
                name="router",
                bindings=(
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
                ),
                check=store.check,
                drain=drain,
            )
        hub.close()
