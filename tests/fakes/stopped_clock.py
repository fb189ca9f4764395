"""A clock that stands until a test moves it."""

from __future__ import annotations


class StoppedClock:
    """
    Tells the time it was set to.

    Args:
        now_s: What time it is, seconds since 1970.
    """

    def __init__(self, now_s: float = 1_800_000_000.0) -> None:
        self._now_s = now_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now_s += seconds

    def now_s(self) -> float:
        """Return the time of day."""
        return self._now_s

    def now_ns(self) -> int:
        """Return the time of day in nanoseconds."""
        return int(self._now_s * 1_000_000_000)

    def monotonic_s(self) -> float:
        """Return seconds from an arbitrary start."""
        return self._now_s
