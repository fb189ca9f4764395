"""
Who owns which spool directory: one process each, by a lock that dies with the process.

A directory whose owner is gone is taken over by moving it, whole, into one's own: a rename is atomic, so at
no moment has a file no owner or two.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SpoolInUseError", "adopt", "claim"]

ADOPTED = "adopted-"
_RETRY_S = 0.05


class SpoolInUseError(Exception):
    """Another process has the directory."""


def claim(directory: Path, *, patience_s: float) -> int:
    """
    Take a directory, making it where it is missing. Blocks.

    Args:
        directory: Which one.
        patience_s: How long to wait for an owner that is about to end.

    Returns:
        A descriptor; the directory is owned until it is closed.

    Raises:
        SpoolInUseError: Its owner lives.
    """
    deadline_s = time.monotonic() + patience_s
    while True:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = _lock(directory)
        if fd is not None:
            return fd
        if time.monotonic() > deadline_s:
            raise SpoolInUseError(f"the spool {directory} is in use by another process")
        time.sleep(_RETRY_S)


def adopt(root: Path, own: Path) -> None:
    """Move the directories beside one's own that nobody owns into one's own."""
    for other in sorted(root.iterdir()):
        if other == own or not other.is_dir():
            continue
        fd = _lock(other)
        if fd is not None:
            other.rename(own / f"{ADOPTED}{uuid4().hex}")
            os.close(fd)


def _lock(directory: Path) -> int | None:
    """Lock a directory unless somebody else has it, or moved it away meanwhile."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), os.stat(directory)):  # noqa: PTH116 - samestat's counterpart
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)
    return None
