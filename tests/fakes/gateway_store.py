"""A `GatewayStore` in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from services.router.core.gateway import changed, not_found

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from services.router.core.gateway import Gateway

__all__ = ["MemoryGatewayStore"]


class MemoryGatewayStore:
    """Keeps gateways for as long as the object lives."""

    def __init__(self) -> None:
        self.gateways: dict[tuple[str, str], Gateway] = {}
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
        self._generation += 1
        then(self._generation, account_id)
        return after

    async def check(self) -> None:
        """Answer always."""
