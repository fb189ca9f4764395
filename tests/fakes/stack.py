"""
A whole Headrace, started as a user starts it: `python -m cli up` with settings from the environment.

Each stack has its own data directory and ports, so several run side by side. Stopping one tells what it left
behind, for tests to assert that it is nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil

from kit import rundir
from tests.fakes.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parent.parent.parent
Topology = Literal["split", "inline"]


class StackError(RuntimeError):
    """The stack did not do what every stack must do; the message has its log's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What to start."""

    topology: Topology = "split"
    local_model: bool = False
    envoy: bool = True
    workers: int = 1
    env: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()

    def arguments(self) -> list[str]:
        """Give the arguments of `headrace up`."""
        return [
            *(["--inline"] if self.topology == "inline" else []),
            *(["--workers", str(self.workers)] if self.workers != 1 else []),
            *([] if self.local_model else ["--no-local-model"]),
            *([] if self.envoy else ["--no-envoy"]),
            *(argument for file in self.files for argument in ("-f", str(file))),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """How a stack ended, and what it left."""

    exit_status: int
    took_s: float
    processes: tuple[str, ...]
    sockets: tuple[str, ...]
    open_ports: tuple[int, ...]

    def assert_clean(self) -> None:
        """Fail unless it ended well and left nothing."""
        assert self.exit_status == 0
        assert self.processes == ()
        assert self.sockets == ()
        assert self.open_ports == ()


class Stack:
    """A running Headrace."""

    account = "local"

    def __init__(self, setup: Setup, directory: Path) -> None:
        self.setup = setup
        self.data_dir = directory / "data"
        self.run_dir = rundir.resolve(self.data_dir)
        self.log_path = directory / "up.log"
        self.port, self.grpc_port = free_ports(2)
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.grpc_target = f"127.0.0.1:{self.grpc_port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: dict[int, psutil.Process] = {}

    @property
    def token(self) -> str:
        """Return the token that was made on the first start."""
        return (self.data_dir / "token").read_text().strip()

    @property
    def openai_base_url(self) -> str:
        """Return what `OPENAI_BASE_URL` is set to."""
        return f"{self.base_url}/v1"

    def gateway_url(self, gateway: str = "default", *, account: str | None = None) -> str:
        """Return the base of a gateway's own paths: append `/compat/…` or `/{provider}/…`."""
        return f"{self.base_url}/v1/{account or self.account}/{gateway}"

    @property
    def logs_url(self) -> str:
        """Return where the log entries of the default gateway are listed."""
        return f"{self.base_url}/client/v4/accounts/{self.account}/ai-gateway/gateways/default/logs"

    def start(self, *, timeout_s: float = 120) -> None:
        """
        Start it and wait until it is ready.

        Raises:
            StackError: it ended, or was not ready in time.
        """
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cli", "up", *self.setup.arguments()],
                cwd=ROOT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # As a terminal does it: signals to the group reach `up` alone, not the tests.
                start_new_session=True,
            )
        self.wait_ready(timeout_s=timeout_s)

    def environment(self) -> dict[str, str]:
        """Give the environment that the stack runs in: this one without settings of ours, plus its own."""
        inherited = {
            key: value for key, value in os.environ.items() if not key.startswith(("HEADRACE_", "OTEL_"))
        }
        return {
            **inherited,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "gen")]),
            "HEADRACE_DATA_DIR": str(self.data_dir),
            "HEADRACE_PORT": str(self.port),
            "HEADRACE_GRPC_PORT": str(self.grpc_port),
            **self.setup.env,
        }

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def is_ready(self) -> bool:
        """Ask the public port whether every service answers."""
        try:
            with urllib.request.urlopen(f"{self.base_url}/readyz", timeout=2) as response:
                return bool(response.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def wait_ready(self, *, timeout_s: float = 120) -> float:
        """
        Wait until every service answers.

        Returns:
            How long it took.

        Raises:
            StackError: it ended, or was not ready in time.
        """
        assert self._process is not None
        began = time.monotonic()
        while not self.is_ready():
            if (status := self._process.poll()) is not None:
                raise StackError(f"`headrace up` ended with {status}:\n{self.log_end()}")
            if time.monotonic() - began > timeout_s:
                raise StackError(f"not ready in {timeout_s} s:\n{self.log_end()}")
            time.sleep(0.05)
        self.processes()
        return time.monotonic() - began

    def processes(self) -> dict[str, psutil.Process]:
        """Give the processes that `up` has started, by name: `edge-0`, `auth`, …, `envoy`, `engine`."""
        assert self._process is not None
        named = {}
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self._process.pid).children(recursive=True):
                self._seen[process.pid] = process
                with contextlib.suppress(psutil.Error):
                    named[_name(process)] = process
        return named

    def cli(self, *arguments: str) -> str:
        """
        Run a command of `headrace` beside this stack, and give what it prints.

        Raises:
            StackError: it failed.
        """
        done = subprocess.run(
            [sys.executable, "-m", "cli", *arguments],
            cwd=ROOT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode != 0:
            raise StackError(f"`headrace {' '.join(arguments)}` ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def kill(self, name: str) -> int:
        """
        Kill a process as `kill -9` does.

        Returns:
            Its process id.
        """
        process = self.processes()[name]
        process.kill()
        # Until it is gone its sockets still take what nobody will answer.
        process.wait(timeout=10)
        return process.pid

    def rss_bytes(self) -> dict[str, int]:
        """Give the resident memory of every process."""
        sizes = {}
        for name, process in self.processes().items():
            with contextlib.suppress(psutil.Error):
                sizes[name] = process.memory_info().rss
        return sizes

    def log(self) -> str:
        """Give everything that was printed."""
        return self.log_path.read_text(errors="replace")

    def errors(self) -> list[str]:
        """Give the lines by which a service said that something was wrong with itself."""
        return [line for line in self.log().splitlines() if '"level":"error"' in line]

    def wait_for_line(self, part: str, *, timeout_s: float = 10) -> str:
        """
        Give the line with some text in it as soon as it was printed.

        Raises:
            StackError: there is none in time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            for line in self.log().splitlines():
                if part in line:
                    return line
            if time.monotonic() > deadline:
                raise StackError(f"no line with {part!r} after {timeout_s} s:\n{self.log_end()}")
            time.sleep(0.05)

    def log_end(self, *, lines: int = 60) -> str:
        """Give the last lines that were printed."""
        return "\n".join(self.log().splitlines()[-lines:])

    def stop(self, number: signal.Signals = signal.SIGTERM, *, timeout_s: float = 15) -> Stopped:
        """Stop it by a signal, and tell how it ended and what it left. Kills what does not go."""
        assert self._process is not None
        self.processes()
        began = time.monotonic()
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self.wait_stopped(began=began, timeout_s=timeout_s)

    def wait_stopped(self, *, began: float, timeout_s: float = 15) -> Stopped:
        """Wait for the end after a signal that was sent at `began` (`time.monotonic()`)."""
        assert self._process is not None
        try:
            status = self._process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        took_s = time.monotonic() - began
        left = [
            process for process in self._seen.values() if process.is_running() and not _is_zombie(process)
        ]
        stopped = Stopped(
            exit_status=status,
            took_s=took_s,
            processes=tuple(sorted(_describe(process) for process in left)),
            sockets=tuple(sorted(self._sockets())),
            open_ports=tuple(port for port in (self.port, self.grpc_port) if _is_open(port)),
        )
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        return stopped

    def _sockets(self) -> Iterator[str]:
        for directory in {self.data_dir, self.run_dir}:
            if directory.exists():
                for path in directory.rglob("*"):
                    if stat.S_ISSOCK(path.lstat().st_mode):
                        yield str(path)


def _name(process: psutil.Process) -> str:
    # The supervisor tells each of its processes its name. What those start, such as the engine of the local
    # model, has none.
    return process.environ().get("HEADRACE_PROCESS") or "engine"


def _describe(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return f"{process.pid} {' '.join(process.cmdline())}"
    return str(process.pid)


def _is_zombie(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return True


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
