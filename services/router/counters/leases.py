"""
Requests counted in advance, so that a busy gateway does not cost a round trip each time.

After a request was counted in Valkey, this replica takes a few more of the same counter in the background,
and lets as many through by itself: a lease. It was counted like any other, so that a limit is never exceeded.
What is not used makes the limit let through less, until it is given back: after a moment without requests,
and when the process stops. When the process dies, it stays counted until its window is over.

How few: a sixteenth of what is left, and none once that is less than two. So each replica is short of at most
the smaller of the lease and a sixteenth of what was left when it was taken, and near the limit each request
is counted by itself. Who would be refused waits for a lease that is under way and looks at it once more:
nobody is refused while this replica still has some.

Only requests: tokens and money are reserved one by one, so that any replica can settle them.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from services.router.core.windows import Admit, Cell, Unit, counted
from services.router.counters.store import KNOWN_AGAIN_MS, CountersAwayError, GivingBack, Outcome, Take, Taken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from kit.clock import Clock
    from services.router.core.windows import Bucket
    from services.router.counters.store import Counters, Scope, Settling
    from services.router.counters.valkey import ValkeyCounters

__all__ = ["LeasingCounters"]

_SHARE: Final = 16
_LEAST: Final = 2
# So long without a request, and a lease is given back.
_IDLE_S: Final = 1.0
_MOST_LEASES: Final = 10_000
_MOST_KNOWN: Final = 100_000

_Key = tuple[str, str, str]


@dataclass(slots=True, kw_only=True)
class _Lease:
    """
    What this replica may let through by itself.

    Attributes:
        left: How much.
        cell: The counter when it was taken, all of it counted.
        end_s: When its window is over, or sooner; by the clock that never goes back.
        used_s: When it was last used.
    """

    scope: Scope
    bucket: Bucket
    left: int
    cell: Cell
    now_ms: int
    end_s: float
    used_s: float


class LeasingCounters:
    """
    Counts in Valkey, requests in advance.

    Args:
        shared: The counters in Valkey.
        lease: Most requests of one counter that are taken in advance.
        clock: Measures how long a lease holds.
    """

    def __init__(self, shared: ValkeyCounters, *, lease: int, clock: Clock) -> None:
        self._shared = shared
        self._lease = lease
        self._clock = clock
        self._leases: dict[_Key, _Lease] = {}
        self._taking: dict[_Key, asyncio.Task[None]] = {}
        # Ids that were let through here, until when.
        self._known: dict[_Key, float] = {}

    @property
    def held(self) -> int:
        """How many requests are counted in advance."""
        return sum(each.left for each in self._leases.values())

    async def reserve(
        self, scope: Scope, reservation_id: str, takes: Sequence[Take], lifetime_ms: int
    ) -> Outcome:
        """Count takes if every bucket admits them, all or none."""
        if not self._lease or not takes or not all(_may_be_leased(take) for take in takes):
            return await self._shared.reserve(scope, reservation_id, takes, lifetime_ms)
        found = self._from_leases(scope, reservation_id, takes)
        if found is not None:
            return found
        began_s = self._clock.monotonic_s()
        outcome = await self._shared.reserve(scope, reservation_id, takes, lifetime_ms)
        if outcome.granted:
            for take, cell in zip(takes, outcome.cells, strict=True):
                self._take_more(scope, take.bucket, cell, outcome.now_ms, began_s)
            return outcome
        return await self._once_more(scope, reservation_id, takes) or outcome

    async def settle(self, settlings: Sequence[Settling]) -> Sequence[bool]:
        """Put what was used in the place of reservations."""
        return await self._shared.settle(settlings)

    async def give_back(self, givings: Sequence[GivingBack]) -> None:
        """Take back requests that are not used; those of a lease were counted in Valkey as well."""
        await self._shared.give_back(givings)

    async def look(self, scope: Scope, buckets: Sequence[Bucket]) -> Outcome:
        """Read counters; what is counted in advance is in them."""
        return await self._shared.look(scope, buckets)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Counters]:
        """Give back leases that nobody uses, as long as the context is open, and all of them in the end."""
        task = asyncio.create_task(self._give_back_idle(), name="leases")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait((task, *self._taking.values()))
            await self._give_back([*self._leases])

    async def give_back_idle(self) -> None:
        """Give back what was not used for a moment, and forget what is over."""
        now_s = self._clock.monotonic_s()
        await self._give_back([key for key, each in self._leases.items() if now_s - each.used_s >= _IDLE_S])
        while self._known and next(iter(self._known.values())) <= now_s:
            del self._known[next(iter(self._known))]

    def _from_leases(self, scope: Scope, reservation_id: str, takes: Sequence[Take]) -> Outcome | None:
        """Let a request through here; None when that is not possible."""
        now_s = self._clock.monotonic_s()
        leases = [self._leases.get((*scope, take.bucket.key)) for take in takes]
        known = bool(reservation_id) and (*scope, reservation_id) in self._known
        cells = []
        for lease, (bucket, amount) in zip(leases, takes, strict=True):
            if lease is None or now_s >= lease.end_s or lease.bucket != bucket:
                return None
            if lease.left < amount and not known:
                return None
            cells.append(lease)
        for lease, take in zip(cells, takes, strict=True):
            if not known:
                lease.left -= take.amount
            lease.used_s = now_s
        if reservation_id and not known:
            self._known[*scope, reservation_id] = now_s + KNOWN_AGAIN_MS / 1000
            if len(self._known) > _MOST_KNOWN:
                del self._known[next(iter(self._known))]
        return Outcome(
            granted=True,
            now_ms=cells[0].now_ms,
            cells=tuple(replace(each.cell, used=each.cell.used - each.left) for each in cells),
        )

    async def _once_more(self, scope: Scope, reservation_id: str, takes: Sequence[Take]) -> Outcome | None:
        """Look at leases that are under way, or came meanwhile."""
        tasks = [task for take in takes if (task := self._taking.get((*scope, take.bucket.key)))]
        if tasks:
            await asyncio.wait(tasks)
        return self._from_leases(scope, reservation_id, takes)

    def _take_more(self, scope: Scope, bucket: Bucket, cell: Cell, now_ms: int, began_s: float) -> None:
        """Take a lease in the background, unless there is one or the limit is near."""
        key = (*scope, bucket.key)
        lease = self._leases.get(key)
        if key in self._taking or (lease is not None and lease.left and began_s < lease.end_s):
            return
        amount = min(self._lease, int(bucket.limit - counted(cell, bucket, now_ms)) // _SHARE)
        if amount < _LEAST or len(self._leases) >= _MOST_LEASES:
            return
        task = asyncio.create_task(self._take(scope, bucket, amount), name="lease")
        self._taking[key] = task
        task.add_done_callback(lambda _: self._taking.pop(key, None))

    async def _take(self, scope: Scope, bucket: Bucket, amount: int) -> None:
        began_s = self._clock.monotonic_s()
        try:
            found = await self._shared.reserve(scope, "", [Take(bucket, amount)], 0)
        except CountersAwayError:
            return
        if not found.granted:
            return
        (cell,) = found.cells
        # The server's clock was read after ours, so that the window ends later than this.
        rest_ms = (cell.index + 1) * bucket.window_ms - found.now_ms
        self._leases[*scope, bucket.key] = _Lease(
            scope=scope,
            bucket=bucket,
            left=amount,
            cell=cell,
            now_ms=found.now_ms,
            end_s=began_s + rest_ms / 1000,
            used_s=began_s,
        )

    async def _give_back_idle(self) -> None:
        while True:
            await asyncio.sleep(_IDLE_S / 2)
            await self.give_back_idle()

    async def _give_back(self, keys: list[Any]) -> None:
        left = [lease for key in keys if (lease := self._leases.pop(key, None)) is not None and lease.left]
        try:
            await self._shared.give_back(
                [
                    GivingBack(scope=each.scope, taken=(Taken(each.bucket, each.cell.index, each.left),))
                    for each in left
                ]
            )
        except CountersAwayError:
            # It stays counted until its window is over.
            return


def _may_be_leased(take: Take) -> bool:
    return take.bucket.unit is Unit.REQUESTS and take.bucket.admit is Admit.FITS
