"""
Spool files: their names, and appending to one of them.

A record is one `write` to a file opened for appending. That survives the death of the process at any moment;
what a kill leaves half written is found by `record.scan`.
"""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["ActiveSegment", "Segment", "segments_in"]

_NAME = re.compile(r"(\d{12})-([0-9a-f]{8})\.seg")


@dataclass(slots=True, kw_only=True, eq=False)
class Segment:
    """
    A spool file.

    Attributes:
        path: Where it is.
        number: Its place among the files of its directory.
        salt: What the checksums of its records begin with.
        since_s: When its oldest final record was written, seconds since 1970.
        size: Its length in bytes.
        final_count: Entries in it that are to be recorded; not counted for files of an earlier life.
        finals: The entries themselves, while they are in memory as well. None: they are to be read.
        intents: Log ids whose intent stands in it.
        shipped: Whether the ledger has acknowledged its entries.
        unsynced_fd: Open descriptor, while the file is still to be forced to the medium.
    """

    path: Path
    number: int
    salt: int
    since_s: float
    size: int = 0
    final_count: int = 0
    finals: list[bytes] | None = None
    intents: list[str] = field(default_factory=list)
    shipped: bool = False
    unsynced_fd: int | None = None

    def sync(self) -> None:
        """Force the file to the medium. Blocks."""
        if self.unsynced_fd is not None:
            fd, self.unsynced_fd = self.unsynced_fd, None
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


def segments_in(directory: Path) -> list[Segment]:
    """List the spool files of a directory, oldest first."""
    found = []
    for path in directory.iterdir():
        match = _NAME.fullmatch(path.name)
        if match:
            state = path.stat()
            found.append(
                Segment(
                    path=path,
                    number=int(match[1]),
                    salt=int(match[2], 16),
                    since_s=state.st_mtime,
                    size=state.st_size,
                )
            )
    return sorted(found, key=lambda segment: segment.number)


class ActiveSegment:
    """
    The file that records are appended to. Made when it is constructed.

    Args:
        directory: Where to make it.
        number: Its place among the files there.
        now_s: Time of day.
        write: `os.write`, or what a test puts in its place.
    """

    def __init__(
        self, directory: Path, number: int, *, now_s: float, write: Callable[[int, bytes], int] = os.write
    ) -> None:
        salt = secrets.randbits(32)
        path = directory / f"{number:012d}-{salt:08x}.seg"
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._write = write
        self.segment = Segment(path=path, number=number, salt=salt, since_s=now_s, finals=[])

    def append(self, data: bytes) -> None:
        """
        Write records.

        Raises:
            OSError: The disk is full or broken; what was written of `data` is taken back.
        """
        written = 0
        try:
            while written < len(data):
                written += self._write(self._fd, data[written:])
        except OSError:
            if written:
                self._take_back()
            raise
        self.segment.size += len(data)

    def try_out(self, data: bytes) -> None:
        """
        Write a record and take it back. Whoever reads the file before that must be able to pass it over.

        Raises:
            OSError: The disk is full or broken.
        """
        self.append(data)
        self.segment.size -= len(data)
        self._take_back()

    def seal(self, *, sync: bool) -> Segment:
        """End the file. With `sync` its descriptor stays open for `Segment.sync`."""
        if sync:
            self.segment.unsynced_fd = self._fd
        else:
            os.close(self._fd)
        return self.segment

    def _take_back(self) -> None:
        """Cut off what the file is longer than it should be."""
        try:
            os.ftruncate(self._fd, self.segment.size)
        except OSError:  # a torn record stays, which readers pass over, and must not be cut out of later ones
            with suppress(OSError):
                self.segment.size = os.fstat(self._fd).st_size
