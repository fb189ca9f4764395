"""Identifiers: their form and their order."""

from __future__ import annotations

import re
import uuid
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from kit.ids import UuidSource, uuid7

FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_form_is_version_seven() -> None:
    """An id is a lower-case UUID of version 7 and of the RFC's variant."""
    made = uuid7()

    assert FORM.fullmatch(made)
    assert 7 == uuid.UUID(made).version
    assert uuid.RFC_4122 == uuid.UUID(made).variant


def test_holds_the_time() -> None:
    """The first 48 bits are milliseconds since 1970."""
    made = UuidSource(now_ns=lambda: 1_700_000_000_123_456_789)()

    assert 1_700_000_000_123 == uuid.UUID(made).int >> 80


@given(st.lists(st.integers(min_value=0, max_value=2**40), min_size=2, max_size=50))
def test_grows_whatever_the_clock_does(times_ms: list[int]) -> None:
    """Ids only grow, even when the clock stands still or goes back."""
    clock = iter(times_ms)
    source = UuidSource(now_ns=lambda: next(clock) * 1_000_000)
    made = [source() for _ in times_ms]

    assert all(earlier < later for earlier, later in pairwise(made))


@given(st.integers(min_value=2, max_value=20))
def test_grows_when_randomness_is_used_up(count: int) -> None:
    """A millisecond whose random part is full borrows from the next."""
    source = UuidSource(now_ns=lambda: 5_000_000, random_bytes=lambda n: b"\xff" * n)
    source._random = (1 << 74) - 3
    source._time_ms = 5
    made = [source() for _ in range(count)]

    assert all(earlier < later for earlier, later in pairwise(made))
    assert all(FORM.fullmatch(text) for text in made)


def test_many_are_distinct() -> None:
    """A hundred thousand ids are a hundred thousand ids."""
    assert 100_000 == len({uuid7() for _ in range(100_000)})


def test_pool_never_repeats() -> None:
    """Randomness that is fetched in advance is given out once, across refills too."""
    source = UuidSource(now_ns=iter(range(0, 10**12, 10**6)).__next__)
    ids = [source() for _ in range(5000)]

    assert len(set(ids)) == len({one[-12:] for one in ids}) == 5000
