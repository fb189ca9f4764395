"""What scenarios demand of a load and its books."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.rehearsal.asking import IN_NANO_USD, OUT_NANO_USD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.rehearsal.bookkeeping import Books
    from tests.rehearsal.outcome import Outcome
    from tests.rehearsal.system import RunningLoad, System

# What limits take a question to have, in tokens: from the length of its body, and on the high side.
_ESTIMATED_IN: Final = 150

__all__ = ["counts", "demand_nothing_failed", "demand_only", "demand_right_books"]


def counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Count outcomes by kind."""
    return dict(Counter(one.kind for one in outcomes))


def demand_nothing_failed(outcomes: Sequence[Outcome]) -> None:
    """Require that every request was answered whole."""
    failed = [one for one in outcomes if one.kind != "whole"]
    assert not failed, f"{len(failed)} of {len(outcomes)} failed: {failed[:5]}"


def demand_only(outcomes: Sequence[Outcome], allowed: Callable[[Outcome], bool], *, most: int) -> None:
    """
    Require of what failed that it may have, and that it failed clearly.

    Args:
        outcomes: Of a load.
        allowed: Whether a request may have failed.
        most: How many may have at most.
    """
    failed = [one for one in outcomes if one.kind != "whole"]
    unclear = [one for one in failed if one.kind == "wrong"]
    assert not unclear, f"{len(unclear)} without a clear error: {unclear[:5]}"
    others = [one for one in failed if not allowed(one)]
    assert not others, f"{len(others)} that were not under way: {others[:5]}"
    assert len(failed) <= most, f"{len(failed)} failed, of whom {most} may: {failed[:5]}"


async def demand_right_books(system: System, load: RunningLoad) -> list[Books]:
    """
    Require that log, money and limits are right after a load, whatever died during it.

    Every answer that named a log entry has exactly one; each whole one costs what it cost; and what was
    settled is what was logged. What broke off has a cost that is an estimate, or none, and where an edge
    died its reservation holds until it runs out: that much, and no more, may differ.
    """
    found = await system.books(load)
    for books in found:
        failed = [one for one in load.failed() if one.gateway == books.gateway]
        doubt = sum(one.words * OUT_NANO_USD + _ESTIMATED_IN * IN_NANO_USD for one in failed)
        assert [] == books.faults(), books
        assert books.reserved_nano_usd is not None
        assert books.counted_nano_usd is not None
        assert 0 <= books.reserved_nano_usd <= doubt, books
        assert 0 <= books.counted_nano_usd - books.logged_nano_usd <= doubt, books
        assert books.whole_nano_usd <= books.logged_nano_usd <= books.whole_nano_usd + doubt, books
        if not failed:
            assert books.whole_nano_usd == books.served_nano_usd, books
    return found
