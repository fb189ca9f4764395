"""Counts circuits that open and close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge

from kit.providers import CUSTOM_PREFIX
from kit.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from services.router.core.health import Phase
    from services.router.core.health_book import Subject

__all__ = ["HealthMetrics"]

_CUSTOM: Final = "custom"


class HealthMetrics:
    """
    Circuits, and how often they changed.

    Args:
        registry: Takes the metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._changes = Counter(
            names.METRIC_ROUTER_CIRCUIT_CHANGES,
            "Circuits of models and keys that opened or closed.",
            ["provider", "to"],
            registry=registry,
        )
        self._open = Gauge(
            names.METRIC_ROUTER_CIRCUITS_OPEN,
            "Circuits of models and keys that are not closed.",
            registry=registry,
        )

    def watch(self, open_circuits: Callable[[], int]) -> None:
        """Tell of circuits that are open: as many as this counts when somebody looks."""
        self._open.set_function(open_circuits)

    def changed(self, subject: Subject, phase: Phase) -> None:
        """Count a circuit that opened or closed."""
        # Accounts choose these names, and each would be a series of its own for ever.
        provider = _CUSTOM if subject.provider.startswith(CUSTOM_PREFIX) else subject.provider
        self._changes.labels(provider, phase.name.lower()).inc()
