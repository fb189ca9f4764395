"""Limits as router counts them, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import prometheus_client

from kit.clock import SystemClock
from services.router.counters.memory import MemoryCounters
from services.router.counters.metrics import LimitMetrics
from services.router.server.limit_book import LimitBook
from services.router.server.limits import LimitServicer

if TYPE_CHECKING:
    from kit.clock import Clock
    from kit.generation import WatchHub
    from services.router.counters.store import Counters
    from services.router.store import LimitGateways

__all__ = ["limit_servicer"]


def limit_servicer(
    store: LimitGateways, hub: WatchHub, *, counters: Counters | None = None, clock: Clock | None = None
) -> LimitServicer:
    """
    Return what answers `Reserve` and `Settle`.

    Args:
        store: The gateways.
        hub: Knows their generation.
        counters: Where to count. None: in memory.
        clock: The time there.
    """
    return LimitServicer(
        book=LimitBook(store=store, hub=hub, aliases={}),
        counters=counters or MemoryCounters(clock=clock or SystemClock()),
        metrics=LimitMetrics(prometheus_client.CollectorRegistry()),
    )
