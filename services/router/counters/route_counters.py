"""The counters of limits in routes, as plans ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.router.core.limit_ticket import route_bucket
from services.router.core.windows import Admit, LimitState, state_of
from services.router.counters.store import Take

if TYPE_CHECKING:
    from services.router.counters.store import Counters, Scope

__all__ = ["RouteCounters"]


class RouteCounters:
    """
    Counts for routes.

    Args:
        counters: Where.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    async def take(
        self, scope: Scope, key: str, *, limit: int, window_s: int, technique: str
    ) -> tuple[bool, LimitState]:
        """
        Count a request if that is within a limit.

        Returns:
            Whether it was; and how the limit stands after that.
        """
        bucket = route_bucket(key, "requests", limit, window_s, technique, admit=Admit.FITS)
        found = await self._counters.reserve(scope, "", [Take(bucket, 1)], 0)
        return found.granted, state_of(found.cells[0], bucket, found.now_ms)

    async def look(
        self, scope: Scope, key: str, *, unit: str, limit: int, window_s: int, technique: str
    ) -> LimitState:
        """Say how a limit stands; what is reserved counts as used."""
        bucket = route_bucket(key, unit, limit, window_s, technique)
        found = await self._counters.look(scope, [bucket])
        return state_of(found.cells[0], bucket, found.now_ms)
