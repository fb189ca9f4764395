"""Counting within windows: what counts, when something is let through, and how long to wait."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.core.settings import Technique
from services.router.core.windows import (
    Admit,
    Bucket,
    Cell,
    Unit,
    admits,
    counted,
    index_of,
    rolled,
    settled,
    state_of,
    wait_ms,
)

FIXED = Bucket(
    key="k", unit=Unit.NANO_USD, limit=10, window_s=60, technique=Technique.FIXED, admit=Admit.FITS
)
SLIDING = replace(FIXED, technique=Technique.SLIDING)
AT = 100 * 60_000  # the beginning of window 100


@pytest.mark.parametrize(
    ("bucket", "cell", "into_ms", "expected"),
    [
        (FIXED, Cell(100, 3, 2, 50, 50), 0, 5),
        (replace(FIXED, admit=Admit.SPENT), Cell(100, 3, 2, 50, 50), 0, 3),
        (SLIDING, Cell(100, 3, 2, 5, 3), 0, 13),
        (SLIDING, Cell(100, 3, 2, 5, 3), 15_000, 11),
        (SLIDING, Cell(100, 3, 2, 5, 3), 59_999, 5 + 8 / 60_000),
        (replace(SLIDING, admit=Admit.SPENT), Cell(100, 3, 2, 4, 9), 30_000, 5),
    ],
)
def test_what_counts(bucket: Bucket, cell: Cell, into_ms: int, expected: float) -> None:
    """The window before as far as it is within the last one's length; and what is reserved, unless soft."""
    assert pytest.approx(expected) == counted(cell, bucket, AT + into_ms)


@pytest.mark.parametrize(
    ("admit", "cell", "amount", "passes"),
    [
        (Admit.FITS, Cell(100, 4, 3), 3, True),
        (Admit.FITS, Cell(100, 4, 3), 4, False),
        (Admit.LEFT, Cell(100, 4, 5), 99, True),
        (Admit.LEFT, Cell(100, 5, 5), 0, False),
        (Admit.SPENT, Cell(100, 9, 99), 99, True),
        (Admit.SPENT, Cell(100, 10, 0), 0, False),
        (Admit.ALWAYS, Cell(100, 99, 99), 99, True),
    ],
)
def test_when_a_request_is_let_through(admit: Admit, cell: Cell, amount: int, *, passes: bool) -> None:
    """At the limit, and one above it."""
    assert passes == admits(cell, replace(FIXED, admit=admit), amount, AT)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (99, Cell(100, 1, 2, 3, 4)),
        (100, Cell(100, 1, 2, 3, 4)),
        (101, Cell(101, 0, 0, 1, 2)),
        (102, Cell(102)),
    ],
)
def test_windows_follow_one_another(index: int, expected: Cell) -> None:
    """A clock that goes back does not bring an old window back."""
    assert expected == rolled(Cell(100, 1, 2, 3, 4), index)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (100, Cell(100, 6, 0, 3, 4)),
        (99, Cell(100, 1, 2, 8, 1)),
        (98, Cell(100, 1, 2, 3, 4)),
    ],
)
def test_what_was_used_takes_the_place_of_what_was_reserved(index: int, expected: Cell) -> None:
    """In its own window, never below zero, and nowhere once that is over."""
    assert expected == settled(Cell(100, 1, 2, 3, 4), index, 3, 5)


def test_a_request_that_is_larger_than_the_limit_never_fits() -> None:
    """There is no time at which it would."""
    assert None is wait_ms(Cell(100), FIXED, 11, AT)


counts = st.integers(0, 40)


@given(
    cell=st.builds(Cell, st.just(100), counts, counts, counts, counts),
    amount=st.integers(1, 10),
    into_ms=st.integers(0, 59_999),
    technique=st.sampled_from(Technique),
    admit=st.sampled_from([Admit.FITS, Admit.LEFT, Admit.SPENT]),
)
def test_who_waits_as_told_is_let_through_and_not_before(
    cell: Cell, amount: int, into_ms: int, technique: Technique, admit: Admit
) -> None:
    """If nobody else comes; what is told is never much longer than it has to be."""
    bucket = replace(FIXED, technique=technique, admit=admit)
    now_ms = AT + into_ms
    if admits(cell, bucket, amount, now_ms):
        return
    wait = wait_ms(cell, bucket, amount, now_ms)
    assert wait is not None

    def passes(at_ms: int) -> bool:
        return admits(rolled(cell, index_of(at_ms, bucket.window_ms)), bucket, amount, at_ms)

    assert passes(now_ms + wait + 1)
    # Below one unit, a limit that lets through while anything is left waits for a whole unit.
    assert admit is not Admit.FITS or wait == 1 or not passes(now_ms + wait - 2)


@given(
    cell=st.builds(Cell, st.just(100), counts, counts, counts, counts),
    into_ms=st.integers(0, 59_999),
    technique=st.sampled_from(Technique),
)
def test_what_is_left_is_never_below_zero_or_told_too_high(
    cell: Cell, into_ms: int, technique: Technique
) -> None:
    """Exactly as much as is told still fits."""
    bucket = replace(FIXED, technique=technique)
    state = state_of(cell, bucket, AT + into_ms)

    assert 0 <= state.remaining <= bucket.limit
    assert 1 <= state.reset_ms <= bucket.window_ms
    assert not state.remaining or admits(cell, bucket, state.remaining, AT + into_ms)
    assert not admits(cell, bucket, state.remaining + 1, AT + into_ms)
