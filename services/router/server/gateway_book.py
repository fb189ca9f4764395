"""Gateways as dynamic routes need them for each request: read once, until something changes."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from kit.generation import WatchHub
    from services.router.core.gateway import Gateway
    from services.router.store import PlanGateways

__all__ = ["GatewayBook"]

_MOST: Final = 10_000


class GatewayBook:
    """
    Knows gateways.

    Args:
        store: Where they are kept.
        hub: Knows the newest generation that was told.
    """

    def __init__(self, *, store: PlanGateways, hub: WatchHub) -> None:
        self._store = store
        self._hub = hub
        self._known: OrderedDict[tuple[str, str], tuple[Gateway, int]] = OrderedDict()

    async def find(self, account_id: str, gateway_id: str) -> tuple[Gateway | None, int]:
        """Return a gateway as far as plans need it, and the generation at which it was so."""
        key = (account_id, gateway_id)
        known = self._known.get(key)
        if known is not None and known[1] >= self._hub.generation:
            return known
        found, generation = await self._store.find(account_id, gateway_id)
        if found is not None:
            self._known[key] = (found, generation)
            self._known.move_to_end(key)
            if len(self._known) > _MOST:
                self._known.popitem(last=False)
        return found, generation
