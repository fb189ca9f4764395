"""
Envoy as a child process, and its successor beside it.

A hot restart starts a second Envoy, which takes the listening sockets over from the first; that one finishes
its requests and is told to end by its successor. The two find each other by files in the run directory and a
few bytes of shared memory. Ending the old one from outside would bring its successor down: it waits for
answers from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from deploy.envoy.binary import envoy_path
from deploy.envoy.front import front_door
from deploy.envoy.render import files, render
from kit.dying import die_with

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.envoy.config import EnvoyConfig
    from kit.runtime_config import RuntimeConfig

__all__ = ["Envoy", "EnvoyRefusedError", "Place", "config_path", "leftovers"]

_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108  # a name of the kernel's, not a file that we make
# Short, because Envoy adds up to thirty characters (see `kit.rundir`).
_SOCKETS: Final = "h"
_BASE_ID: Final = "envoy.base-id"
# Over how long the old Envoy asks its clients, one after the other, to connect again.
_DRAIN_S: Final = 10


class EnvoyRefusedError(Exception):
    """Envoy does not take its configuration; the message is what it says."""


@dataclass(frozen=True, slots=True)
class Place:
    """
    What one installation's Envoys have in common.

    Attributes:
        config: Where Envoy listens and how it runs.
        runtime: Where files and services are.
        env: The environment.
        output: Descriptor that Envoy writes its log and its access log to.
    """

    config: EnvoyConfig
    runtime: RuntimeConfig
    env: Mapping[str, str]
    output: int

    def write(self) -> None:
        """
        Write the configuration, and the files that it names.

        Raises:
            TemplateError: An address among the settings is malformed.
            OSError: The run directory cannot be written.
        """
        front = front_door(self.config, self.runtime, self.env)
        for path, text in {**files(front), config_path(self.runtime): render(front)}.items():
            _replace(path, text)

    @property
    def can_hand_over(self) -> bool:
        """Whether there is shared memory, without which no Envoy can follow another."""
        return os.access(_SHARED_MEMORY, os.W_OK)

    def argv(self, epoch: int) -> tuple[str, ...]:
        """Return the command line of the Envoy that is the so-manyeth."""
        return (
            str(envoy_path()),
            "--config-path",
            str(config_path(self.runtime)),
            *self._kinship(epoch),
            "--concurrency",
            str(self.config.envoy_concurrency),
            "--log-level",
            self.config.envoy_log_level,
            "--log-format",
            "envoy [%l] %n: %v",
            "--file-flush-interval-msec",
            "1000",
        )

    def _kinship(self, epoch: int) -> tuple[str, ...]:
        if not self.can_hand_over:
            return ("--disable-hot-restart",)
        run_dir = self.runtime.run_dir
        kinship: tuple[str, ...]
        if epoch:
            kinship = ("--base-id", _base_id(run_dir), "--restart-epoch", str(epoch))
        else:
            # A free number, so that installations on one machine have nothing to do with one another.
            kinship = ("--use-dynamic-base-id", "--base-id-path", str(run_dir / _BASE_ID))
        return (
            *kinship,
            "--socket-path",
            str(run_dir / _SOCKETS),
            "--drain-time-s",
            str(_DRAIN_S),
            "--parent-shutdown-time-s",
            str(max(_DRAIN_S + 1, round(self.config.envoy_restart_grace_s))),
        )

    async def check(self) -> None:
        """
        Have Envoy itself check the configuration that was written.

        Raises:
            EnvoyRefusedError: It does not take it.
        """
        argv = (str(envoy_path()), "--mode", "validate", "-l", "error", "-c", str(config_path(self.runtime)))
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *argv, env=self._environment(), stdout=pipe, stderr=pipe
        )
        try:
            _, complaint = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode != 0:
            raise EnvoyRefusedError(complaint.decode(errors="replace").strip()[-1000:])

    async def start(self, epoch: int) -> Envoy:
        """
        Start an Envoy. Must be called in the main thread; see `kit.dying`.

        Raises:
            OSError: It cannot be started.
        """
        process = await asyncio.create_subprocess_exec(
            *self.argv(epoch),
            env=self._environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
            # A terminal signals its whole group, and when Envoy stops is ours to say.
            start_new_session=True,
            preexec_fn=die_with(os.getpid()),
        )
        return Envoy(process, epoch)

    def clean(self) -> None:
        """Remove what Envoys of an earlier life left, here and in shared memory."""
        with contextlib.suppress(OSError, ValueError):
            name = f"envoy_shared_memory_{int(_base_id(self.runtime.run_dir)) * 10}"
            (_SHARED_MEMORY / name).unlink(missing_ok=True)
        for path in leftovers(self.runtime.run_dir):
            path.unlink(missing_ok=True)

    def _environment(self) -> dict[str, str]:
        # Envoy reads no setting of ours, and some are secret. The name tells our processes from others.
        rest = {name: value for name, value in self.env.items() if not name.startswith("HEADRACE_")}
        return {**rest, "HEADRACE_PROCESS": self.runtime.process}


class Envoy:
    """
    One Envoy that was started.

    Args:
        process: Its process.
        epoch: How many were before it.
    """

    def __init__(self, process: asyncio.subprocess.Process, epoch: int) -> None:
        self._process = process
        self.epoch = epoch
        self.ended = asyncio.ensure_future(process.wait())
        """Its exit status, when it has one."""

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return not self.ended.done()

    async def end(self, limit_s: float) -> None:
        """Tell it to end at once, and kill it when it has not within a time."""
        for number, patience_s in ((signal.SIGTERM, limit_s), (signal.SIGKILL, None)):
            if self.is_alive:
                with contextlib.suppress(ProcessLookupError):
                    self._process.send_signal(number)
                await asyncio.wait([self.ended], timeout=patience_s)


def config_path(runtime: RuntimeConfig) -> Path:
    """Return where the configuration that is filled in goes."""
    return runtime.run_dir / "envoy.yaml"


def leftovers(run_dir: Path) -> list[Path]:
    """Return the files of Envoy's in the run directory."""
    patterns = ("envoy.yaml", _BASE_ID, "envoy-*.json", f"{_SOCKETS}_*", "envoy-admin.sock")
    return [path for pattern in patterns for path in run_dir.glob(pattern)]


def _base_id(run_dir: Path) -> str:
    return (run_dir / _BASE_ID).read_text().strip()


def _replace(path: Path, text: str) -> None:
    # An Envoy that runs watches some of these: it must never see half of one.
    fresh = path.with_name(f"{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)
