"""What an operator can see of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter

from kit.telemetry import names

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["LedgerMetrics"]


class LedgerMetrics:
    """The ledger's counters, registered when constructed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, doc: str) -> Counter:
            return Counter(name, doc, registry=registry)

        self.recorded = counter(names.METRIC_LEDGER_RECORDED, "Entries recorded.")
        self.duplicates = counter(names.METRIC_LEDGER_DUPLICATES, "Entries that were known already.")
        self.unpriced = counter(
            names.METRIC_LEDGER_UNPRICED, "Entries with usage whose cost is not known, duplicates included."
        )
        self.trimmed = counter(names.METRIC_LEDGER_TRIMMED, "Entries deleted because there were too many.")
