"""What an operator can see of limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter

from kit.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry

    from kit.errors import Reason

__all__ = ["LimitMetrics"]


class LimitMetrics:
    """Counts what was let through, refused and settled, registered when constructed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        limits = Counter(
            names.METRIC_ROUTER_LIMITS,
            "Steps that were counted against limits, by what came of them.",
            ["result"],
            registry=registry,
        )
        self._counted = limits.labels("counted")
        self._reserved = limits.labels("reserved")
        self._refusals = {
            result: limits.labels(result) for result in ("rate_limited", "spend_limited", "unpriced")
        }
        settlements = Counter(
            names.METRIC_ROUTER_SETTLEMENTS,
            "Ends of reservations: settled, unknown, or expired, which counts as used in full.",
            ["result"],
            registry=registry,
        )
        self._settled = settlements.labels("settled")
        self._unknown = settlements.labels("unknown")
        self._expired = settlements.labels("expired")
        self._away = Counter(
            names.METRIC_ROUTER_COUNTERS_AWAY,
            "Calls that did not reach the counters in Valkey, by what was done instead.",
            ["result"],
            registry=registry,
        )

    def granted(self, *, reserved: bool) -> None:
        """Note a step that was let through."""
        (self._reserved if reserved else self._counted).inc()

    def refused(self, reason: Reason, *, unpriced: bool = False) -> None:
        """Note a step that was refused."""
        found = self._refusals.get("unpriced" if unpriced else reason.value.lower())
        if found is not None:
            found.inc()

    def settled(self, known: Iterable[bool]) -> None:
        """Note settlements, each of which was known or not."""
        for each in known:
            (self._settled if each else self._unknown).inc()

    def expired(self, count: int) -> None:
        """Note reservations that nobody settled."""
        self._expired.inc(count)

    def away(self, result: str) -> None:
        """Note a call that did not reach Valkey at once; `counted_here`, `refused` or `waited`."""
        self._away.labels(result).inc()
