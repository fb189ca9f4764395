"""
The system calls that Python 3.11 has no function for: namespaces, mounts, capabilities, and `prctl`.

Linux only: importing this works everywhere, calling does not.
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct
from typing import Any, Final

__all__ = [
    "CLONE_NEWIPC", "CLONE_NEWNET", "CLONE_NEWNS", "CLONE_NEWPID", "CLONE_NEWUTS",
    "MS_BIND", "MS_NODEV", "MS_NOEXEC", "MS_NOSUID", "MS_PRIVATE", "MS_RDONLY", "MS_REC", "MS_REMOUNT",
    "die_with_parent", "drop_bounding_set", "mount", "no_new_privileges",
    "pivot_root", "set_capabilities", "set_hostname", "setns", "unmount", "unshare",
]  # fmt: skip

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18

_MNT_DETACH: Final = 2
_PR_SET_PDEATHSIG: Final = 1
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_CAPABILITY_VERSION_3: Final = 0x20080522
# The numbers differ between machines; the C library has no function for these two.
_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}
_CAPSET: Final = {"x86_64": 126, "aarch64": 91}


@functools.cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Give the calling thread namespaces of its own; a new PID namespace is for its children only."""
    _checked(_libc().unshare(flags), "unshare")


def setns(descriptor: int, kind: int) -> None:
    """Have the calling thread enter the namespace that a descriptor stands for."""
    _checked(_libc().setns(descriptor, kind), "setns")


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """Mount something; the manual says how."""
    what = f"mount {kind or source} on {target}"
    result = _libc().mount(
        source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), data.encode() or None
    )
    _checked(result, what)


def unmount(target: str) -> None:
    """Take a mount away, at once for who looks it up, later for who uses it."""
    _checked(_libc().umount2(target.encode(), _MNT_DETACH), f"unmount {target}")


def pivot_root(new: str, old: str) -> None:
    """Make a mount the root of this mount namespace, and put the old root elsewhere."""
    _checked(_libc().syscall(_PIVOT_ROOT[os.uname().machine], new.encode(), old.encode()), "pivot_root")


def _prctl(option: int, argument: int = 0, third: int = 0) -> None:
    result = _libc().prctl(
        option, ctypes.c_ulong(argument), ctypes.c_ulong(third), ctypes.c_ulong(0), ctypes.c_ulong(0)
    )
    _checked(result, f"prctl {option}")


def die_with_parent(signal_number: int) -> None:
    """Have this process get a signal when the thread that made it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal_number)


def no_new_privileges() -> None:
    """Let no program that this process executes gain rights."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_bounding_set(keep: frozenset[int]) -> None:
    """Take every capability but some out of what this process and its children can ever have."""
    last = int(open("/proc/sys/kernel/cap_last_cap").read())  # noqa: SIM115, PTH123 - a child that is about to execute
    for capability in range(last + 1):
        if capability not in keep:
            _prctl(_PR_CAPBSET_DROP, capability)


def set_capabilities(capabilities: frozenset[int]) -> None:
    """Have exactly these capabilities: permitted, effective and inheritable."""
    mask = sum(1 << capability for capability in capabilities)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = struct.pack("=6I", low, low, low, high, high, high)
    _checked(_libc().syscall(_CAPSET[os.uname().machine], header, data), "capset")


def set_hostname(name: str) -> None:
    """Name the host of this UTS namespace."""
    encoded = name.encode()
    _checked(_libc().sethostname(encoded, len(encoded)), "sethostname")
