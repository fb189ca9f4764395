"""What is needed of whoever keeps the health of providers. `health_memory` and `health_valkey` do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from services.router.core.engine.health_view import HealthView

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.router.core.health_book import HealthRow, Subject
    from services.router.core.health_counts import Counts

__all__ = ["HealthStore"]


class HealthStore(HealthView, Protocol):
    """Keeps how providers do. Nothing here waits for anything."""

    def report(self, counts: Iterable[tuple[Subject, Counts]]) -> None:
        """Take note of how attempts ended."""
        ...

    def open_circuits(self) -> int:
        """Count the circuits that are not closed."""
        ...

    def rows(self, account_id: str, *, shared: bool, provider: str = "") -> Sequence[HealthRow]:
        """
        Show what is known.

        Args:
            account_id: Whose own.
            shared: The operator's, too.
            provider: Only of this one; empty: of all.
        """
        ...
