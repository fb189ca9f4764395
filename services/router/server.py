"""Router's servicers: decode, look up, decide, encode."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from headrace.router.v1 import router_service_pb2 as pb
from headrace.router.v1.router_service_pb2_grpc import GatewayServiceServicer, RouterServiceServicer
from kit import moment
from kit.account import check_account_id
from services.router import convert
from services.router.core.gateway import absent, is_gateway_id, not_found
from services.router.core.plan import Catalogue, plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.clock import Clock
    from kit.generation import WatchHub
    from services.router.config import RouterConfig
    from services.router.core.gateway import Gateway
    from services.router.store import GatewayStore

__all__ = ["GatewayServicer", "RouterServicer"]


class RouterServicer(RouterServiceServicer):
    """
    Answers `headrace.router.v1.RouterService`.

    Args:
        store: The gateways.
        hub: Tells watchers.
        catalogue: What there is to choose from.
        config: How long answers hold.
        clock: The time.
        log: Where gateways that make themselves are told.
    """

    def __init__(
        self,
        *,
        store: GatewayStore,
        hub: WatchHub,
        catalogue: Catalogue,
        config: RouterConfig,
        clock: Clock,
        log: Any,
    ) -> None:
        self._store = store
        self._hub = hub
        self._catalogue = catalogue
        self._config = config
        self._clock = clock
        self._log = log

    async def Plan(self, request: pb.PlanRequest, context: Any) -> pb.PlanResponse:
        """Decide the steps for a request."""
        wanted = convert.plan_request(request)
        account_id = check_account_id(request.caller.account_id)
        gateway, generation = await self._gateway(
            account_id, request.caller.gateway_id, authenticated=wanted.authenticated
        )
        return convert.planned(
            plan(wanted, gateway, self._catalogue),
            reuse_for_s=self._config.reuse_for_s,
            grace_s=self._config.grace_s,
            generation=generation,
            scope=account_id,
        )

    async def Watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.WatchResponse]:
        """Report when answers of `Plan` become void."""
        async with aclosing(self._hub.watch()) as events:
            async for event in events:
                yield convert.invalidation(event.number, event.scope)

    async def _gateway(self, account_id: str, gateway_id: str, *, authenticated: bool) -> tuple[Gateway, int]:
        if not is_gateway_id(gateway_id):
            raise not_found(gateway_id)
        found, generation = await self._store.find(account_id, gateway_id)
        if found is not None:
            return found, generation
        would_be = absent(account_id, gateway_id, moment.now(self._clock))
        if not authenticated:
            # Nobody from outside makes us write. The settings demand a token, so the edge refuses.
            return would_be, generation
        gateway, generation = await self._store.ensure(would_be)
        if gateway is would_be:
            self._log.info("gateway made", account_id=account_id, gateway_id=gateway_id)
        return gateway, generation


class GatewayServicer(GatewayServiceServicer):
    """
    Answers `headrace.router.v1.GatewayService`.

    Args:
        store: The gateways.
        hub: Is told of changes.
        clock: The time.
        log: Where changes are told.
    """

    def __init__(self, *, store: GatewayStore, hub: WatchHub, clock: Clock, log: Any) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._log = log

    async def GetGateway(self, request: pb.GetGatewayRequest, context: Any) -> pb.GetGatewayResponse:
        """Find a gateway."""
        found, _ = await self._store.find(check_account_id(request.account_id), request.gateway_id)
        if found is None:
            raise not_found(request.gateway_id)
        return pb.GetGatewayResponse(gateway=convert.gateway(found))

    async def UpdateGateway(self, request: pb.UpdateGatewayRequest, context: Any) -> pb.UpdateGatewayResponse:
        """Change settings of a gateway."""
        found = await self._store.change(
            check_account_id(request.account_id),
            request.gateway_id,
            convert.changes(request),
            at=moment.now(self._clock),
            then=self._hub.advance,
        )
        self._log.info(
            "gateway changed",
            account_id=found.account_id,
            gateway_id=found.id,
            settings=list(request.update_mask.paths),
        )
        return pb.UpdateGatewayResponse(gateway=convert.gateway(found))
