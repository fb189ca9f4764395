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
    ) -> tuple[bool, LimitState, int | None]:
        """
        Count a request if that is within a limit.

        Returns:
            Whether it was; how the limit stands after that; and the number of the window in which it was
            counted, unless it cannot be given back.
        """
        bucket = route_bucket(key, "requests", limit, window_s, technique, admit=Admit.FITS)
        found = await self._counters.reserve(scope, "", [Take(bucket, 1)], 0)
        cell = found.cells[0]
        window = cell.index if found.granted and not found.apart else None
        return found.granted, state_of(cell, bucket, found.now_ms), window

    async def look(
        self, scope: Scope, key: str, *, unit: str, limit: int, window_s: int, technique: str
    ) -> LimitState:
        """Say how a limit stands; what is reserved counts as used."""
        bucket = route_bucket(key, unit, limit, window_s, technique)
        found = await self._counters.look(scope, [bucket])
        return state_of(found.cells[0], bucket, found.now_ms)
