"""
Moves entries from the journal to the ledger, in order, and deletes nothing that was not acknowledged.

The same code replays what an earlier life left behind.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kit.errors import GatewayError, Reason
from services.edge.spool.delivery import REJECTED, Delivery
from services.edge.spool.record import Kind, scan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from pathlib import Path

    from services.edge.spool.config import SpoolConfig
    from services.edge.spool.journal import Journal
    from services.edge.spool.metrics import SpoolMetrics
    from services.edge.spool.segment import Segment

__all__ = ["REJECTED", "Shipper"]

# Failures of the ledger at a batch, one after the other, after which the batch itself is suspected.
_PATIENCE = 5
# Most files whose entries are held in memory while suspected batches wait.
_LOADED_MOST = 8
# Reading this much from the page cache takes about a millisecond. In a thread it would take more of it from
# the loop, which would have to wait for the thread whenever it let go of the interpreter's lock.
_INLINE_BYTES = 1024 * 1024


@dataclass(slots=True)
class _Batch:
    """
    Entries that are sent together.

    Attributes:
        entries: They.
        failures: How often the ledger failed at them.
        accepted_count: What it had accepted when it last did.
    """

    entries: list[bytes]
    failures: int = 0
    accepted_count: int = 0

    @property
    def waits(self) -> bool:
        """Whether the batch is suspected, and lets others go first."""
        return self.failures >= _PATIENCE


class Shipper:
    """
    Sends what the journal holds.

    Args:
        journal: Where entries wait.
        directory: Where entries go that the ledger does not accept.
        send: Returns when the ledger has acknowledged the entries. Raises GatewayError otherwise, with
            INVALID_REQUEST or TOO_LARGE when trying again cannot help, INTERNAL when it may be their fault.
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
        self._delivery = Delivery(
            directory=directory, send=send, timeout_s=config.send_timeout_s, metrics=metrics, log=log
        )
        self._config = config
        self._metrics = metrics
        self._log = log
        self._lock = asyncio.Lock()
        self._wanted = asyncio.Event()
        # Of the files that were read, what has not arrived yet; a try that failed leaves it for the next one.
        self._loaded: list[Segment] = []
        self._batches: deque[_Batch] = deque()

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
            if (
                self._batches
                and self._batches[0].waits
                and self._journal.oldest(besides=self._loaded) is None
            ):
                self._journal.seal()  # it waits for entries that are only there
            await self._ship_sealed()  # a backlog first, so that an outage does not end in many small files
            self._journal.seal()
            await self._sync()
            await self._ship_sealed()
            await self._ship_unwritten()

    async def _ship_sealed(self) -> None:
        while await self._load():
            await self._ship_batch(self._batches[0])
            self._batches.popleft()

    async def _load(self) -> bool:
        """Read on where nothing is left, or what is left waits for others; False when all was sent."""
        while not self._batches or (self._batches[0].waits and len(self._loaded) < _LOADED_MOST):
            if not self._batches:
                self._retire()
            segment = self._journal.oldest(besides=self._loaded)
            if segment is None:
                break
            found = [_Batch(each) for each in _cut(await self._read(segment), self._config.batch_bytes)]
            self._batches.extendleft(reversed(found))
            self._loaded.append(segment)
        return bool(self._batches)

    def _retire(self) -> None:
        for segment in self._loaded:
            segment.shipped = True
        self._loaded.clear()
        self._journal.clear()

    async def _ship_batch(self, batch: _Batch) -> None:
        """
        Send a batch, or find the entries in it on which the ledger fails, whatever goes with them.

        The ledger may be ill itself, and then fails on everything. So an entry is only kept aside when others
        arrived meanwhile; until then its batch lets those behind it go first.
        """
        try:
            await self._delivery.deliver(batch.entries)
        except GatewayError as error:
            if error.reason is not Reason.INTERNAL:
                raise
            before, batch.accepted_count = batch.accepted_count, self._delivery.accepted_count
            batch.failures += 1
            if not batch.waits:
                raise
            if batch.failures % _PATIENCE == 0 or batch.accepted_count > before:
                suspects = await self._delivery.isolate(batch.entries)
                if self._delivery.accepted_count > before:
                    for suspect in suspects:
                        await self._delivery.condemn(suspect)
                    return
            self._batches.rotate(-1)
            raise

    async def _ship_unwritten(self) -> None:
        waiting = self._journal.unwritten()
        await self._delivery.deliver(list(waiting.values()))
        self._journal.acknowledge(waiting)

    async def _read(self, segment: Segment) -> list[bytes]:
        if segment.finals is not None:
            return segment.finals
        if segment.size <= _INLINE_BYTES:
            return self._finals(segment)
        return await asyncio.to_thread(self._finals, segment)

    def _finals(self, segment: Segment) -> list[bytes]:
        content = scan(segment.path.read_bytes(), salt=segment.salt)
        if content.corrupt_count:
            self._metrics.corrupt.inc(content.corrupt_count)
            self._log.error("spool file damaged", file=segment.path.name, places=content.corrupt_count)
        return [record.payload for record in content.records if record.kind is Kind.FINAL]

    async def _sync(self) -> None:
        for segment in self._journal.unsynced():
            await asyncio.to_thread(segment.sync)


def _cut(entries: Iterable[bytes], limit_bytes: int) -> Iterable[list[bytes]]:
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
