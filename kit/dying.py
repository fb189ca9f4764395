"""How a child process is tied to its parent, so that it cannot outlive it. Linux only."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["die_with"]

_PR_SET_PDEATHSIG: Final = 1


def die_with(parent: int) -> Callable[[], None] | None:
    """
    Return what a child runs first so that the kernel kills it when its parent is gone.

    The kernel ties the parent's death to that of the thread that forks, so it must be one that lives as long
    as the child should.

    Args:
        parent: Process id of the parent.
    """
    if sys.platform != "linux":
        return None
    # Looked up here: after the fork, no more may happen than two system calls.
    prctl = ctypes.CDLL(None).prctl

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return arm
