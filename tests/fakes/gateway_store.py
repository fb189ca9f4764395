"""The stores of router in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from services.router.core.custom_provider import MOST_PROVIDERS, no_such_provider, too_many
from services.router.core.gateway import changed, not_found

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from services.router.core.custom_provider import CustomProvider
    from services.router.core.gateway import Gateway

__all__ = ["MemoryCustomProviderStore", "MemoryGatewayStore"]


class MemoryGatewayStore:
    """Keeps gateways for as long as the object lives."""

    def __init__(self) -> None:
        self.gateways: dict[tuple[str, str], Gateway] = {}
        self.custom_providers = MemoryCustomProviderStore(self)
        self._generation = 1

    async def generation(self) -> int:
        """Return the generation of what is stored."""
        return self._generation

    async def find(self, account_id: str, gateway_id: str) -> tuple[Gateway | None, int]:
        """Return a gateway, and the generation."""
        return self.gateways.get((account_id, gateway_id)), self._generation

    async def ensure(self, gateway: Gateway) -> tuple[Gateway, int]:
        """Add a gateway unless there is one of its name; return the one that there is."""
        return self.gateways.setdefault((gateway.account_id, gateway.id), gateway), self._generation

    async def change(
        self,
        account_id: str,
        gateway_id: str,
        values: Mapping[tuple[str, ...], object],
        *,
        at: datetime,
        then: Callable[[int, str], None],
    ) -> Gateway:
        """Change settings of a gateway and return it."""
        before = self.gateways.get((account_id, gateway_id))
        if before is None:
            raise not_found(gateway_id)
        settings = changed(before.settings, values)
        if settings == before.settings:
            return before
        after = replace(before, settings=settings, updated_at=at)
        self.gateways[account_id, gateway_id] = after
        then(self.advance(), account_id)
        return after

    def advance(self) -> int:
        """Return the next generation."""
        self._generation += 1
        return self._generation

    async def check(self) -> None:
        """Answer always."""


class MemoryCustomProviderStore:
    """Keeps accounts' own providers for as long as the object lives."""

    def __init__(self, gateways: MemoryGatewayStore) -> None:
        self.providers: dict[tuple[str, str], CustomProvider] = {}
        self._gateways = gateways

    async def find(self, account_id: str, slug: str) -> CustomProvider | None:
        """Return a provider."""
        return self.providers.get((account_id, slug))

    async def of(self, account_id: str) -> list[CustomProvider]:
        """Return an account's providers, by slug."""
        return [each for (owner, _), each in sorted(self.providers.items()) if owner == account_id]

    async def put(self, provider: CustomProvider, *, then: Callable[[int, str], None]) -> CustomProvider:
        """Keep a provider, in place of the one of its slug, and return it as it is kept."""
        key = provider.account_id, provider.slug
        before = self.providers.get(key)
        if before is None:
            if len(await self.of(provider.account_id)) >= MOST_PROVIDERS:
                raise too_many()
            after = provider
        else:
            after = replace(provider, created_at=before.created_at)
            if replace(after, updated_at=before.updated_at) == before:
                return before
        self.providers[key] = after
        then(self._gateways.advance(), provider.account_id)
        return after

    async def delete(self, account_id: str, slug: str, *, then: Callable[[int, str], None]) -> None:
        """Delete a provider."""
        if self.providers.pop((account_id, slug), None) is None:
            raise no_such_provider(slug)
        then(self._gateways.advance(), account_id)
