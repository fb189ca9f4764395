"""The health of providers in the memory of the one router that there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.router.core.health import claimed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kit.clock import Clock
    from services.router.core.engine.health_view import Look
    from services.router.core.health import Phase
    from services.router.core.health_book import HealthBook, HealthRow, Subject
    from services.router.core.health_counts import Counts

__all__ = ["MemoryHealth"]


class MemoryHealth:
    """
    Keeps how providers do.

    Args:
        book: Where.
        clock: The time.
        draw: Gives a number at random, from 0 up to 1.
        changed: Told of circuits that open or close.
    """

    def __init__(
        self,
        book: HealthBook,
        *,
        clock: Clock,
        draw: Callable[[], float],
        changed: Callable[[Subject, Phase], None],
    ) -> None:
        self._book = book
        self._clock = clock
        self._draw = draw
        self._changed = changed

    def report(self, counts: Iterable[tuple[Subject, Counts]]) -> None:
        """Take note of how attempts ended."""
        now_s = self._clock.monotonic_s()
        for subject, count in counts:
            phase = self._book.report(subject, count, now_s, self._draw())
            if phase is not None:
                self._changed(subject, phase)

    def look(self, provider: str, model: str, account_id: str) -> Look:
        """Say how a provider does with a model."""
        return self._book.look(provider, model, account_id, self._clock.monotonic_s())

    def claim(self, provider: str, model: str, account_id: str) -> bool:
        """Take one of the few probes of a provider that is half open."""
        now_s = self._clock.monotonic_s()
        found = self._book.governing(provider, model, account_id, now_s)
        after = None if found is None else claimed(found[1], now_s, self._book.rules)
        if found is None or after is None:
            return False
        return self._book.put(found[0], after)

    def open_circuits(self) -> int:
        """Count the circuits that are not closed."""
        return self._book.open_circuits(self._clock.monotonic_s())

    def rows(self, account_id: str, *, shared: bool, provider: str = "") -> Sequence[HealthRow]:
        """Show what is known."""
        now_s = self._clock.monotonic_s()
        return [*self._book.rows(account_id, now_s, shared=shared, provider=provider)]
