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

    from kit.valkey import Trouble
    from services.cache.store_memory import MemoryAnswerStore

__all__ = ["CacheMetrics", "StoreMetrics"]


class CacheMetrics:
    """Counts what was asked and stored, registered when constructed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        lookups = Counter(
            names.METRIC_CACHE_LOOKUPS, "Lookups by what came of them.", ["result"], registry=registry
        )
        self._hit = lookups.labels("hit")
        self._stale = lookups.labels("stale")
        self._miss = lookups.labels("miss")
        self._not_read = lookups.labels("not_read")
        self.conflict = lookups.labels("conflict")
        self.unreadable = Counter(
            names.METRIC_CACHE_UNREADABLE, "Kept answers that could not be read.", registry=registry
        )
        stored = Counter(names.METRIC_CACHE_STORED, "Answers to be stored.", ["result"], registry=registry)
        self.stored = stored.labels("stored")
        self.too_large = stored.labels("too_large")
        self.not_kept = stored.labels("not_kept")
        claims = Counter(
            names.METRIC_CACHE_CLAIMS,
            "Answers that a caller undertook to fetch, and what became of that: renewed for as long again, "
            "lost before it was renewed, given up.",
            ["what"],
            registry=registry,
        )
        self.claimed = claims.labels("claimed")
        self.released = claims.labels("released")
        self.renewed = claims.labels("renewed")
        self.lost = claims.labels("lost")
        waits = Counter(
            names.METRIC_CACHE_WAITS,
            "Lookups that waited for an answer that somebody else fetched, by what came of it.",
            ["result"],
            registry=registry,
        )
        self.wait_answered = waits.labels("answered")
        self.wait_claimed = waits.labels("claimed")
        self.wait_ended = waits.labels("ended")
        moved = Counter(
            names.METRIC_CACHE_MOVED,
            "Bytes of answers: as they came to be stored, as they are kept, and as they were given out.",
            ["what"],
            registry=registry,
        )
        self.bytes_taken = moved.labels("taken")
        self.bytes_packed = moved.labels("packed")
        self.bytes_given = moved.labels("given")
        self.purges = Counter(names.METRIC_CACHE_PURGES, "Purges.", registry=registry)
        self._troubles = Counter(
            names.METRIC_CACHE_TROUBLES,
            "Times that Valkey could not be used, each a miss or an answer not kept.",
            ["trouble"],
            registry=registry,
        )

    def looked_up(self, *, read: bool, hit: bool, stale: bool) -> None:
        """Count a lookup."""
        if not read:
            self._not_read.inc()
        elif not hit:
            self._miss.inc()
        else:
            (self._stale if stale else self._hit).inc()

    def trouble(self, trouble: Trouble) -> None:
        """Count a time that Valkey could not be used."""
        self._troubles.labels(trouble.value).inc()


class StoreMetrics:
    """Shows a memory store's state, read when metrics are collected."""

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
        gone.add_metric(["purged"], self._store.purged_count)
        yield gone
