"""
What an operator can see of the spool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

from kit.telemetry import names

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from services.edge.spool.journal import Journal
    from services.edge.spool.room import Room

__all__ = ["SpoolMetrics"]


class SpoolMetrics:
    """The counters of one spool, registered when constructed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, doc: str) -> Counter:
            return Counter(name, doc, registry=registry)

        self.replayed = counter(names.METRIC_SPOOL_REPLAYED, "Entries that the ledger has acknowledged.")
        self.interrupted = counter(
            names.METRIC_SPOOL_INTERRUPTED, "Entries made for requests that an earlier life left unfinished."
        )
        self.dropped_payloads = counter(
            names.METRIC_SPOOL_DROPPED_PAYLOADS, "Entries recorded without their payload for want of room."
        )
        self.corrupt = counter(names.METRIC_SPOOL_CORRUPT, "Damaged places found in spool files.")
        self.refused = counter(names.METRIC_SPOOL_REFUSED, "Requests refused because the spool was full.")
        self.failed_writes = counter(
            names.METRIC_SPOOL_FAILED_WRITES,
            "Writes to spool files that failed, the tries for room included.",
        )
        self.rejected = counter(names.METRIC_SPOOL_REJECTED, "Entries that the ledger does not accept.")
        self._registry = registry

    def observe(self, journal: Journal, room: Room) -> None:
        """Show the state of a journal and its room, read when metrics are collected."""

        def gauge(name: str, doc: str) -> Gauge:
            return Gauge(name, doc, registry=self._registry)

        gauge(names.METRIC_SPOOL_PENDING_BYTES, "Bytes in spool files.").set_function(
            lambda: journal.pending_bytes
        )
        gauge(names.METRIC_SPOOL_OLDEST_AGE, "Age of the oldest entry not yet acknowledged.").set_function(
            lambda: journal.oldest_age_s
        )
        gauge(names.METRIC_SPOOL_OPEN, "Requests begun and not finished.").set_function(
            lambda: journal.open_count
        )
        gauge(names.METRIC_SPOOL_UNWRITTEN, "Entries held in memory because the disk is full.").set_function(
            lambda: journal.unwritten_count
        )
        gauge(names.METRIC_SPOOL_REFUSING, "1 while requests should go to another edge.").set_function(
            lambda: room.lack is not None
        )
