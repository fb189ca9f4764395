"""The limits of gateways, as `Plan` and `Reserve` need them: read once, until something changes."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from services.router.core.limits import NO_LIMITS, compile_limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kit.generation import WatchHub
    from services.router.core.limits import Limits
    from services.router.store import LimitGateways

__all__ = ["LimitBook"]

_MOST: Final = 10_000


class LimitBook:
    """
    Knows the limits of gateways.

    Args:
        store: The gateways.
        hub: Knows the newest generation that was told.
        aliases: Other names of providers.
    """

    def __init__(self, *, store: LimitGateways, hub: WatchHub, aliases: Mapping[str, str]) -> None:
        self._store = store
        self._hub = hub
        self._aliases = aliases
        self._known: OrderedDict[tuple[str, str], tuple[int, Limits]] = OrderedDict()

    async def find(self, account_id: str, gateway_id: str, *, generation: int = 0) -> Limits:
        """
        Return the limits of a gateway that are in force; none for one that there is not.

        Args:
            account_id: Whose.
            gateway_id: Which; one that could be.
            generation: What has been read besides is of this one: nothing older will do.
        """
        key = (account_id, gateway_id)
        known = self._known.get(key)
        if known is not None and known[0] >= max(generation, self._hub.generation):
            return known[1]
        found, at = await self._store.find_managed(account_id, gateway_id)
        limits = NO_LIMITS
        if found is not None:
            limits = compile_limits(found.gateway.settings, found.documents, self._aliases)
        self._known[key] = (at, limits)
        self._known.move_to_end(key)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return limits
