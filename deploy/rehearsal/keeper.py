"""
Starts a rehearsal in namespaces of its own, and cleans up after it: `python -m deploy.rehearsal.keeper 5
DIR`.

Whoever starts it keeps the other end of the socket whose number is the argument. When that process ends,
however it ends, this one is told by the kernel, kills the rehearsal's first process and with it all others,
and removes what the kernel does not: control groups. When this one is killed, the kernel kills the first
process likewise.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from deploy.rehearsal import control_groups, init, syscalls

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["main"]

_NAMESPACES = (
    syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWNET
    | syscalls.CLONE_NEWPID
    | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWUTS
)


def main(control: int) -> int:
    """Run a rehearsal until it ends; return the status to end with."""
    # This process is not in the rehearsal's PID namespace, so its own number is one that the machine knows.
    group = control_groups.name_of(os.getpid())
    control_groups.remove_stale()
    syscalls.unshare(_NAMESPACES)
    child = os.fork()
    if child == 0:
        _first_process(control, group)
    os.close(control)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    syscalls.die_with_parent(signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    control_groups.remove(group)
    return min(abs(os.waitstatus_to_exitcode(status)), 1)


def _first_process(control: int, group: str) -> None:
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
        syscalls.mount("proc", "/proc", "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
        os.environ[control_groups.VARIABLE] = group
        init.run(control)
    except BaseException as error:  # noqa: BLE001 - nothing of the parent's may run here
        os.write(2, f"the rehearsal's first process: {type(error).__name__}: {error}\n".encode())
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1])))
