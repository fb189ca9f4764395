"""
The rehearsal's first process: it starts containers, and reaps everything.

It has one thread and imports the standard library only, so it may fork at any time. The engine asks it over a
socket, one JSON object a line: `{"start": 7, "file": …}`. It answers with `{"started": 7, "pid": …}` or
`{"started": 7, "error": …}`, and tells of every end: `{"ended": pid, "status": …}`, the status as of
`os.waitpid`. When it ends, the kernel kills all that is left in its PID namespace.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from deploy.rehearsal import syscalls
from deploy.rehearsal.container import Container, become

__all__ = ["run"]


def run(control: int) -> None:
    """
    Run the engine until it ends, and containers for it. To be called in process 1 of a PID namespace.

    Args:
        control: The descriptor of the socket to whoever started the rehearsal; the engine gets it.
    """
    wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # Whoever started the rehearsal gets the terminal's Ctrl-C as well, and stops it in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ours, theirs = socket.socketpair()
    ours.set_inheritable(False)
    engine = _start_engine(control, theirs.fileno())
    theirs.close()
    os.close(control)
    _Loop(ours, wake, engine).run()


def _start_engine(control: int, theirs: int) -> int:
    pid = os.fork()
    if pid == 0:
        for descriptor in (control, theirs):
            os.set_inheritable(descriptor, True)  # noqa: FBT003 - the name says what
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        argv = [sys.executable, "-m", "deploy.rehearsal.engine", str(control), str(theirs)]
        os.execv(sys.executable, argv)  # noqa: S606 - there is no shell on purpose
    return pid


class _Loop:
    def __init__(self, asked: socket.socket, wake: int, engine: int) -> None:
        self._asked = asked
        self._wake = wake
        self._engine = engine
        self._buffer = b""

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._asked, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._wake:
                    os.read(self._wake, 4096)
                else:
                    self._read()
            if self._reap():
                return

    def _read(self) -> None:
        received = self._asked.recv(65536)
        *lines, self._buffer = (self._buffer + received).split(b"\n")
        for line in lines:
            asked = json.loads(line)
            self._tell(
                {"started": asked["start"], **_start(asked["file"], (self._asked.fileno(), self._wake))}
            )

    def _reap(self) -> bool:
        """Return whether the engine ended."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == self._engine:
                    return True
                self._tell({"ended": pid, "status": os.waitstatus_to_exitcode(status)})
        return False

    def _tell(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self._asked.sendall(json.dumps(message).encode() + b"\n")


def _start(file: str, close: tuple[int, ...]) -> dict[str, Any]:
    """Start a container, and wait until its program runs or cannot."""
    container = Container.decoded(Path(file).read_text())
    reading, writing = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        signal.set_wakeup_fd(-1)
        os.close(reading)
        for descriptor in close:
            os.close(descriptor)
        _in_child(container, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        answer = told.read()
    os.waitpid(child, 0)
    pid, _, error = answer.decode().partition("\n")
    return {"error": error or "the child is gone"} if error or not pid else {"pid": int(pid)}


def _in_child(container: Container, writing: int) -> None:
    """
    Start the container's process as a child of `init`.

    This process is in between: only a child enters a new PID namespace, and `init` gets it as soon as this
    one ends.
    """
    try:
        if container.join:
            namespace = os.open(f"/proc/{container.join}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
            syscalls.setns(namespace, syscalls.CLONE_NEWPID)
        elif container.own_pids:
            syscalls.unshare(syscalls.CLONE_NEWPID)
        pid = os.fork()
        if pid:
            os.write(writing, f"{pid}\n".encode())
            os._exit(0)
        os.setsid()
        become(container)
    except BaseException as error:  # noqa: BLE001 - the other side tells it
        os.write(writing, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(127)
