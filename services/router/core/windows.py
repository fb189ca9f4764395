"""
Counting within windows of time: what stands in a counter, whether more fits, and when it will. Pure.

A fixed window is aligned with the clock: window number `index` of `window_ms` begins at `index * window_ms`
since 1970, and begins with nothing. A sliding one weighs two such windows: what was counted in the window
before counts as far as it lies within the last `window_ms`, taken to be spread evenly, and what is counted in
this one counts whole. `services/router/counters/scripts.py` says the same in Lua; one suite tests both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from services.router.core.settings import Technique

__all__ = [
    "MOST_AMOUNT",
    "Admit",
    "Bucket",
    "Cell",
    "LimitState",
    "Unit",
    "admits",
    "corrected",
    "counted",
    "index_of",
    "possible",
    "rolled",
    "settled",
    "state_of",
    "wait_ms",
]

MOST_AMOUNT: Final = 2**53 - 1
"""The largest amount that one request can have: numbers in Lua are exact up to here."""


class Unit(IntEnum):
    """What is counted; the numbers are those of `headrace.router.v1.LimitUnit`."""

    REQUESTS = 1
    TOKENS = 2
    NANO_USD = 3


class Admit(IntEnum):
    """When a request is let through."""

    FITS = 0
    """When all that it may use still fits, beside what others use and reserved. Never over the limit."""
    LEFT = 1
    """As long as something is left of what others have not used or reserved."""
    SPENT = 2
    """As long as what has been used, and is known, is below the limit; what is under way does not matter."""
    ALWAYS = 3
    """Always; it is only counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """
    A counter, and the limit that it has.

    Attributes:
        key: Its name within the gateway: short, of ASCII letters, digits, `-` and `_`.
        unit: What it counts.
        limit: Most that may be counted within a window.
        window_s: How long a window is.
        technique: How windows follow one another.
        admit: When a request is let through.
    """

    key: str
    unit: Unit
    limit: int
    window_s: int
    technique: Technique
    admit: Admit

    @property
    def window_ms(self) -> int:
        """How long a window is, in milliseconds."""
        return self.window_s * 1000


@dataclass(frozen=True, slots=True)
class Cell:
    """
    What stands in a counter.

    Attributes:
        index: Number of the current window.
        used: Counted in it.
        reserved: Set aside in it for what is under way.
        past_used: Counted in the window before.
        past_reserved: Still set aside in the window before.
    """

    index: int
    used: int = 0
    reserved: int = 0
    past_used: int = 0
    past_reserved: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """
    How much of a limit is left.

    Attributes:
        bucket: The limit.
        used: What counts against it, whole; what is reserved included.
        reserved: As much of that is only reserved.
        remaining: What is left, never below zero.
        reset_ms: Until there is more: the rest of a fixed window, or a whole sliding one.
    """

    bucket: Bucket
    used: int
    reserved: int
    remaining: int
    reset_ms: int


def index_of(now_ms: int, window_ms: int) -> int:
    """Return the number of the window that a moment is in."""
    return now_ms // window_ms


def rolled(cell: Cell, index: int) -> Cell:
    """Return a counter as it is in a later window; a clock that went back changes nothing."""
    if index <= cell.index:
        return cell
    if index == cell.index + 1:
        return Cell(index, 0, 0, cell.used, cell.reserved)
    return Cell(index)


def possible(cell: Cell, index: int) -> Cell:
    """
    Return a counter whose window may be the current one, of this number.

    One that is further ahead than clocks differ was counted by a clock that was wrong: what stands in it
    counts now, rather than until that window comes.
    """
    return replace(cell, index=index) if cell.index > index + 1 else cell


def counted(cell: Cell, bucket: Bucket, now_ms: int) -> float:
    """Say how much counts against a limit; the counter is of the current window."""
    spent_only = bucket.admit is Admit.SPENT
    now = cell.used if spent_only else cell.used + cell.reserved
    if bucket.technique is Technique.FIXED:
        return now
    past = cell.past_used if spent_only else cell.past_used + cell.past_reserved
    return past * _left_of_past(cell, bucket, now_ms) / bucket.window_ms + now


def admits(cell: Cell, bucket: Bucket, amount: int, now_ms: int) -> bool:
    """Tell whether a request is let through that may use an amount."""
    if bucket.admit is Admit.ALWAYS:
        return True
    used = counted(cell, bucket, now_ms)
    return used + amount <= bucket.limit if bucket.admit is Admit.FITS else used < bucket.limit


def wait_ms(cell: Cell, bucket: Bucket, amount: int, now_ms: int) -> int | None:
    """
    Say how long a request has to wait that was not let through, when nobody else comes.

    Returns:
        At least 1; None: it will never be let through, as it is larger than the limit.
    """
    room = bucket.limit - (amount if bucket.admit is Admit.FITS else 1)
    if room < 0:
        return None
    window_ms = bucket.window_ms
    into_ms = window_ms - _left_of_past(cell, bucket, now_ms)
    spent_only = bucket.admit is Admit.SPENT
    now = cell.used if spent_only else cell.used + cell.reserved
    past = cell.past_used if spent_only else cell.past_used + cell.past_reserved
    if bucket.technique is Technique.FIXED:
        wait = float(window_ms - into_ms)
    elif now <= room:
        wait = window_ms * (1 - (room - now) / past) - into_ms if past else 0.0
    else:
        wait = window_ms - into_ms + window_ms * (1 - room / now)
    return max(1, math.ceil(wait))


def state_of(cell: Cell, bucket: Bucket, now_ms: int) -> LimitState:
    """Say how much of a limit is left."""
    used = counted(cell, bucket, now_ms)
    fixed = bucket.technique is Technique.FIXED
    return LimitState(
        bucket=bucket,
        used=math.ceil(used),
        reserved=cell.reserved if fixed else cell.reserved + cell.past_reserved,
        remaining=max(0, bucket.limit - math.ceil(used)),
        reset_ms=max(1, _left_of_past(cell, bucket, now_ms)) if fixed else bucket.window_ms,
    )


def settled(cell: Cell, index: int, amount: int, actual: int) -> Cell:
    """
    Put what was used in the place of what was reserved, in the window in which it was.

    Args:
        cell: The counter.
        index: Window of the reservation; one that is over for long changes nothing.
        amount: What was reserved.
        actual: What was used.
    """
    if index == cell.index:
        return replace(cell, used=cell.used + actual, reserved=max(0, cell.reserved - amount))
    if index == cell.index - 1:
        past_reserved = max(0, cell.past_reserved - amount)
        return replace(cell, past_used=cell.past_used + actual, past_reserved=past_reserved)
    return cell


def corrected(cell: Cell, bucket: Bucket, index: int, more: int) -> Cell:
    """
    Put right what a reservation that ran out was counted as.

    Args:
        cell: The counter.
        bucket: Its limit.
        index: Window in which it was counted.
        more: How much more was used than was counted; below zero: less.
    """
    if index == cell.index or (bucket.admit is Admit.SPENT and more > 0):
        # What a limit did not know of that counts what is known counts now.
        return replace(cell, used=max(0, cell.used + more))
    if index == cell.index - 1:
        return replace(cell, past_used=max(0, cell.past_used + more))
    return cell


def _left_of_past(cell: Cell, bucket: Bucket, now_ms: int) -> int:
    """Say how much of the window before lies within the last window's length: the rest of this one."""
    window_ms = bucket.window_ms
    return min(window_ms, max(0, (cell.index + 1) * window_ms - now_ms))
