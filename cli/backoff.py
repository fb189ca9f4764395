"""When a process that ended is started again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["Backoff", "Restart"]

# Long enough that whatever kills a process at its start has shown itself.
HEALTHY_S: Final = 30.0
FIRST_S: Final = 0.25
CAP_S: Final = 10.0
LOUD_EVERY: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """
    What to do after an end.

    Attributes:
        delay_s: How long to wait.
        failures: How many ends there were in a row, each soon after its start.
        is_loud: Whether it is time to say that this goes on and on.
    """

    delay_s: float
    failures: int
    is_loud: bool


class Backoff:
    """The restarts of one process: the first at once, further ones later and later, up to a limit."""

    def __init__(self) -> None:
        self._failures = 0

    def after(self, uptime_s: float) -> Restart:
        """Decide what happens after an end."""
        if uptime_s >= HEALTHY_S:
            self._failures = 0
        self._failures += 1
        # A single kill must be made good at once; only what repeats itself is made to wait.
        delay_s = 0.0 if self._failures == 1 else min(CAP_S, FIRST_S * 2.0 ** (self._failures - 2))
        loud = self._failures % LOUD_EVERY == 0
        return Restart(delay_s=delay_s, failures=self._failures, is_loud=loud)
