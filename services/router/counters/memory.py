"""
Counters in the memory of the one router that there is.

Bounded: counters that nobody asked for the longest go first, and so do the oldest reservations, which then
count as used. What is held is gone with the process.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from services.router.core.windows import (
    Admit,
    Cell,
    Unit,
    admits,
    corrected,
    index_of,
    possible,
    rolled,
    settled,
)
from services.router.counters.store import KNOWN_AGAIN_MS, LATE_MS, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kit.clock import Clock
    from services.router.core.windows import Bucket
    from services.router.counters.store import GivingBack, Scope, Settling, Take

__all__ = ["MemoryCounters"]

_MOST_CELLS: Final = 100_000
_MOST_RECORDS: Final = 100_000
_MOST_KNOWN: Final = 100_000

_Key = tuple[str, str, str]


class _Entry(NamedTuple):
    """A part of a reservation."""

    bucket: Bucket
    window: int
    amount: int


class _Record(NamedTuple):
    scope: Scope
    entries: tuple[_Entry, ...]
    due_ms: int


class MemoryCounters:
    """
    Counts in memory.

    Args:
        clock: The time of day.
        expired: Told how many reservations ran out without having been settled.
        most_cells: Most counters.
        most_records: Most reservations.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        expired: Callable[[int], None] = lambda _: None,
        most_cells: int = _MOST_CELLS,
        most_records: int = _MOST_RECORDS,
    ) -> None:
        self._clock = clock
        self._expired = expired
        self._most_cells = most_cells
        self._most_records = most_records
        # Least recently counted first.
        self._cells: OrderedDict[_Key, tuple[Cell, int]] = OrderedDict()
        self._records: dict[_Key, _Record] = {}
        self._due: list[tuple[int, _Key]] = []
        # Ids that are known again, until when; in order of time.
        self._known: OrderedDict[_Key, int] = OrderedDict()
        # Reservations that ran out and may still be settled, until when; in order of time.
        self._late: OrderedDict[_Key, tuple[_Record, int]] = OrderedDict()

    def __len__(self) -> int:
        """Say how many counters there are."""
        return len(self._cells)

    @property
    def reservations(self) -> int:
        """How many reservations are held."""
        return len(self._records)

    async def reserve(
        self, scope: Scope, reservation_id: str, takes: Sequence[Take], lifetime_ms: int
    ) -> Outcome:
        """Count takes if every bucket admits them, all or none."""
        now_ms = self._sweep()
        cells = [self._cell(scope, take.bucket, now_ms) for take in takes]
        key = (*scope, reservation_id)
        reserved = self.holds(scope, reservation_id)
        if reservation_id and (reserved or key in self._known):
            return Outcome(granted=True, now_ms=now_ms, cells=tuple(cells), reserved=reserved)
        for cell, take in zip(cells, takes, strict=True):
            if not admits(cell, take.bucket, take.amount, now_ms):
                return Outcome(granted=False, now_ms=now_ms, cells=tuple(cells))
        entries = []
        for place, (bucket, amount) in enumerate(takes):
            cell = cells[place]
            if bucket.unit is Unit.REQUESTS:
                cell = replace(cell, used=cell.used + amount)
            elif reservation_id:
                entries.append(_Entry(bucket, cell.index, amount))
                if bucket.admit is not Admit.SPENT:
                    cell = replace(cell, reserved=cell.reserved + amount)
            cells[place] = cell
            self._put(scope, bucket, cell)
        if reservation_id:
            self._remember(key, scope, tuple(entries), now_ms, lifetime_ms)
        return Outcome(granted=True, now_ms=now_ms, cells=tuple(cells), reserved=bool(entries))

    async def settle(self, settlings: Sequence[Settling]) -> Sequence[bool]:
        """Put what was used in the place of reservations."""
        now_ms = self._sweep()
        return [self._settle((*each.scope, each.id), each.amounts, now_ms) for each in settlings]

    async def give_back(self, givings: Sequence[GivingBack]) -> None:
        """Take back requests that were counted and are not used, as far as their windows still matter."""
        now_ms = self._sweep()
        for each in givings:
            if each.id:
                key = (*each.scope, each.id)
                if key in self._known:
                    continue
                self._know(key, now_ms)
            for bucket, window, amount in each.taken:
                if (*each.scope, bucket.key) in self._cells:
                    cell = self._cell(each.scope, bucket, now_ms)
                    self._put(each.scope, bucket, corrected(cell, bucket, window, -amount))

    async def look(self, scope: Scope, buckets: Sequence[Bucket]) -> Outcome:
        """Read counters."""
        now_ms = self._sweep()
        cells = tuple(self._cell(scope, bucket, now_ms) for bucket in buckets)
        return Outcome(granted=True, now_ms=now_ms, cells=cells)

    def holds(self, scope: Scope, reservation_id: str) -> bool:
        """Tell whether there is a reservation to be settled here."""
        key = (*scope, reservation_id)
        return key in self._records or key in self._late

    def _remember(
        self, key: _Key, scope: Scope, entries: tuple[_Entry, ...], now_ms: int, lifetime_ms: int
    ) -> None:
        if not entries:
            self._know(key, now_ms)
            return
        record = self._records[key] = _Record(scope, entries, now_ms + lifetime_ms)
        heapq.heappush(self._due, (record.due_ms, key))
        if len(self._due) > 2 * len(self._records) + 1000:
            # Most were settled long before their time.
            self._due = [(each.due_ms, of) for of, each in self._records.items()]
            heapq.heapify(self._due)
        while len(self._records) > self._most_records:
            self._expire_next(now_ms)

    def _settle(self, key: _Key, amounts: Mapping[Unit, int], now_ms: int) -> bool:
        record = self._records.pop(key, None)
        late, _ = self._late.pop(key, (None, 0))
        if record is not None:
            self._charge(record, amounts, now_ms)
        elif late is not None:
            self._correct(late, amounts, now_ms)
        self._know(key, now_ms)
        return record is not None or late is not None

    def _charge(self, record: _Record, amounts: Mapping[Unit, int], at_ms: int) -> _Record:
        """Count what was used; return the reservation with the windows in which it was counted."""
        entries = []
        for bucket, window, amount in record.entries:
            actual = amounts.get(bucket.unit, amount)
            cell = self._cell(record.scope, bucket, at_ms)
            if bucket.admit is Admit.SPENT:
                # What is spent counts when it is known: nothing was set aside for it.
                cell = replace(cell, used=cell.used + actual)
                entries.append(_Entry(bucket, cell.index, amount))
            else:
                cell = settled(cell, window, amount, actual)
                entries.append(_Entry(bucket, window, amount))
            self._put(record.scope, bucket, cell)
        return record._replace(entries=tuple(entries))

    def _correct(self, record: _Record, amounts: Mapping[Unit, int], now_ms: int) -> None:
        """Put right what counted as used when it ran out."""
        for bucket, window, amount in record.entries:
            cell = self._cell(record.scope, bucket, now_ms)
            more = amounts.get(bucket.unit, amount) - amount
            self._put(record.scope, bucket, corrected(cell, bucket, window, more))

    def _sweep(self) -> int:
        """Count what ran out as used, forget what need not be known any more, and return the time."""
        now_ms = self._clock.now_ns() // 1_000_000
        while self._due and self._due[0][0] <= now_ms:
            self._expire_next(now_ms)
        while self._late and next(iter(self._late.values()))[1] <= now_ms:
            self._late.popitem(last=False)
        while self._known and next(iter(self._known.values())) <= now_ms:
            self._known.popitem(last=False)
        # One that is over is over for all that come after it, but not all are in order: a few are looked at.
        for _ in range(2):
            if not self._cells:
                break
            key, (cell, window_ms) = next(iter(self._cells.items()))
            if (cell.index + 2) * window_ms > now_ms:
                break
            del self._cells[key]
        return now_ms

    def _expire_next(self, now_ms: int) -> None:
        """Take the first of those that are due; unless it was settled, it counts as used then."""
        due_ms, key = heapq.heappop(self._due)
        record = self._records.get(key)
        # One that was settled is still in the heap.
        if record is not None and record.due_ms == due_ms:
            del self._records[key]
            # One that makes room for others runs out before its time.
            at_ms = min(due_ms, now_ms)
            self._late[key] = (self._charge(record, {}, at_ms), at_ms + LATE_MS)
            if len(self._late) > self._most_records:
                self._late.popitem(last=False)
            self._expired(1)

    def _know(self, key: _Key, now_ms: int) -> None:
        self._known.pop(key, None)
        self._known[key] = now_ms + KNOWN_AGAIN_MS
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)

    def _cell(self, scope: Scope, bucket: Bucket, now_ms: int) -> Cell:
        index = index_of(now_ms, bucket.window_ms)
        key = (*scope, bucket.key)
        found = self._cells.get(key)
        if found is None:
            return Cell(index)
        cell = possible(found[0], index_of(self._clock.now_ns() // 1_000_000, bucket.window_ms))
        if cell is not found[0]:
            self._cells[key] = (cell, bucket.window_ms)
        return rolled(cell, index)

    def _put(self, scope: Scope, bucket: Bucket, cell: Cell) -> None:
        key = (*scope, bucket.key)
        self._cells[key] = (cell, bucket.window_ms)
        self._cells.move_to_end(key)
        if len(self._cells) > self._most_cells:
            self._cells.popitem(last=False)
