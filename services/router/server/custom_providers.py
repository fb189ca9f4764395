"""Keeps providers that accounts named themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.router.v1 import custom_provider_pb2 as pb
from headrace.router.v1.custom_provider_pb2_grpc import CustomProviderServiceServicer
from kit import moment
from kit.account import check_account_id
from kit.audit_service import actor_of
from kit.ids import uuid7
from kit.providers import is_custom
from services.router.convert import custom_providers as convert
from services.router.core.custom_provider import CustomProvider, checked
from services.router.store import By

if TYPE_CHECKING:
    from headrace.common.v1 import actor_pb2
    from kit.clock import Clock
    from kit.generation import WatchHub
    from services.router.core.plan import Catalogue
    from services.router.store import CustomProviderStore

__all__ = ["CustomProviderServicer"]


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

    async def CreateCustomProvider(
        self, request: pb.CreateCustomProviderRequest, context: Any
    ) -> pb.CreateCustomProviderResponse:
        """Make a provider."""
        by = self._by(request.actor)
        account_id = check_account_id(request.account_id)
        wanted = convert.custom_provider(
            request.provider, account_id=account_id, provider_id=uuid7(), now=by.at
        )
        found = await self._store.create(checked(wanted, taken=self._catalogue.providers), by)
        self._tell("custom provider made", found)
        return pb.CreateCustomProviderResponse(provider=convert.message(found))

    async def ListCustomProviders(
        self, request: pb.ListCustomProvidersRequest, context: Any
    ) -> pb.ListCustomProvidersResponse:
        """List an account's providers."""
        account_id = check_account_id(request.account_id)
        found, total = await self._store.page(account_id, convert.query(request))
        return pb.ListCustomProvidersResponse(
            providers=map(convert.message, found),
            total_count=total,
            operator_providers=sorted(filter(is_custom, self._catalogue.providers)),
        )

    async def GetCustomProvider(
        self, request: pb.GetCustomProviderRequest, context: Any
    ) -> pb.GetCustomProviderResponse:
        """Find a provider."""
        found = await self._store.get(check_account_id(request.account_id), request.id)
        return pb.GetCustomProviderResponse(provider=convert.message(found))

    async def UpdateCustomProvider(
        self, request: pb.UpdateCustomProviderRequest, context: Any
    ) -> pb.UpdateCustomProviderResponse:
        """Change the fields named in the mask."""
        account_id = check_account_id(request.account_id)
        paths = convert.mask(request)

        def edit(before: CustomProvider) -> CustomProvider:
            after = convert.changed(before, request.provider, paths)
            # Whoever has a slug keeps it, even if the operator came to use it later.
            taken = self._catalogue.providers if after.slug != before.slug else ()
            return checked(after, taken=taken)

        found = await self._store.change(account_id, request.id, edit, self._by(request.actor))
        self._tell("custom provider changed", found)
        return pb.UpdateCustomProviderResponse(provider=convert.message(found))

    async def DeleteCustomProvider(
        self, request: pb.DeleteCustomProviderRequest, context: Any
    ) -> pb.DeleteCustomProviderResponse:
        """Delete a provider."""
        account_id = check_account_id(request.account_id)
        found = await self._store.delete(account_id, request.id, self._by(request.actor))
        self._tell("custom provider deleted", found)
        return pb.DeleteCustomProviderResponse(provider=convert.message(found))

    def _by(self, actor: actor_pb2.Actor) -> By:
        return By(actor=actor_of(actor), at=moment.now(self._clock), then=self._hub.advance)

    def _tell(self, event: str, found: CustomProvider) -> None:
        self._log.info(event, account_id=found.account_id, slug=found.slug)
