"""
One `headrace up` for one data directory, on ports that are free, in a clean run directory.

The lock is the kernel's: it is gone when its holder is, however that ended.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kit import rundir

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["StartError", "check_port", "claim_sockets", "hold", "holder", "sweep"]


class StartError(Exception):
    """It cannot be started; the message says why and what to do."""


@contextmanager
def hold(data_dir: Path) -> Iterator[None]:
    """
    Be the only one on a data directory.

    Raises:
        StartError: Another one is, or the directory cannot be used.
    """
    path = data_dir / "up.lock"
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(
            f"The data directory {data_dir} cannot be used: {error.strerror}. "
            "Give Headrace one of its own with HEADRACE_DATA_DIR."
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            raise StartError(
                f"Headrace already runs on {data_dir}{f' (process {pid})' if pid else ''}. "
                "Stop that one, or set HEADRACE_DATA_DIR, HEADRACE_PORT and HEADRACE_GRPC_PORT for this one."
            ) from None
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
        os.truncate(descriptor, 0)
    finally:
        os.close(descriptor)


def holder(data_dir: Path) -> int | None:
    """Return the process id of the `headrace up` that runs on a data directory; None when none does."""
    try:
        descriptor = os.open(data_dir / "up.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        return int(text) if text.isdecimal() else 0
    finally:
        os.close(descriptor)
    return None


def check_port(host: str, port: int, setting: str) -> None:
    """
    See that a port can be listened on.

    Raises:
        StartError: It cannot; the message names the setting to change.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except socket.gaierror as error:
        raise StartError(
            f"HEADRACE_HOST is not an address of this machine: {host!r} ({error.strerror})"
        ) from error
    except OSError as error:
        raise StartError(_port_problem(host, port, setting, error)) from error


def _port_problem(host: str, port: int, setting: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken by another program. Stop it, or set {setting} to another."
    if error.errno == errno.EACCES:
        return f"Port {port} needs rights that this user does not have. Choose one above 1023 with {setting}."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"HEADRACE_HOST is not an address of this machine: {host!r}."
    return f"Port {port} on {host} cannot be listened on: {error.strerror}. Choose another with {setting}."


def claim_sockets(run_dir: Path) -> None:
    """
    Make the run directory, and remove sockets that nobody answers on any more.

    Raises:
        StartError: The directory cannot be used, or somebody does answer.
    """
    try:
        rundir.prepare(run_dir)
        for path in sorted(run_dir.glob("*.sock")):
            rundir.claim(path)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"A process of an earlier start still answers on {error.filename}. "
                "Stop it (`headrace doctor` shows what runs), then start again."
            ) from error
        raise StartError(f"The run directory {run_dir} cannot be used: {error}.") from error


def sweep(run_dir: Path, *files: Path) -> None:
    """Remove what a stop leaves: sockets of what was killed, files of ours, the directory if it is empty."""
    for path in (*run_dir.glob("*.sock"), *files):
        path.unlink(missing_ok=True)
    try:
        run_dir.rmdir()
    except OSError:
        return  # somebody put something of their own there
