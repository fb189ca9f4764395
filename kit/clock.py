"""
The time, as a collaborator.

Core code takes a `Clock` so that a test decides what time it is. Imports nothing but the standard library:
`core` modules may use it.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time of day and measures spans of time."""

    def now_s(self) -> float:
        """Return the seconds since 1970-01-01 UTC; may jump when the machine's clock is set."""
        ...

    def now_ns(self) -> int:
        """Return the nanoseconds since 1970-01-01 UTC; may jump when the machine's clock is set."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds from an arbitrary start; never goes back. For time-outs and lifetimes."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_s(self) -> float:
        """Return the seconds since 1970-01-01 UTC."""
        return time.time()

    def now_ns(self) -> int:
        """Return the nanoseconds since 1970-01-01 UTC."""
        return time.time_ns()

    def monotonic_s(self) -> float:
        """Return seconds from an arbitrary start; never goes back."""
        return time.monotonic()
