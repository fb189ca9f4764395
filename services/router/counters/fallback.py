"""
Counters in Valkey with this replica's own memory behind them, for while Valkey is away.

Without Valkey a replica counts by itself what it lets through: from nothing, and without the others. So a
limit lets through at most as much again for each replica. What is never to be exceeded waits for Valkey
instead, as `outage` says, and is refused when that takes too long.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from services.router.core.windows import Admit, Unit
from services.router.counters.store import CountersAwayError, Settling

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kit.clock import Clock
    from services.router.config import CountersDown
    from services.router.core.windows import Bucket
    from services.router.counters.memory import MemoryCounters
    from services.router.counters.metrics import LimitMetrics
    from services.router.counters.outage import Outage
    from services.router.counters.store import Counters, GivingBack, Outcome, Scope, Take

__all__ = ["FallbackCounters"]

# Nobody reads the same line more often.
_TELL_EVERY_S: Final = 30.0


class FallbackCounters:
    """
    Counts in one place, and in another when that is away.

    Args:
        shared: The counters in Valkey.
        local: This replica's own.
        down: What is refused meanwhile.
        outage: How long what would be refused waits.
        metrics: Told of each call that did not reach Valkey.
        clock: Measures how long ago the log was told.
        log: Told when Valkey is away and when it is back.
    """

    def __init__(
        self,
        *,
        shared: Counters,
        local: MemoryCounters,
        down: CountersDown,
        outage: Outage,
        metrics: LimitMetrics,
        clock: Clock,
        log: Any,
    ) -> None:
        self._shared = shared
        self._local = local
        self._down = down
        self._outage = outage
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._told_s: float | None = None

    async def reserve(
        self, scope: Scope, reservation_id: str, takes: Sequence[Take], lifetime_ms: int
    ) -> Outcome:
        """Count takes where that is possible."""
        try:
            found = await self._shared.reserve(scope, reservation_id, takes, lifetime_ms)
        except CountersAwayError as error:
            self._notice(error, scope)
            if not self._refuses(take.bucket for take in takes):
                self._away(error, "counted_here")
                found = await self._local.reserve(scope, reservation_id, takes, lifetime_ms)
                return replace(found, apart=True)
            found = await self._when_back(error, scope, reservation_id, takes, lifetime_ms)
        self._back()
        return found

    async def settle(self, settlings: Sequence[Settling]) -> Sequence[bool]:
        """
        Settle each where it was reserved.

        What was reserved here is settled here, and in Valkey too: a question that was not answered in time
        may have been carried out there. While Valkey is away, the rest is not settled, so that it is told
        again.
        """
        own = [self._local.holds(each.scope, each.id) for each in settlings]
        await self._local.settle([each for each, here in zip(settlings, own, strict=True) if here])
        try:
            found = await self._shared.settle(settlings)
        except CountersAwayError as error:
            self._notice(error, settlings[0].scope)
            self._away(error, "refused")
            if all(own):
                return own
            raise
        self._back()
        return [here or there for here, there in zip(own, found, strict=True)]

    async def give_back(self, givings: Sequence[GivingBack]) -> None:
        """Take back requests that were counted in Valkey."""
        await self._shared.give_back(givings)

    async def look(self, scope: Scope, buckets: Sequence[Bucket]) -> Outcome:
        """Read counters where that is possible."""
        try:
            return await self._shared.look(scope, buckets)
        except CountersAwayError as error:
            self._away(error, "counted_here")
            return await self._local.look(scope, buckets)

    async def _when_back(
        self,
        error: CountersAwayError,
        scope: Scope,
        reservation_id: str,
        takes: Sequence[Take],
        lifetime_ms: int,
    ) -> Outcome:
        """
        Count takes once Valkey is back.

        Those of before may have been counted: they are known again by their id. Without one, a request of a
        route counts twice then, which exceeds nothing.
        """
        while not error.lasting and await self._outage.over():
            try:
                found = await self._shared.reserve(scope, reservation_id, takes, lifetime_ms)
            except CountersAwayError as again:
                error = again
                self._notice(error, scope)
            else:
                self._metrics.away("waited")
                return found
        self._away(error, "refused")
        raise error

    def _notice(self, error: CountersAwayError, scope: Scope) -> None:
        if not error.lasting:
            # In a cluster, one server may be away and others not: what is tried is of the same gateway. It
            # writes, as a server that became a replica can still be read from.
            nothing = Settling(scope=scope, id="probe")
            self._outage.noticed(lambda: self._shared.settle([nothing]))

    def _refuses(self, buckets: Iterable[Bucket]) -> bool:
        if self._down == "allow":
            return False
        return self._down == "refuse" or any(
            bucket.unit is Unit.NANO_USD and bucket.admit is Admit.FITS for bucket in buckets
        )

    def _away(self, error: Exception, result: str) -> None:
        self._metrics.away(result)
        now_s = self._clock.monotonic_s()
        if self._told_s is None or now_s - self._told_s >= _TELL_EVERY_S:
            self._told_s = now_s
            self._log.warning("counters are away", error=str(error), without=self._down)

    def _back(self) -> None:
        if self._told_s is not None:
            self._told_s = None
            self._log.info("counters are back")
