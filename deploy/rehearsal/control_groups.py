"""
Memory limits: one control group for each container that has a limit, of either version of the interface.

They outlive their processes, so they are named after the process that removes them, and left-overs of one
that was killed are removed by the next.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

__all__ = ["VARIABLE", "Limits", "name_of", "remove", "remove_stale"]

VARIABLE: Final = "REHEARSAL_CONTROL_GROUP"
"""Names the rehearsal's control group to the engine."""

_PREFIX: Final = "rehearsal-"
_ROOT: Final = Path("/sys/fs/cgroup")
_VERSION_1: Final = "memory.limit_in_bytes"
_VERSION_2: Final = "memory.max"


def _parent() -> Path | None:
    """Return where groups with a memory limit are made, or None when this machine has no such place."""
    first = _ROOT / "memory"
    if (first / _VERSION_1).exists() and os.access(first, os.W_OK):
        return first
    controllers = _ROOT / "cgroup.subtree_control"
    if controllers.exists() and "memory" in controllers.read_text().split() and os.access(_ROOT, os.W_OK):
        return _ROOT
    return None


def name_of(pid: int) -> str:
    """Return the name of the control group of a rehearsal, by the process that removes it."""
    return f"{_PREFIX}{pid}"


def remove(name: str) -> None:
    """Remove the groups of a rehearsal that has ended."""
    parent = _parent()
    if parent is None or not (parent / name).exists():
        return
    for group in [*(parent / name).glob("*/"), parent / name]:
        with contextlib.suppress(OSError):
            group.rmdir()


def remove_stale() -> None:
    """Remove the groups of rehearsals whose keeper is gone."""
    parent = _parent()
    for group in () if parent is None else parent.glob(f"{_PREFIX}*/"):
        if not Path("/proc", group.name.removeprefix(_PREFIX)).exists():
            remove(group.name)


class Limits:
    """
    The groups of one rehearsal.

    Args:
        name: The name of its parent group.
    """

    def __init__(self, name: str) -> None:
        parent = _parent()
        self._top = None if parent is None else parent / name
        if self._top is None:
            return
        self._top.mkdir(exist_ok=True)
        if (self._top / _VERSION_2).exists():
            with contextlib.suppress(OSError):
                (self._top / "cgroup.subtree_control").write_text("+memory")

    @property
    def available(self) -> bool:
        """Whether memory limits are enforced."""
        return self._top is not None

    def group(self, name: str, max_bytes: int) -> str | None:
        """Make a group, or change it, and return the file that a process joins it with."""
        if self._top is None:
            return None
        group = self._top / name
        group.mkdir(exist_ok=True)
        limit = group / _VERSION_2
        (limit if limit.exists() else group / _VERSION_1).write_text(str(max_bytes))
        return str(group / "cgroup.procs")

    def drop(self, name: str) -> None:
        """Remove a group whose processes have ended."""
        if self._top is not None:
            with contextlib.suppress(OSError):
                (self._top / name).rmdir()

    def peak_bytes(self, name: str) -> int | None:
        """Return the most that a group has used."""
        for file in ("memory.max_usage_in_bytes", "memory.peak"):
            if self._top is not None and (self._top / name / file).exists():
                return int((self._top / name / file).read_text())
        return None
