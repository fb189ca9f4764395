"""What an operator can see of the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from kit.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

    from services.cache.store_memory import MemoryAnswerStore

__all__ = ["CacheMetrics", "StoreMetrics"]


class CacheMetrics:
    """Counts what was asked and stored, registered when constructed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        lookups = Counter(
            names.METRIC_CACHE_LOOKUPS, "Lookups by what came of them.", ["result"], registry=registry
        )
        self.hit = lookups.labels("hit")
        self.miss = lookups.labels("miss")
        self.not_read = lookups.labels("not_read")
        stored = Counter(names.METRIC_CACHE_STORED, "Answers to be stored.", ["result"], registry=registry)
        self.stored = stored.labels("stored")
        self.too_large = stored.labels("too_large")


class StoreMetrics:
    """Shows a store's state, read when metrics are collected."""

    def __init__(self, store: MemoryAnswerStore, registry: CollectorRegistry) -> None:
        self._store = store
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Give the metrics."""
        yield GaugeMetricFamily(names.METRIC_CACHE_BYTES, "Bytes of answers kept.", self._store.size_bytes)
        yield GaugeMetricFamily(names.METRIC_CACHE_ENTRIES, "Answers kept.", len(self._store))
        gone = CounterMetricFamily(names.METRIC_CACHE_EVICTIONS, "Answers thrown away.", labels=["reason"])
        gone.add_metric(["room"], self._store.evicted_count)
        gone.add_metric(["expired"], self._store.expired_count)
        yield gone
