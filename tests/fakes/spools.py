"""
Spools for tests: opened with settings that leave the shipping to the test, on a disk that can fill up or die.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import structlog
from prometheus_client import CollectorRegistry

from headrace.ledger.v1 import log_entry_pb2
from kit.clock import SystemClock
from services.edge.spool.config import SpoolConfig
from services.edge.spool.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

MANUAL_S = 3600.0  # an interval that no test reaches: the test ships itself


class Killed(BaseException):
    """The process died in the middle of a write."""


class Disk:
    """
    A disk that writes until something happens.

    Attributes:
        room: Bytes that still fit; None: any number.
        die_in: Bytes that are still written before the process dies; None: it lives.
    """

    def __init__(self) -> None:
        self.room: int | None = None
        self.die_in: int | None = None

    def write(self, fd: int, data: bytes) -> int:
        """Write like `os.write`, which on a full disk writes what fits and fails the next time."""
        if self.die_in is not None:
            if self.die_in < len(data):
                os.write(fd, data[: self.die_in])
                raise Killed
            self.die_in -= len(data)
        if self.room is None:
            return os.write(fd, data)
        if self.room == 0:
            raise OSError(28, "No space left on device")
        written = os.write(fd, data[: self.room])
        self.room -= written
        return written


def entry(log_id: str, *, response: bytes = b"", status: int = 200) -> bytes:
    """Make a serialised final entry."""
    made = log_entry_pb2.LogEntry(id=log_id, status=status, outcome=log_entry_pb2.OUTCOME_SUCCESS)
    if response:
        made.payload.response = response
    return made.SerializeToString()


def intent(log_id: str) -> bytes:
    """Make a serialised intent."""
    return log_entry_pb2.LogEntry(id=log_id, path="compat/chat/completions").SerializeToString()


async def open_spool(
    root: Path,
    sink: Callable[[Sequence[bytes]], Awaitable[None]],
    *,
    name: str = "edge-0",
    config: SpoolConfig | None = None,
    registry: CollectorRegistry | None = None,
    write: Callable[[int, bytes], int] = os.write,
) -> Spool:
    """Open a spool."""
    return await Spool.open(
        root=root,
        name=name,
        send=sink,
        config=config or SpoolConfig(interval_s=MANUAL_S),
        clock=SystemClock(),
        registry=registry or CollectorRegistry(),
        log=structlog.get_logger(),
        write=write,
    )


def kill(spool: Spool) -> None:
    """End a spool as SIGKILL would: nothing is flushed, and the lock is gone."""
    assert spool._task is not None
    spool._task.cancel()
    os.close(spool._lock_fd)
