"""Answers what to try for a request, and tells when an answer became void."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from headrace.router.v1.router_service_pb2_grpc import RouterServiceServicer
from kit import moment
from kit.account import check_account_id
from kit.audit import Actor
from kit.ids import uuid7
from services.router.convert import plans
from services.router.core.gateway import absent, is_gateway_id, not_found
from services.router.core.plan import own_provider, plan, route_name
from services.router.server.default_gateway import DefaultGateway
from services.router.server.gateway_book import GatewayBook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headrace.common.v1 import caller_pb2
    from headrace.router.v1 import router_service_pb2 as pb
    from kit.clock import Clock
    from kit.generation import WatchHub
    from services.router.config import RouterConfig
    from services.router.core.gateway import Gateway
    from services.router.core.plan import Catalogue, PlanRequest
    from services.router.core.plan import Plan as Planned
    from services.router.server.health import HealthRpcs
    from services.router.server.limits import LimitServicer
    from services.router.server.route_plans import RoutePlans
    from services.router.store import PlanGateways, PlanProviders

__all__ = ["RouterServicer"]


class RouterServicer(RouterServiceServicer):
    """
    Answers `headrace.router.v1.RouterService`.

    Args:
        store: The gateways.
        custom_providers: The accounts' own providers.
        hub: Tells watchers.
        catalogue: What there is to choose from.
        config: How long answers hold.
        clock: The time.
        health: What is known of how providers do.
        limits: What requests may use.
        routes: Dynamic routes.
        log: Where gateways that make themselves are told.
    """

    def __init__(
        self,
        *,
        store: PlanGateways,
        custom_providers: PlanProviders,
        hub: WatchHub,
        catalogue: Catalogue,
        config: RouterConfig,
        clock: Clock,
        health: HealthRpcs,
        limits: LimitServicer,
        routes: RoutePlans,
        log: Any,
    ) -> None:
        self._routes = routes
        self._book = GatewayBook(store=store, hub=hub)
        self._limits = limits
        self._health = health
        self._store = store
        self._custom_providers = custom_providers
        self._hub = hub
        self._catalogue = catalogue
        self._config = config
        self._clock = clock
        self._default = DefaultGateway(store=store, clock=clock, log=log)

    async def Plan(self, request: pb.PlanRequest, context: Any) -> pb.PlanResponse:
        """Decide the steps for a request."""
        wanted = plans.plan_request(request)
        account_id = check_account_id(request.caller.account_id)
        gateway, generation = await self._gateway(account_id, request.caller, wanted)
        # Read after the generation: what changes in between voids this answer.
        return plans.planned(
            await self._planned(request, wanted, gateway, generation),
            limited=await self._limits.limited(account_id, gateway.id, generation),
            reuse_for_s=self._config.reuse_for_s,
            grace_s=self._config.grace_s,
            generation=generation,
            scope=account_id,
        )

    async def Watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.WatchResponse]:
        """Report when answers of `Plan` become void."""
        async with aclosing(self._hub.watch()) as events:
            async for event in events:
                yield plans.invalidation(event.number, event.scope)

    async def Reserve(self, request: pb.ReserveRequest, context: Any) -> pb.ReserveResponse:
        """Reserve what a step may use."""
        return await self._limits.reserve(request)

    async def Settle(self, request: pb.SettleRequest, context: Any) -> pb.SettleResponse:
        """Settle reservations."""
        return await self._limits.settle(request)

    async def ReportHealth(self, request: pb.ReportHealthRequest, context: Any) -> pb.ReportHealthResponse:
        """Take note of how attempts ended."""
        return self._health.report(request)

    async def GetHealth(self, request: pb.GetHealthRequest, context: Any) -> pb.GetHealthResponse:
        """List what is known of how providers do."""
        return self._health.get(request)

    async def _planned(
        self, request: pb.PlanRequest, wanted: PlanRequest, gateway: Gateway, generation: int
    ) -> Planned:
        name = route_name(wanted, gateway)
        if name is None:
            slug = own_provider(wanted, gateway, self._catalogue)
            own = await self._custom_providers.find(gateway.account_id, slug) if slug else None
            return plan(wanted, gateway, self._catalogue, own)
        asked = plans.asked(request, gateway.account_id)
        if not request.continuation:
            return await self._routes.begin(name, gateway, generation, asked)
        return await self._routes.go_on(
            request.continuation, gateway, generation, asked, plans.failed(request)
        )

    async def _gateway(
        self, account_id: str, caller: caller_pb2.Caller, wanted: PlanRequest
    ) -> tuple[Gateway, int]:
        gateway_id = caller.gateway_id
        if not is_gateway_id(gateway_id):
            raise not_found(gateway_id)
        # Only plans of routes are asked for with each request.
        gateways = self._book if wanted.for_route else self._store
        found, generation = await gateways.find(account_id, gateway_id)
        if found is not None:
            return found, generation
        would_be = absent(account_id, gateway_id, moment.now(self._clock), internal_id=uuid7())
        if not wanted.authenticated:
            # Nobody from outside makes us write. The settings demand a token, so the edge refuses.
            return would_be, generation
        actor = Actor(token_id=caller.token_id, interface="api")
        return await self._default.ensure(would_be, actor)
