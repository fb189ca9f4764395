"""What an operator can see of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import Counter

from kit.providers import CUSTOM_PREFIX
from kit.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry

    from services.ledger.store import Row

__all__ = ["LedgerMetrics"]

_CUSTOM: Final = "custom"


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
        self._cost = Counter(
            names.METRIC_LEDGER_COST,
            "US dollars that recorded entries cost, as far as is known.",
            ["provider"],
            registry=registry,
        )
        self._tokens = Counter(
            names.METRIC_LEDGER_TOKENS, "Tokens of recorded entries.", ["provider", "kind"], registry=registry
        )
        self.trimmed = counter(names.METRIC_LEDGER_TRIMMED, "Entries deleted because there were too many.")

    def used(self, rows: Iterable[Row]) -> None:
        """Count what new entries cost, and their tokens."""
        for row in rows:
            # Accounts name providers of their own, and each would be a series of its own for ever.
            provider = _CUSTOM if row.provider.startswith(CUSTOM_PREFIX) else row.provider
            if row.cost_nano_usd:
                self._cost.labels(provider).inc(row.cost_nano_usd / 1e9)
            if row.tokens_in:
                self._tokens.labels(provider, "input").inc(row.tokens_in)
            if row.tokens_out:
                self._tokens.labels(provider, "output").inc(row.tokens_out)
