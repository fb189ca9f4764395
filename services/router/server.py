"""Router's servicers: decode, look up, decide, encode."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from headrace.router.v1 import custom_provider_pb2
from headrace.router.v1 import router_service_pb2 as pb
from headrace.router.v1.custom_provider_pb2_grpc import CustomProviderServiceServicer
from headrace.router.v1.router_service_pb2_grpc import GatewayServiceServicer, RouterServiceServicer
from kit import moment
from kit.account import check_account_id
from services.router import convert
from services.router.core.custom_provider import checked
from services.router.core.gateway import absent, is_gateway_id, not_found
from services.router.core.plan import own_provider, plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.clock import Clock
    from kit.generation import WatchHub
    from services.router.config import RouterConfig
    from services.router.core.gateway import Gateway
    from services.router.core.plan import Catalogue
    from services.router.store import CustomProviderStore, GatewayStore

__all__ = ["CustomProviderServicer", "GatewayServicer", "RouterServicer"]


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
        log: Where gateways that make themselves are told.
    """

    def __init__(
        self,
        *,
        store: GatewayStore,
        custom_providers: CustomProviderStore,
        hub: WatchHub,
        catalogue: Catalogue,
        config: RouterConfig,
        clock: Clock,
        log: Any,
    ) -> None:
        self._store = store
        self._custom_providers = custom_providers
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
        # Read after the generation: what changes in between voids this answer.
        slug = own_provider(wanted, gateway, self._catalogue)
        own = await self._custom_providers.find(account_id, slug) if slug else None
        return convert.planned(
            plan(wanted, gateway, self._catalogue, own),
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


class CustomProviderServicer(CustomProviderServiceServicer):
    """
    Answers `headrace.router.v1.CustomProviderService`.

    Args:
        store: The accounts' own providers.
        hub: Is told of changes.
        catalogue: Has the slugs that the operator uses.
        clock: The time.
        log: Where changes are told.
    """

    def __init__(
        self, *, store: CustomProviderStore, hub: WatchHub, catalogue: Catalogue, clock: Clock, log: Any
    ) -> None:
        self._store = store
        self._hub = hub
        self._catalogue = catalogue
        self._clock = clock
        self._log = log

    async def PutCustomProvider(
        self, request: custom_provider_pb2.PutCustomProviderRequest, context: Any
    ) -> custom_provider_pb2.PutCustomProviderResponse:
        """Make a provider, or replace the one of its slug."""
        account_id = check_account_id(request.account_id)
        wanted = convert.custom_provider(request.provider, account_id=account_id, now=moment.now(self._clock))
        found = await self._store.put(
            checked(wanted, taken=self._catalogue.providers), then=self._hub.advance
        )
        self._log.info("custom provider put", account_id=account_id, slug=found.slug)
        return custom_provider_pb2.PutCustomProviderResponse(provider=convert.custom_provider_message(found))

    async def ListCustomProviders(
        self, request: custom_provider_pb2.ListCustomProvidersRequest, context: Any
    ) -> custom_provider_pb2.ListCustomProvidersResponse:
        """List an account's providers."""
        found = await self._store.of(check_account_id(request.account_id))
        return custom_provider_pb2.ListCustomProvidersResponse(
            providers=map(convert.custom_provider_message, found)
        )

    async def DeleteCustomProvider(
        self, request: custom_provider_pb2.DeleteCustomProviderRequest, context: Any
    ) -> custom_provider_pb2.DeleteCustomProviderResponse:
        """Delete a provider."""
        account_id = check_account_id(request.account_id)
        await self._store.delete(account_id, request.slug, then=self._hub.advance)
        self._log.info("custom provider deleted", account_id=account_id, slug=request.slug)
        return custom_provider_pb2.DeleteCustomProviderResponse()
