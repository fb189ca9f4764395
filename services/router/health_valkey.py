"""
The health of providers that several routers share in Valkey.

Each router looks at a copy of its own, which is brought up to date in the background: a plan never waits.
What is reported changes that copy at once and the shared state soon after; it is written only if nobody else
wrote meanwhile, else the change is made again on top of theirs. Probes are taken from Valkey in advance, so
that all routers together let no more through than one would. Without Valkey, each goes by what it sees.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kit.background import going_on
from kit.valkey import ValkeyError
from services.router.core.health import FRESH, Phase, claimed, reported, settled
from services.router.core.health_state import dump, load
from services.router.health_shared import SharedStates

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

    from kit.clock import Clock
    from kit.valkey import Valkey
    from services.router.core.engine.health_view import Look
    from services.router.core.health import Health
    from services.router.core.health_book import HealthBook, HealthRow, Subject
    from services.router.core.health_counts import Counts

__all__ = ["ValkeyHealth"]

_BATCH: Final = 500
_TRIES: Final = 5
# Two syncs are never closer than this, however much happens.
_LEAST_GAP_S: Final = 0.05
# What changed in the same moment as the last look is looked at again.
_OVERLAP_US: Final = 1_000_000
# Probes are kept ready for what was looked at within this time.
_ASKED_S: Final = 600.0
# Counts that waited longer for Valkey are no news.
_STALE_S: Final = 30.0


@dataclass(slots=True, kw_only=True)
class _Change:
    """
    What is to be done to a shared state.

    Attributes:
        counts: What is to be reported.
        before: What was known before that was.
        claim: A probe is to be taken.
        seen: The state in Valkey; empty: there is none.
    """

    counts: Counts | None = None
    before: Health = FRESH
    claim: bool = False
    seen: bytes = b""


class ValkeyHealth:
    """
    Keeps how providers do.

    Args:
        valkey: Where it is shared.
        book: The copy of this router.
        clock: Measures time between two exchanges; what time it is says Valkey.
        draw: Gives a number at random, from 0 up to 1.
        changed: Told of circuits that this router opened or closed.
        log: Told when Valkey goes away and comes back.
    """

    def __init__(
        self,
        valkey: Valkey,
        book: HealthBook,
        *,
        clock: Clock,
        draw: Callable[[], float],
        changed: Callable[[Subject, Phase], None],
        log: Any,
    ) -> None:
        self._states = SharedStates(valkey)
        self._book = book
        self._clock = clock
        self._draw = draw
        self._changed = changed
        self._log = log
        # Until Valkey was heard of, its clock is taken to be ours.
        self._ahead_s = clock.now_s() - clock.monotonic_s()
        self._since_us = 0
        self._away_since_s: float | None = None
        self._waiting: dict[Subject, _Change] = {}
        # When what is not closed was last looked at, and the rounds that a probe is kept ready of.
        self._asked: dict[Subject, float] = {}
        self._permits: dict[Subject, float] = {}
        self._wake = asyncio.Event()

    def report(self, counts: Iterable[tuple[Subject, Counts]]) -> None:
        """Take note of how attempts ended."""
        now_s = self._now_s()
        for subject, count in counts:
            before = self._book.find(subject, now_s) or FRESH
            after = reported(before, count, now_s, self._book.rules, self._draw())
            if not self._book.put(subject, after):
                continue
            self._wait(subject, _Change(counts=count, before=before))
            if after.phase is not before.phase:
                self._wake.set()
                if self._away_since_s is not None:
                    self._changed(subject, after.phase)

    def look(self, provider: str, model: str, account_id: str) -> Look:
        """Say how a provider does with a model."""
        now_s = self._now_s()
        found = self._book.look(provider, model, account_id, now_s)
        if found.circuit != "closed":
            governing = self._book.governing(provider, model, account_id, now_s)
            if governing is not None:
                self._asked[governing[0]] = now_s
        return found

    def claim(self, provider: str, model: str, account_id: str) -> bool:
        """Take one of the few probes of a provider that is half open: one that was made ready."""
        now_s = self._now_s()
        found = self._book.governing(provider, model, account_id, now_s)
        if found is None:
            return False
        subject, health = found
        if self._away_since_s is not None:
            after = claimed(health, now_s, self._book.rules)
            return after is not None and self._book.put(subject, after)
        self._asked[subject] = now_s
        self._wake.set()
        return self._has_permit(subject, health, now_s) and self._permits.pop(subject, None) is not None

    def open_circuits(self) -> int:
        """Count the circuits that are not closed."""
        return self._book.open_circuits(self._now_s())

    def rows(self, account_id: str, *, shared: bool, provider: str = "") -> Sequence[HealthRow]:
        """Show what is known."""
        return [*self._book.rows(account_id, self._now_s(), shared=shared, provider=provider)]

    @asynccontextmanager
    async def running(self, every_s: float) -> AsyncIterator[None]:
        """Share with others while the context is open: so often, and soon after what matters."""
        await self.sync()
        try:
            async with going_on(self._run(every_s)):
                yield
        finally:
            await self.sync()

    async def sync(self) -> None:
        """Bring the copy up to date, write what was reported, and take probes that may be needed."""
        changes, self._waiting = self._waiting, {}
        for subject, health in self._probes_due():
            changes.setdefault(subject, _Change(before=health)).claim = True
        try:
            now_s = await self._read(changes)
            for batch in _batches(changes):
                await self._write(batch, now_s)
        except ValkeyError as error:
            self._failed(error)
        else:
            self._worked()
        finally:
            # What was not written is tried again with the next.
            newer, self._waiting = self._waiting, {}
            for subject, change in (*changes.items(), *newer.items()):
                self._wait(subject, change)
            self._forget_old_news()

    def _wait(self, subject: Subject, change: _Change) -> None:
        """Keep what is to be reported for the next time."""
        waiting = self._waiting.get(subject)
        if waiting is None or waiting.counts is None:
            if change.counts is not None:
                self._waiting[subject] = _Change(counts=change.counts, before=change.before)
        elif change.counts is not None:
            waiting.counts = waiting.counts.plus(change.counts)

    async def _run(self, every_s: float) -> None:
        while True:
            try:
                async with asyncio.timeout(every_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self.sync()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next time is another try
                self._log.error("provider health could not be shared", exc_info=error)
            await asyncio.sleep(_LEAST_GAP_S)

    async def _read(self, changes: dict[Subject, _Change]) -> float:
        """Read what changed since the last time, and what is to be changed. Return what time it is."""
        news = await self._states.read(self._since_us, [*changes])
        now_s = news.now_us / 1e6
        self._ahead_s = now_s - self._clock.monotonic_s()
        # A clock that was set back, as when another server took over, says nothing of what is new.
        self._since_us = max(0, news.now_us - _OVERLAP_US) if news.now_us >= self._since_us else 0
        for subject, health in news.changed:
            self._book.put(subject, health)
        for change, seen in zip(changes.values(), news.seen, strict=True):
            change.seen = seen
        return now_s

    async def _write(self, changes: dict[Subject, _Change], now_s: float) -> None:
        """Write changes, again on top of what others wrote meanwhile. What is written is done with."""
        todo = dict(changes)
        for _ in range(_TRIES):
            written = {subject: self._next(change, now_s) for subject, change in todo.items()}
            todo = {subject: todo[subject] for subject, (before, after) in written.items() if before != after}
            if not todo:
                break
            found = await self._states.swap(
                [(subject, change.seen, dump(written[subject][1])) for subject, change in todo.items()]
            )
            for (subject, change), state in zip([*todo.items()], found, strict=True):
                if state is not None:
                    change.seen = state
                    continue
                del todo[subject]
                self._done(subject, change, *written[subject])

    def _next(self, change: _Change, now_s: float) -> tuple[Health, Health]:
        """Return a shared state as it is, and as it is to be."""
        before = load(change.seen) if change.seen else None
        if before is None:
            # It is new, or Valkey has lost what it had.
            before = change.before
        after = before
        if change.counts is not None:
            after = reported(after, change.counts, now_s, self._book.rules, self._draw())
        if change.claim:
            after = claimed(after, now_s, self._book.rules) or after
        return before, after

    def _done(self, subject: Subject, change: _Change, before: Health, after: Health) -> None:
        change.counts = None
        self._book.put(subject, after)
        if after.claimed and (after.claimed, after.until_s) != (before.claimed, before.until_s):
            self._permits[subject] = after.until_s
        if after.phase is not before.phase:
            self._changed(subject, after.phase)

    def _probes_due(self) -> Iterator[tuple[Subject, Health]]:
        """Find what a probe is to be made ready of, and forget what nobody asks for any more."""
        now_s = self._now_s()
        for subject, asked_s in [*self._asked.items()]:
            health = self._book.find(subject, now_s)
            if health is None or health.phase is Phase.CLOSED or now_s - asked_s > _ASKED_S:
                del self._asked[subject]
                self._permits.pop(subject, None)
            elif self._half_open(health, now_s) and not self._has_permit(subject, health, now_s):
                yield subject, health

    def _half_open(self, health: Health, now_s: float) -> bool:
        return settled(health, now_s, self._book.rules).phase is Phase.HALF_OPEN

    def _has_permit(self, subject: Subject, health: Health, now_s: float) -> bool:
        """Tell whether a probe of the round that runs now is ready."""
        health = settled(health, now_s, self._book.rules)
        until_s = self._permits.get(subject, -1.0)
        return health.phase is Phase.HALF_OPEN and math.isclose(until_s, health.until_s, abs_tol=1e-3)

    def _worked(self) -> None:
        if self._away_since_s is not None:
            self._log.info("provider health is shared again")
            self._away_since_s, self._since_us = None, 0

    def _failed(self, error: ValkeyError) -> None:
        if self._away_since_s is None:
            self._log.warning("provider health is not shared", trouble=error.trouble.value)
            self._away_since_s = self._clock.monotonic_s()

    def _forget_old_news(self) -> None:
        since_s = self._away_since_s
        if since_s is not None and self._clock.monotonic_s() - since_s > _STALE_S:
            self._waiting.clear()

    def _now_s(self) -> float:
        return self._clock.monotonic_s() + self._ahead_s


def _batches(changes: dict[Subject, _Change]) -> Iterator[dict[Subject, _Change]]:
    everything = [*changes.items()]
    for first in range(0, len(everything), _BATCH):
        yield dict(everything[first : first + _BATCH])
