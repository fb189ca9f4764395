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

_CHUNK = 500  # deleting these takes some 30 ms, for which recording has to wait


async def keep_within_limit(
    store: EntryStore, config: LedgerConfig, metrics: LedgerMetrics, log: Any
) -> None:
    """Delete the oldest entries whenever there are too many, until cancelled."""
    while True:
        await asyncio.sleep(config.trim_interval_s)
        try:
            while gone := await store.trim(config.max_entries, chunk=_CHUNK):
                metrics.trimmed.inc(gone)
        except GatewayError as error:
            log.warning("old entries not deleted", error=repr(error))
