"""
Moves entries from the journal to the ledger, in order, and deletes nothing that was not acknowledged.

The same code replays what an earlier life left behind.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from kit.errors import GatewayError, Reason
from services.edge.spool.entry import without_payload
from services.edge.spool.record import Kind, encode, scan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from pathlib import Path

    from services.edge.spool.config import SpoolConfig
    from services.edge.spool.journal import Journal
    from services.edge.spool.metrics import SpoolMetrics
    from services.edge.spool.segment import Segment

__all__ = ["REJECTED", "Shipper"]

REJECTED = "rejected.bin"
_UNACCEPTABLE = frozenset({Reason.INVALID_REQUEST, Reason.TOO_LARGE})
# Reading this much from the page cache takes less time than handing the work to a thread and back.
_INLINE_BYTES = 256 * 1024


class Shipper:
    """
    Sends what the journal holds.

    Args:
        journal: Where entries wait.
        directory: Where entries go that the ledger does not accept.
        send: Returns when the ledger has acknowledged the entries. Raises GatewayError otherwise, with
            INVALID_REQUEST or TOO_LARGE when trying again cannot help.
        config: Intervals and sizes.
        metrics: Counts what was sent.
        log: Where outages and rejected entries are told.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        directory: Path,
        send: Callable[[Sequence[bytes]], Awaitable[None]],
        config: SpoolConfig,
        metrics: SpoolMetrics,
        log: Any,
    ) -> None:
        self._journal = journal
        self._directory = directory
        self._send = send
        self._config = config
        self._metrics = metrics
        self._log = log
        self._lock = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._batches: deque[list[bytes]] | None = None

    def wake(self) -> None:
        """Say that there is something to send."""
        self._wanted.set()

    async def run(self) -> None:
        """Send, until cancelled."""
        pause_s = self._config.interval_s
        failing = False
        while True:
            await self._wanted.wait()
            await asyncio.sleep(pause_s)
            self._wanted.clear()
            try:
                await self.ship()
            except Exception as error:  # noqa: BLE001 - whatever it is, the entries are still on disk
                if not failing:
                    expected = isinstance(error, GatewayError | OSError)
                    self._log.warning(
                        "ledger not reached, entries wait on disk", error=repr(error), exc_info=not expected
                    )
                failing = True
                pause_s = min(pause_s * 2, self._config.backoff_max_s)
            else:
                if failing:
                    self._log.info("ledger reached again, entries delivered")
                failing = False
                pause_s = self._config.interval_s
            if self._journal.has_work:
                self._wanted.set()

    async def flush(self) -> None:
        """Send everything that is there now, trying until it succeeds."""
        while True:
            try:
                await self.ship()
            except Exception:  # noqa: BLE001 - as above; whoever waits has a time-out
                await asyncio.sleep(min(self._config.interval_s, self._config.backoff_max_s))
            else:
                return

    async def ship(self) -> None:
        """
        Send everything that was there when this was called.

        Raises:
            Exception: It did not all arrive; it is still there.
        """
        async with self._lock:
            await self._sync()
            await self._ship_sealed()  # a backlog first, so that an outage does not end in many small files
            self._journal.seal()
            await self._sync()
            await self._ship_sealed()
            await self._ship_unwritten()

    async def _ship_sealed(self) -> None:
        while (segment := self._journal.oldest()) is not None:
            await self._ship_segment(segment)
            segment.shipped = True
            self._journal.clear()
        self._journal.clear()

    async def _ship_segment(self, segment: Segment) -> None:
        if self._batches is None:  # else an earlier try got part of the way
            self._batches = deque(_batches(await self._read(segment), self._config.batch_bytes))
        while self._batches:
            await self._deliver(self._batches[0])
            self._batches.popleft()
        self._batches = None

    async def _ship_unwritten(self) -> None:
        waiting = self._journal.unwritten()
        await self._deliver(list(waiting.values()))
        self._journal.acknowledge(waiting)

    async def _read(self, segment: Segment) -> list[bytes]:
        if segment.size <= _INLINE_BYTES:
            return self._finals(segment)
        return await asyncio.to_thread(self._finals, segment)

    def _finals(self, segment: Segment) -> list[bytes]:
        content = scan(segment.path.read_bytes(), salt=segment.salt)
        if content.corrupt_count:
            self._metrics.corrupt.inc(content.corrupt_count)
            self._log.error("spool file damaged", file=segment.path.name, places=content.corrupt_count)
        return [record.payload for record in content.records if record.kind is Kind.FINAL]

    async def _deliver(self, entries: list[bytes]) -> None:
        if not entries:
            return
        try:
            async with asyncio.timeout(self._config.send_timeout_s):
                await self._send(entries)
        except GatewayError as error:
            if error.reason not in _UNACCEPTABLE:
                raise
            await self._deliver_parts(entries, error)
        else:
            self._metrics.replayed.inc(len(entries))

    async def _deliver_parts(self, entries: list[bytes], error: GatewayError) -> None:
        """Find the entry that spoils a batch, so that it does not hold up all the others for ever."""
        middle = len(entries) // 2
        if middle:
            await self._deliver(entries[:middle])
            await self._deliver(entries[middle:])
        elif (lighter := without_payload(entries[0])) is not None:
            self._metrics.dropped_payloads.inc()
            await self._deliver([lighter])
        else:
            self._reject(entries[0], error)

    def _reject(self, entry: bytes, error: GatewayError) -> None:
        with (self._directory / REJECTED).open("ab") as file:
            file.write(encode(Kind.FINAL, "", entry, salt=0))
        self._metrics.rejected.inc()
        self._log.error("the ledger does not accept an entry; kept aside", file=REJECTED, error=repr(error))

    async def _sync(self) -> None:
        for segment in self._journal.unsynced():
            await asyncio.to_thread(segment.sync)


def _batches(entries: Iterable[bytes], limit_bytes: int) -> Iterable[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for entry in entries:
        if batch and size + len(entry) > limit_bytes:
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += len(entry)
    if batch:
        yield batch
