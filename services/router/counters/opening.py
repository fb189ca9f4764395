"""Chooses where limits are counted."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

from services.router.counters.fallback import FallbackCounters
from services.router.counters.leases import LeasingCounters
from services.router.counters.memory import MemoryCounters
from services.router.counters.valkey import ValkeyCounters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.clock import Clock
    from kit.valkey import Valkey
    from services.router.config import RouterConfig
    from services.router.counters.metrics import LimitMetrics
    from services.router.counters.outage import Outage
    from services.router.counters.store import Counters

__all__ = ["open_counters"]


@asynccontextmanager
async def open_counters(
    valkey: Valkey | None,
    config: RouterConfig,
    *,
    outage: Outage,
    metrics: LimitMetrics,
    clock: Clock,
    log: Any,
) -> AsyncIterator[Counters]:
    """
    Give the counters: those in Valkey where there is one, else in memory.

    Args:
        valkey: The server that replicas share; closed by whoever opened it.
        config: What is counted in advance, and what to do while the server is away.
        outage: What waits while the server is away; ended with the context.
        metrics: What operators see.
        clock: The time.
        log: Told when Valkey is away.
    """
    local = MemoryCounters(clock=clock, expired=metrics.expired)
    if valkey is None:
        yield local
        return
    leasing = LeasingCounters(
        ValkeyCounters(valkey, expired=metrics.expired), lease=config.lease, clock=clock
    )
    async with leasing.running() as shared, aclosing(outage):
        yield FallbackCounters(
            shared=shared,
            local=local,
            down=config.counters_down,
            outage=outage,
            metrics=metrics,
            clock=clock,
            log=log,
        )
