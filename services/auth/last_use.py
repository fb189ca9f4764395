"""
Keeps when tokens were last used, without a write on the way of a request.

Uses are noted in memory, the last one of each token, and stored together now and then and at the end. What a
kill loses is a few seconds of an indication. Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from kit.background import going_on
from kit.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.auth.store import TokenStore

__all__ = ["LastUse"]

# Bounds memory while the database is away; what is beyond it is noted at the token's next use.
_MOST_TOKENS = 100_000
_MOST_AT_ONCE = 1_000


class LastUse:
    """
    Notes uses and stores them.

    Args:
        store: Where they are kept.
        every_s: How often.
        log: Where failures are told.
    """

    def __init__(self, store: TokenStore, *, every_s: float, log: Any) -> None:
        self._store = store
        self._every_s = every_s
        self._log = log
        self._noted: dict[str, int] = {}

    def note(self, token_id: str, at_us: int) -> None:
        """Note a use."""
        if len(self._noted) < _MOST_TOKENS or token_id in self._noted:
            self._noted[token_id] = max(at_us, self._noted.get(token_id, 0))

    async def flush(self) -> None:
        """Store what was noted; what cannot be stored now stays noted."""
        while self._noted:
            batch = dict(list(self._noted.items())[:_MOST_AT_ONCE])
            for token_id in batch:
                del self._noted[token_id]
            try:
                await self._store.used(batch)
            except GatewayError as error:
                self._log.debug("last use not stored", reason=error.reason, tokens=len(batch))
                for token_id, at_us in batch.items():
                    self.note(token_id, at_us)
                return

    @asynccontextmanager
    async def storing(self) -> AsyncIterator[None]:
        """Store now and then while the context is open, and once more at its end."""
        try:
            async with going_on(self._go_on()):
                yield
        finally:
            await self.flush()

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self.flush()
