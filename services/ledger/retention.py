"""Keeps the number of entries within its limit, in the background."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from kit.errors import GatewayError

if TYPE_CHECKING:
    from services.ledger.config import LedgerConfig
    from services.ledger.metrics import LedgerMetrics
    from services.ledger.store import EntryStore

__all__ = ["keep_within_limit"]


async def keep_within_limit(
    store: EntryStore, config: LedgerConfig, metrics: LedgerMetrics, log: Any
) -> None:
    """Delete the oldest entries whenever there are too many, until cancelled."""
    while True:
        await asyncio.sleep(config.trim_interval_s)
        try:
            excess = await store.excess(config.max_entries)
            while excess > 0 and (gone := await store.trim(excess)):
                metrics.trimmed.inc(gone)
                excess -= gone
        except GatewayError as error:
            log.warning("old entries not deleted", error=repr(error))
