"""
The spool on disk: begins, finishes, seals and retires. Synchronous and without a clock of its own.

Invariants, which recovery relies on:
  1. An id begun and not finished has its intent in a file that is still there.
  2. Files are deleted oldest first, after the ledger acknowledged their entries and after the intents in them
     that are still open were written again. (On a full disk a file may outlive a younger one. An intent may
     then outlive its final record, which the ledger has by then.)
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from kit.errors import GatewayError, Reason
from services.edge.spool.entry import without_payload
from services.edge.spool.record import Kind, encode
from services.edge.spool.segment import ActiveSegment, Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

    from kit.clock import Clock
    from services.edge.spool.config import SpoolConfig
    from services.edge.spool.metrics import SpoolMetrics
    from services.edge.spool.room import Room

__all__ = ["Journal"]

# Latest sealed files whose entries stay in memory. The ledger has them within moments as a rule, and reading
# them back would take longer than all else here.
_REMEMBERED: Final = 2
# What must fit on the disk, beside all else, before requests come again: more than one needs, as a rule.
_TRIAL_BYTES: Final = 1024 * 1024
# How much of the hard limit may be in use then.
_AMPLE: Final = 0.9
_FULL: Final = "The spool holds all that it may: the ledger has not taken it yet."


class Journal:
    """
    The files of one spool directory.

    Args:
        directory: Owned by this process.
        first_number: Number of the first file to make.
        config: Limits and sizes.
        clock: Tells the age of records.
        metrics: Counts refusals, failed writes and dropped payloads.
        room: Told when there is none.
        log: Where a full disk is told.
        write: `os.write`, or what a test puts in its place.
    """

    def __init__(
        self,
        directory: Path,
        *,
        first_number: int,
        config: SpoolConfig,
        clock: Clock,
        metrics: SpoolMetrics,
        room: Room,
        log: Any,
        write: Callable[[int, bytes], int] = os.write,
    ) -> None:
        self._directory = directory
        self._next_number = first_number
        self._config = config
        self._clock = clock
        self._metrics = metrics
        self._room = room
        self._log = log
        self._write = write
        self._active: ActiveSegment | None = None
        self._sealed: deque[Segment] = deque()
        self._sealed_bytes = 0
        self._open: dict[str, bytes] = {}
        self._unwritten: dict[str, bytes] = {}
        self._disk_failed = False

    @property
    def pending_bytes(self) -> int:
        """Bytes on disk."""
        return self._sealed_bytes + (self._active.segment.size if self._active else 0)

    @property
    def oldest_age_s(self) -> float:
        """Age of the oldest file that holds an entry to be sent; zero when there is none."""
        waiting = [segment.since_s for segment in self._sealed if not segment.shipped]
        if self._active is not None and self._active.segment.final_count:
            waiting.append(self._active.segment.since_s)
        return max(0.0, self._clock.now_s() - min(waiting)) if waiting else 0.0

    @property
    def open_count(self) -> int:
        """Requests begun and not finished."""
        return len(self._open.keys() - self._unwritten.keys())

    @property
    def unwritten_count(self) -> int:
        """Entries that found no room on the disk and wait in memory."""
        return len(self._unwritten)

    @property
    def has_work(self) -> bool:
        """Whether there is anything to be sent or cleared away."""
        active = self._active is not None and self._active.segment.final_count > 0
        return active or bool(self._sealed) or bool(self._unwritten)

    def begin(self, log_id: str, entry: bytes) -> None:
        """
        Write that a request was accepted.

        Raises:
            GatewayError: OVERLOADED; there is no room to record the request, so it must not run.
        """
        if self.pending_bytes > self._config.hard_limit_bytes:
            self._room.lacks(_FULL, is_here=False)
            raise self._refusal()
        if self._unwritten:
            raise self._refusal()
        try:
            self._append(Kind.INTENT, log_id, entry)
        except OSError as error:
            raise self._refusal() from error
        self._open[log_id] = entry

    def amend(self, log_id: str, entry: bytes) -> None:
        """Write anew what is known of a request that still runs; without room, what was written stays."""
        # What is over goes first. While the ledger is away it needs the room, half of which is left to it.
        tight = self._unwritten or 2 * self.pending_bytes > self._config.soft_limit_bytes
        if log_id not in self._open or tight:
            return
        try:
            self._append(Kind.INTENT, log_id, entry)
        except OSError:
            return
        self._open[log_id] = entry

    def finish(self, log_id: str, entry: bytes) -> None:
        """Write what is to be recorded of a request. Never fails, never loses the entry."""
        tight = self.pending_bytes > self._config.soft_limit_bytes
        if tight or len(entry) > self._config.max_entry_bytes:
            entry = self._lightened(entry)
        try:
            self._append(Kind.FINAL, log_id, entry)
        except OSError:
            # Its intent stays open until the ledger has it: should this process die now, then the request is
            # recorded as interrupted instead of not at all.
            self._unwritten[log_id] = self._lightened(entry)
            return
        self._open.pop(log_id, None)

    def discard(self, log_id: str) -> None:
        """Write that a request is not to be recorded."""
        if self._open.pop(log_id, None) is not None:
            try:
                self._append(Kind.DISCARD, log_id, b"")
            except OSError:  # told already; at worst a request nobody wanted recorded is, after a crash
                return

    def inherit(self, segments: Iterable[Segment], unfinished: Iterable[tuple[str, bytes, bytes]]) -> None:
        """Take over files of an earlier life, and finish (id, intent, entry) what it left unfinished."""
        for segment in segments:
            self._sealed.append(segment)
            self._sealed_bytes += segment.size
        for log_id, intent, entry in unfinished:
            self._open[log_id] = intent
            self.finish(log_id, entry)

    def oldest(self, *, besides: Collection[Segment] = ()) -> Segment | None:
        """Return the oldest sealed file whose entries have not been acknowledged, besides some."""
        waiting = (segment for segment in self._sealed if not segment.shipped)
        return next((segment for segment in waiting if segment not in besides), None)

    def unsynced(self) -> list[Segment]:
        """Return the sealed files that are still to be forced to the medium."""
        return [segment for segment in self._sealed if segment.unsynced_fd is not None]

    def seal(self) -> None:
        """End the active file if it holds anything to send."""
        if self._active is not None and self._active.segment.final_count:
            self._rotate()

    def clear(self) -> None:
        """Delete the files that were acknowledged, oldest first; open intents in them are written anew."""
        for segment in [segment for segment in self._sealed if segment.shipped]:
            try:
                self._carry_over(segment)
            except OSError as error:  # no room: younger files with nothing to carry over may make some
                self._failed(error)
                continue
            segment.sync()  # closes the descriptor
            segment.path.unlink(missing_ok=True)
            self._sealed.remove(segment)
            self._sealed_bytes -= segment.size
            self._remove_adopted(segment.path.parent)

    def unwritten(self) -> dict[str, bytes]:
        """Return the entries in memory, after trying once more to write them."""
        for log_id, entry in list(self._unwritten.items()):
            try:
                self._append(Kind.FINAL, log_id, entry)
            except OSError:
                break
            self.acknowledge((log_id,))
        return dict(self._unwritten)

    def acknowledge(self, log_ids: Iterable[str]) -> None:
        """Forget entries in memory that are safe now."""
        for log_id in log_ids:
            if self._unwritten.pop(log_id, None) is not None:
                self._open.pop(log_id, None)

    def find_room(self) -> bool:
        """Tell whether there is ample room: for what waits in memory, which is written, and then some."""
        if self.unwritten() or self.pending_bytes > _AMPLE * self._config.hard_limit_bytes:
            return False
        try:
            active = self._active or self._new_segment()
            active.try_out(encode(Kind.DISCARD, "", bytes(_TRIAL_BYTES), salt=active.segment.salt))
        except OSError as error:
            self._failed(error)
            return False
        self._disk_failed = False
        return True

    def close(self) -> None:
        """Close the files, and delete the active one when nothing in it matters any more."""
        if self._active is not None:
            segment = self._active.seal(sync=self._config.fsync)
            segment.sync()
            if not segment.final_count and not self._open and not self._sealed:
                segment.path.unlink(missing_ok=True)
            self._active = None
        for segment in self._sealed:
            segment.sync()

    def _append(self, kind: Kind, log_id: str, entry: bytes) -> None:
        try:
            active = self._active or self._new_segment()
            active.append(encode(kind, log_id, entry, salt=active.segment.salt))
        except OSError as error:
            self._failed(error)
            raise
        self._disk_failed = False
        if kind is Kind.INTENT:
            active.segment.intents.append(log_id)
        elif kind is Kind.FINAL:
            if not active.segment.final_count:
                active.segment.since_s = self._clock.now_s()
            active.segment.final_count += 1
            if active.segment.finals is not None:
                active.segment.finals.append(entry)
        if active.segment.size >= self._config.segment_bytes:
            self._rotate()

    def _failed(self, error: OSError) -> None:
        self._metrics.failed_writes.inc()
        self._room.lacks(f"The spool cannot be written: {error.strerror}.", is_here=True)
        if not self._disk_failed:
            self._disk_failed = True
            self._log.error("spool cannot be written", error=error.strerror, bytes=self.pending_bytes)

    def _new_segment(self) -> ActiveSegment:
        number, self._next_number = self._next_number, self._next_number + 1
        self._active = ActiveSegment(self._directory, number, now_s=self._clock.now_s(), write=self._write)
        return self._active

    def _rotate(self) -> None:
        if self._active is not None:
            segment = self._active.seal(sync=self._config.fsync)
            self._sealed.append(segment)
            self._sealed_bytes += segment.size
            self._active = None
            if len(self._sealed) > _REMEMBERED:
                self._sealed[-1 - _REMEMBERED].finals = None

    def _carry_over(self, segment: Segment) -> None:
        still_open = [log_id for log_id in dict.fromkeys(segment.intents) if log_id in self._open]
        if not still_open:
            return
        active = self._active or self._new_segment()
        salt = active.segment.salt
        active.append(b"".join(encode(Kind.INTENT, id_, self._open[id_], salt=salt) for id_ in still_open))
        active.segment.intents.extend(still_open)
        segment.intents.clear()

    def _lightened(self, entry: bytes) -> bytes:
        lighter = without_payload(entry)
        if lighter is None:
            return entry
        self._metrics.dropped_payloads.inc()
        return lighter

    def _refusal(self) -> GatewayError:
        self._metrics.refused.inc()
        return GatewayError(
            Reason.OVERLOADED,
            "There is no room left to record requests.",
            retry_after_s=1.0,
            resource="spool",
        )

    def _remove_adopted(self, directory: Path) -> None:
        if directory != self._directory and not any(directory.iterdir()):
            directory.rmdir()
