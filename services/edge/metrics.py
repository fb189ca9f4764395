"""Counts what the edge answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

from headrace.ledger.v1 import log_entry_pb2
from kit.providers import CUSTOM_PREFIX
from kit.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from services.edge.pipeline.exchange import Exchange, Progress

__all__ = ["EdgeMetrics"]

_CUSTOM = "custom"
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class EdgeMetrics:
    """Requests and how long they took, by provider and outcome."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("provider", "outcome", "cached")
        self._requests = Counter(
            names.METRIC_EDGE_REQUESTS, "Requests that have ended.", labels, registry=registry
        )
        self._seconds = Histogram(
            names.METRIC_EDGE_SECONDS,
            "From a request to the end of its answer.",
            labels,
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._saved = Counter(
            names.METRIC_EDGE_SAVED,
            "US dollars that answers would have cost which the cache, or another request's call, gave.",
            registry=registry,
        )
        self._in_flight = Gauge(names.METRIC_EDGE_IN_FLIGHT, "Requests that run.", registry=registry)
        self._bodies = Gauge(
            names.METRIC_EDGE_BODIES, "Bytes of request bodies that are held.", registry=registry
        )
        self._without_room = Counter(
            names.METRIC_EDGE_NO_ROOM,
            "Requests refused because too many bytes of bodies were held.",
            registry=registry,
        )
        # Looking a child up costs more than counting does.
        self._children: dict[
            tuple[str, log_entry_pb2.Outcome.ValueType, bool], tuple[Counter, Histogram]
        ] = {}

    def watch(self, running: Callable[[], int]) -> None:
        """Tell of requests that run: as many as this counts when somebody looks."""
        self._in_flight.set_function(running)

    def watch_bodies(self, held_bytes: Callable[[], int]) -> None:
        """Tell of bytes of bodies that are held: as many as this counts when somebody looks."""
        self._bodies.set_function(held_bytes)

    def without_room(self) -> None:
        """Count a request that was refused because of them."""
        self._without_room.inc()

    def observe(self, _: Exchange, progress: Progress) -> None:
        """Count a request that has ended."""
        provider = progress.provider
        if provider.startswith(CUSTOM_PREFIX):
            # Accounts choose these names, and each would be a series of its own for ever.
            provider = _CUSTOM
        key = (provider, progress.outcome, progress.cached)
        children = self._children.get(key)
        if children is None:
            outcome = log_entry_pb2.Outcome.Name(progress.outcome).removeprefix("OUTCOME_").lower()
            named = (provider, outcome, str(progress.cached).lower())
            children = self._children[key] = (self._requests.labels(*named), self._seconds.labels(*named))
        if progress.saved_nano_usd:
            self._saved.inc(progress.saved_nano_usd / 1e9)
        children[0].inc()
        children[1].observe(time.perf_counter() - progress.started_s)
