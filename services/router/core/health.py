"""
How one provider does with one model, or with one key: its circuit, its success rate, its speed.

A circuit is closed while attempts go well. When too many fail it is open: who has something else to try
passes it over. After a pause it is half open: a few are let through as probes, for a round at a time. When
they go well it is closed again, with a small share at first; when they do not, it is open again, for longer.

Everything here is a function of its arguments. Times are seconds on a clock that all who share a state share.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final

from services.router.core.engine.health_view import Look
from services.router.core.health_counts import Counts, Window

__all__ = ["FRESH", "Health", "HealthRules", "Phase", "claimed", "look", "reported", "settled", "weight"]

# A single answer moves the estimate of the time to the first byte by this part of the difference.
_SMOOTHING: Final = 0.2
_FIRST_WEIGHT: Final = 0.1
_LEAST_WEIGHT: Final = 0.05
# How long a refusal for the rate counts when it does not say, and at most.
_REFUSAL_S: Final = 5.0
_LONGEST_REFUSAL_S: Final = 300.0
# Pauses of circuits that opened at the same time end at different times: 80 to 120 % of what they should be.
_LEAST_JITTER: Final = 0.8
_JITTER: Final = 0.4
_MOST_OPENINGS: Final = 20


class Phase(IntEnum):
    """Where a circuit is; the numbers are stored."""

    CLOSED = 0
    OPEN = 1
    HALF_OPEN = 2


_CIRCUITS: Final = {Phase.CLOSED: "closed", Phase.OPEN: "open", Phase.HALF_OPEN: "half_open"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthRules:
    """
    When a circuit opens and closes.

    Attributes:
        window_s: How far back attempts are looked at.
        least_attempts: Attempts in the window before their success rate counts.
        least_success_rate: Below it, the circuit opens.
        failures_in_a_row: As many open it too, however few attempts there are.
        pause_s: How long it is open at first; twice as long each time that probes fail.
        longest_pause_s: And at most.
        probes: How many attempts a round of half open lets through, and how many successes close it.
        round_s: How long a round lasts; probes that were let through and never heard of again cost no more.
        slow_start_s: How long a closed circuit's share grows until it is whole again.
    """

    window_s: float = 60.0
    least_attempts: int = 10
    least_success_rate: float = 0.5
    failures_in_a_row: int = 5
    pause_s: float = 5.0
    longest_pause_s: float = 120.0
    probes: int = 3
    round_s: float = 30.0
    slow_start_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """
    What is known.

    Attributes:
        phase: Where the circuit was when something last happened; `settled` brings it up to date.
        until_s: When the pause, the round of probes or the slow start ends.
        openings: How often it opened since it last did well.
        claimed: Probes let through in this round.
        succeeded: Successes while half open.
        failed: Failures while half open.
        run: Failures since the last success.
        window: What happened lately.
        first_byte_s: Recent time to the first byte; None when not known.
        limited_until_s: Until when refusals for the rate count.
        heard_s: When something was last reported.
    """

    phase: Phase = Phase.CLOSED
    until_s: float = 0.0
    openings: int = 0
    claimed: int = 0
    succeeded: int = 0
    failed: int = 0
    run: int = 0
    window: Window = field(default_factory=Window)
    first_byte_s: float | None = None
    limited_until_s: float = 0.0
    heard_s: float = 0.0


FRESH: Final = Health()
"""Nothing is known."""


def settled(health: Health, now_s: float, rules: HealthRules) -> Health:
    """
    Bring a circuit up to date: pauses, rounds and slow starts end by themselves.

    Whatever would end later than anything can has met with a clock that was set back, and ends now.
    """
    left_s = health.until_s - now_s
    if health.phase is Phase.CLOSED:
        if health.openings and not 0.0 < left_s <= rules.slow_start_s:
            return replace(health, openings=0, until_s=0.0)
        return health
    longest_s = max(rules.longest_pause_s * (_LEAST_JITTER + _JITTER), rules.round_s)
    if 0.0 < left_s <= longest_s:
        return health
    # Rounds follow each other without a gap, so that all who share a state agree when one begins.
    ended_s = min(health.until_s, now_s)
    rounds = int((now_s - ended_s) / rules.round_s) + 1
    until_s = ended_s + rounds * rules.round_s
    return replace(health, phase=Phase.HALF_OPEN, until_s=until_s, claimed=0)


def reported(health: Health, counts: Counts, now_s: float, rules: HealthRules, draw: float) -> Health:
    """
    Take note of how attempts ended.

    Args:
        health: What was known.
        counts: How they ended.
        now_s: The time.
        rules: When a circuit opens and closes.
        draw: At random, from 0 up to 1.
    """
    health = settled(health, now_s, rules)
    health = replace(
        health,
        window=health.window.add(counts, now_s, rules.window_s),
        run=counts.failures + (0 if counts.successes else health.run),
        first_byte_s=_smoothed(health.first_byte_s, counts),
        limited_until_s=_limited_until(health.limited_until_s, counts, now_s),
        heard_s=now_s,
    )
    if health.phase is Phase.HALF_OPEN:
        return _probed(health, counts, now_s, rules, draw)
    if health.phase is Phase.CLOSED and counts.failures and _fails(health, counts, now_s, rules):
        return _opened(health, now_s, rules, draw)
    return health


def claimed(health: Health, now_s: float, rules: HealthRules) -> Health | None:
    """Let one probe through; None when the circuit is not half open, or its round has none left."""
    health = settled(health, now_s, rules)
    if health.phase is not Phase.HALF_OPEN or health.claimed >= rules.probes:
        return None
    return replace(health, claimed=health.claimed + 1)


def weight(health: Health, now_s: float, rules: HealthRules) -> float:
    """Return how much of the usual share is due, above 0 and up to 1."""
    share = 1.0
    health = settled(health, now_s, rules)
    if health.phase is Phase.CLOSED and health.openings:
        grown = 1.0 - (health.until_s - now_s) / rules.slow_start_s
        share = _FIRST_WEIGHT + (1.0 - _FIRST_WEIGHT) * max(0.0, grown)
    if 0.0 < health.limited_until_s - now_s <= _LONGEST_REFUSAL_S:
        successes, failures, refusals = health.window.sums(now_s, rules.window_s)
        attempts = successes + failures + refusals
        share *= 1.0 - refusals / attempts if attempts else 0.0
    return max(_LEAST_WEIGHT, share)


def look(health: Health, now_s: float, rules: HealthRules) -> Look:
    """Say what a route needs to know."""
    health = settled(health, now_s, rules)
    successes, failures, _ = health.window.sums(now_s, rules.window_s)
    attempts = successes + failures
    return Look(
        circuit=_CIRCUITS[health.phase],  # type: ignore[arg-type]  # the literals of `Look`
        success_rate=successes / attempts if attempts else None,
        first_byte_s=health.first_byte_s,
        weight=weight(health, now_s, rules),
    )


def _fails(health: Health, counts: Counts, now_s: float, rules: HealthRules) -> bool:
    if not counts.successes and health.run >= rules.failures_in_a_row:
        return True
    successes, failures, _ = health.window.sums(now_s, rules.window_s)
    attempts = successes + failures
    return attempts >= rules.least_attempts and successes < rules.least_success_rate * attempts


def _probed(health: Health, counts: Counts, now_s: float, rules: HealthRules, draw: float) -> Health:
    succeeded, failed = health.succeeded + counts.successes, health.failed + counts.failures
    if succeeded < rules.least_success_rate * (succeeded + failed):
        return _opened(health, now_s, rules, draw)
    if succeeded >= rules.probes:
        return _closed(health, now_s, rules)
    return replace(health, succeeded=succeeded, failed=failed)


def _opened(health: Health, now_s: float, rules: HealthRules, draw: float) -> Health:
    openings = min(health.openings + 1, _MOST_OPENINGS)
    pause_s = min(rules.longest_pause_s, rules.pause_s * 2.0 ** (openings - 1))
    return replace(
        health,
        phase=Phase.OPEN,
        openings=openings,
        until_s=now_s + pause_s * (_LEAST_JITTER + _JITTER * draw),
        claimed=0,
        succeeded=0,
        failed=0,
        run=0,
    )


def _closed(health: Health, now_s: float, rules: HealthRules) -> Health:
    """Close a circuit; what failed before is no reason to open it again."""
    return replace(
        health,
        phase=Phase.CLOSED,
        until_s=now_s + rules.slow_start_s,
        claimed=0,
        succeeded=0,
        failed=0,
        run=0,
        window=Window(),
    )


def _smoothed(before_s: float | None, counts: Counts) -> float | None:
    if not counts.timed:
        return before_s
    mean_s = counts.first_byte_s / counts.timed
    if before_s is None:
        return mean_s
    return before_s + (1.0 - (1.0 - _SMOOTHING) ** min(counts.timed, 1000)) * (mean_s - before_s)


def _limited_until(before_s: float, counts: Counts, now_s: float) -> float:
    if not counts.refusals:
        return before_s
    return max(before_s, now_s + min(counts.retry_after_s or _REFUSAL_S, _LONGEST_REFUSAL_S))
