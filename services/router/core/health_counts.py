"""How attempts ended, counted, and the sliding window that counts are looked at in."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BUCKETS", "Bucket", "Counts", "Window"]

BUCKETS = 6
"""Parts that a window slides by."""

Bucket = tuple[int, int, int, int]
"""Number of a part of the window, then successes, failures and refusals in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """
    How attempts of one kind ended.

    Attributes:
        successes: That brought an answer, or an error of the client's own doing.
        failures: That failed by the provider's doing.
        refusals: That the provider refused for their rate.
        first_byte_s: Sum of the times to the first byte of `timed` of the successes.
        timed: How many successes are in that sum.
        retry_after_s: The longest time that a refusal asked to wait; zero when none did.
    """

    successes: int = 0
    failures: int = 0
    refusals: int = 0
    first_byte_s: float = 0.0
    timed: int = 0
    retry_after_s: float = 0.0

    def plus(self, other: Counts) -> Counts:
        """Return the counts of both."""
        return Counts(
            successes=self.successes + other.successes,
            failures=self.failures + other.failures,
            refusals=self.refusals + other.refusals,
            first_byte_s=self.first_byte_s + other.first_byte_s,
            timed=self.timed + other.timed,
            retry_after_s=max(self.retry_after_s, other.retry_after_s),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """
    Counts of the last while, in parts of equal length.

    Attributes:
        buckets: The parts that something happened in, oldest first.
    """

    buckets: tuple[Bucket, ...] = ()

    def add(self, counts: Counts, now_s: float, window_s: float) -> Window:
        """Return the window with more counts, and without what is too old."""
        number = _number(now_s, window_s)
        kept = [bucket for bucket in self.buckets if number - BUCKETS < bucket[0] <= number]
        successes, failures, refusals = counts.successes, counts.failures, counts.refusals
        if kept and kept[-1][0] == number:
            _, before, failed, refused = kept.pop()
            successes, failures, refusals = successes + before, failures + failed, refusals + refused
        kept.append((number, successes, failures, refusals))
        return Window(buckets=tuple(kept))

    def sums(self, now_s: float, window_s: float) -> tuple[int, int, int]:
        """Return successes, failures and refusals within the window."""
        oldest = _number(now_s, window_s) - BUCKETS
        successes = failures = refusals = 0
        for number, succeeded, failed, refused in self.buckets:
            if number > oldest:
                successes += succeeded
                failures += failed
                refusals += refused
        return successes, failures, refusals


def _number(now_s: float, window_s: float) -> int:
    return int(now_s * BUCKETS / window_s)
