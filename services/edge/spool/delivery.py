"""
Hands entries to the ledger, and keeps aside those that it does not accept.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from kit.errors import GatewayError, Reason
from services.edge.spool.entry import without_payload
from services.edge.spool.record import Kind, encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from services.edge.spool.metrics import SpoolMetrics

__all__ = ["REJECTED", "Delivery", "Suspect"]

REJECTED = "rejected.bin"
_UNACCEPTABLE = frozenset({Reason.INVALID_REQUEST, Reason.TOO_LARGE})

# An entry on which the ledger failed, and how.
Suspect = tuple[bytes, GatewayError]


class Delivery:
    """
    Sends entries and judges those that do not arrive.

    Args:
        directory: Where entries go that the ledger does not accept.
        send: Returns when the ledger has acknowledged the entries.
        timeout_s: How long that may take.
        metrics: Counts what was sent.
        log: Where rejected entries are told.
    """

    def __init__(
        self,
        *,
        directory: Path,
        send: Callable[[Sequence[bytes]], Awaitable[None]],
        timeout_s: float,
        metrics: SpoolMetrics,
        log: Any,
    ) -> None:
        self._directory = directory
        self._send = send
        self._timeout_s = timeout_s
        self._metrics = metrics
        self._log = log
        self._accepted_count = 0

    @property
    def accepted_count(self) -> int:
        """How often the ledger has acknowledged anything: when it grew, the ledger was well meanwhile."""
        return self._accepted_count

    async def deliver(self, entries: Sequence[bytes]) -> None:
        """
        Send entries; one that the ledger refuses is kept aside.

        Raises:
            Exception: They did not all arrive.
        """
        if not entries:
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._send(entries)
        except GatewayError as error:
            if error.reason not in _UNACCEPTABLE:
                raise
            await self._deliver_parts(entries, error)
        else:
            self._accepted_count += 1
            self._metrics.replayed.inc(len(entries))

    async def isolate(self, entries: Sequence[bytes]) -> list[Suspect]:
        """
        Send what can be sent, and return the entries on which the ledger fails.

        Raises:
            Exception: They did not all arrive, for a reason that has nothing to do with what they are.
        """
        try:
            await self.deliver(entries)
        except GatewayError as error:
            if error.reason is not Reason.INTERNAL:
                raise
            if len(entries) == 1:
                return [(entries[0], error)]
        else:
            return []
        middle = len(entries) // 2
        return [*await self.isolate(entries[:middle]), *await self.isolate(entries[middle:])]

    async def condemn(self, suspect: Suspect) -> None:
        """Send an entry without its payload; if that does not help either, keep it aside."""
        entry, error = suspect
        if (lighter := without_payload(entry)) is not None and not await self.isolate([lighter]):
            self._metrics.dropped_payloads.inc()
            return
        self._reject(entry, error)

    async def _deliver_parts(self, entries: Sequence[bytes], error: GatewayError) -> None:
        """Find the entry that spoils a batch, so that it does not hold up all the others for ever."""
        middle = len(entries) // 2
        if middle:
            await self.deliver(entries[:middle])
            await self.deliver(entries[middle:])
        elif (lighter := without_payload(entries[0])) is not None:
            self._metrics.dropped_payloads.inc()
            await self.deliver([lighter])
        else:
            self._reject(entries[0], error)

    def _reject(self, entry: bytes, error: GatewayError) -> None:
        with (self._directory / REJECTED).open("ab") as file:
            file.write(encode(Kind.FINAL, "", entry, salt=0))
        self._metrics.rejected.inc()
        self._log.error("the ledger does not accept an entry; kept aside", file=REJECTED, error=repr(error))
