"""
The spool as the edge holds it.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from services.edge.spool.claim import adopt, claim
from services.edge.spool.entry import interrupted
from services.edge.spool.journal import Journal
from services.edge.spool.metrics import SpoolMetrics
from services.edge.spool.recovery import Leftovers, collect
from services.edge.spool.room import Room
from services.edge.spool.shipper import Shipper

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from prometheus_client import CollectorRegistry

    from kit.clock import Clock
    from services.edge.spool.config import SpoolConfig

__all__ = ["Spool"]

_CLAIM_PATIENCE_S = 5.0  # a predecessor that was told to stop may need this long to be gone


class Spool:
    """
    Keeps log entries on disk until the ledger has them. Use `open`.

    `begin`, `amend`, `finish` and `discard` are synchronous, take some microseconds and must be called from
    the event loop's thread. For every id that was begun, the ledger gets exactly one entry, unless it was
    discarded: the one given to `finish`, or, when the process died first, the last one given to `begin` or
    `amend` with `OUTCOME_INTERRUPTED`. An entry may be sent more than once; the ledger keeps the first of an
    id.

    Attributes:
        unsettled: What earlier lives left to be told of limits, as `LogEntry.settlement` has it.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        room: Room,
        shipper: Shipper,
        lock_fd: int,
        log: Any,
        unsettled: tuple[bytes, ...],
    ) -> None:
        self.unsettled = unsettled
        self._journal = journal
        self._room = room
        self._shipper = shipper
        self._lock_fd = lock_fd
        self._log = log
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        *,
        root: Path,
        name: str,
        send: Callable[[Sequence[bytes]], Awaitable[None]],
        config: SpoolConfig,
        clock: Clock,
        registry: CollectorRegistry,
        log: Any,
        write: Callable[[int, bytes], int] = os.write,
    ) -> Spool:
        """
        Take over the directory, finish what an earlier life left behind, and begin to send.

        Args:
            root: Directory of all spools of this machine.
            name: Name of this edge process.
            send: Sends serialised entries to the ledger; see `shipper.Shipper`.
            config: Settings.
            clock: Tells the age of records.
            registry: Where metrics are registered.
            log: A structured logger.
            write: `os.write`, or what a test puts in its place.

        Raises:
            SpoolInUseError: Another process has the directory.
            OSError: The directory cannot be used.
        """
        directory = root / name
        lock_fd = await asyncio.to_thread(claim, directory, patience_s=_CLAIM_PATIENCE_S)
        try:
            await asyncio.to_thread(adopt, root, directory)
            leftovers = await asyncio.to_thread(collect, directory)
            metrics = SpoolMetrics(registry)
            room = Room()
            journal = Journal(
                directory,
                first_number=leftovers.last_number + 1,
                config=config,
                clock=clock,
                metrics=metrics,
                room=room,
                log=log,
                write=write,
            )
            metrics.observe(journal, room)
            unsettled = _inherit(journal, leftovers, metrics, log)
        except BaseException:
            os.close(lock_fd)
            raise
        shipper = Shipper(journal, directory=directory, send=send, config=config, metrics=metrics, log=log)
        spool = cls(
            journal=journal, room=room, shipper=shipper, lock_fd=lock_fd, log=log, unsettled=unsettled
        )
        spool._start()
        return spool

    @property
    def pending_bytes(self) -> int:
        """Bytes on disk."""
        return self._journal.pending_bytes

    @property
    def refusal(self) -> str | None:
        """
        Why requests should go to another edge, in a sentence; None: they may come here.

        Slower to change than what `begin` does: see `services.edge.spool.room`.
        """
        return self._room.lack

    @property
    def disk_failure(self) -> str | None:
        """The same, when this edge's disk is to blame, and not the ledger for what it does not take."""
        return self._room.lack if self._room.is_here else None

    @property
    def open_count(self) -> int:
        """Requests begun and not finished."""
        return self._journal.open_count

    def begin(self, log_id: str, entry: bytes) -> None:
        """
        Write that a request was accepted. Call it before anything of the request can be seen outside.

        Args:
            log_id: The entry's id.
            entry: Serialised `LogEntry` as far as it is known, without payload.

        Raises:
            GatewayError: OVERLOADED; there is no room to record the request, so it must not run.
        """
        self._journal.begin(log_id, entry)

    def amend(self, log_id: str, entry: bytes) -> None:
        """
        Write what is known by now of a request that was begun. Never fails: without room, it is passed over.

        Args:
            log_id: The entry's id, as in `begin`.
            entry: Serialised `LogEntry` as far as it is known, without payload.
        """
        self._journal.amend(log_id, entry)
        if self._journal.has_work:
            self._shipper.wake()

    def finish(self, log_id: str, entry: bytes) -> None:
        """
        Write what is to be recorded of a request. Call it before the last byte goes to the client.

        Never fails: on a full disk the entry waits in memory, without its payload.

        Args:
            log_id: The entry's id, as in `begin`.
            entry: Serialised `LogEntry`.
        """
        self._journal.finish(log_id, entry)
        self._shipper.wake()

    def discard(self, log_id: str) -> None:
        """Write that a request which was begun is not to be recorded."""
        self._journal.discard(log_id)
        self._shipper.wake()

    async def flush(self, timeout_s: float) -> bool:
        """Send everything that is finished by now; false when that took too long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._shipper.flush()
        except TimeoutError:
            return False
        return True

    async def close(self, timeout_s: float) -> None:
        """Send what can be sent within a time, leave the rest on disk, and give up the directory."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        try:
            if not await self.flush(timeout_s):
                self._log.warning("entries left on disk for the next start", bytes=self.pending_bytes)
        finally:
            self._journal.close()
            os.close(self._lock_fd)

    def _start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="spool")
        # What earlier lives left waits for no request.
        if self._journal.has_work:
            self._shipper.wake()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._shipper.run(), name="spool shipper")
            group.create_task(self._room.run(self._journal.find_room), name="spool room")


def _inherit(journal: Journal, leftovers: Leftovers, metrics: SpoolMetrics, log: Any) -> tuple[bytes, ...]:
    """Finish what earlier lives left unfinished; returns what settles it."""
    unfinished, unsettled = [], []
    unreadable = 0
    for log_id, intent in leftovers.unfinished.items():
        found = interrupted(intent)
        if found is None:
            unreadable += 1
            continue
        entry, settlement = found
        unfinished.append((log_id, intent, entry))
        if settlement:
            unsettled.append(settlement)
    journal.inherit(leftovers.segments, unfinished)
    metrics.interrupted.inc(len(unfinished))
    metrics.corrupt.inc(unreadable)
    if leftovers.segments:
        log.info(
            "spool of an earlier life found",
            files=len(leftovers.segments),
            bytes=journal.pending_bytes,
            interrupted=len(unfinished),
            damaged=leftovers.corrupt_count + unreadable,
            torn=leftovers.torn_count,
        )
    return tuple(unsettled)
