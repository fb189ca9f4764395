"""
Keeps processes running: starts them, starts them again, and stops them in order.

Knows nothing of what the processes are: it is given a table, and tells a `Watcher` what happens.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from cli.backoff import Backoff, Restart
from cli.child import kill_group, lines, spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cli.processes import ProcessSpec

__all__ = ["Supervisor", "Watcher"]

# What `kit.lifecycle` exits with when settings are unusable: starting again changes nothing.
_REFUSED: Final = 2
_LAST_LINES: Final = 20
# How long to go on reading after an end: a grandchild may hold the pipe open for ever.
_PIPE_S: Final = 0.5
_KILL_S: Final = 0.4
_RESERVE_S: Final = 0.6


class Watcher(Protocol):
    """Is told what happens."""

    def line(self, name: str, text: str) -> None:
        """Take a line that a process wrote."""

    def ended(self, name: str, status: int, uptime_s: float, restart: Restart) -> None:
        """Take note that a process ended though nobody asked it to."""

    def crash_loop(self, name: str, restart: Restart, last_lines: Sequence[str]) -> None:
        """Take note that a process does not stay up."""

    def killed(self, name: str) -> None:
        """Take note that a process did not stop in time and was killed."""


@dataclass(slots=True)
class _Child:
    spec: ProcessSpec
    backoff: Backoff = field(default_factory=Backoff)
    process: asyncio.subprocess.Process | None = None
    task: asyncio.Task[None] | None = None
    starts: int = 0
    told_to_stop: bool = False
    last_lines: collections.deque[str] = field(default_factory=lambda: collections.deque(maxlen=_LAST_LINES))

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.returncode is None


class Supervisor:
    """
    Keeps processes running until `stop`.

    Args:
        specs: The processes, in the order in which they are started.
        watcher: Is told what happens.
        clock: Gives seconds, for uptimes.
    """

    def __init__(
        self,
        specs: Iterable[ProcessSpec],
        watcher: Watcher,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._children = [_Child(spec) for spec in specs]
        self._watcher = watcher
        self._clock = clock
        self._stopping = asyncio.Event()
        self.refused = asyncio.Event()
        """Set when a process says at its first start that its settings are unusable."""

    def start(self) -> None:
        """Start every process. Must be called in the main thread; see `cli.child.spawn`."""
        for child in self._children:
            child.task = asyncio.create_task(self._keep(child), name=f"keep {child.spec.name}")

    def pid(self, name: str) -> int | None:
        """Return the process id of a process; None while it does not run."""
        for child in self._children:
            if child.spec.name == name and child.is_alive and child.process is not None:
                return child.process.pid
        return None

    def starts(self, name: str) -> int:
        """Return how often a process was started."""
        return sum(child.starts for child in self._children if child.spec.name == name)

    async def stop(self, limit_s: float) -> None:
        """
        Stop every process, stage by stage, and kill what is left when the time is up.

        A stage gets the time that remains, less a little for each stage after it: what is stuck must not
        cost the others an orderly end.
        """
        self._stopping.set()
        until_s = self._clock() + limit_s
        stages = sorted({child.spec.stop_stage for child in self._children})
        reserve_s = min(_RESERVE_S, limit_s / (len(stages) + 1))
        for after, stage in zip(range(len(stages) - 1, -1, -1), stages, strict=True):
            members = [child for child in self._children if child.spec.stop_stage == stage]
            await self._stop_stage(members, until_s - after * reserve_s)

    def kill(self) -> None:
        """Kill every process at once."""
        self._stopping.set()
        for child in self._children:
            child.told_to_stop = True
            if child.is_alive and child.process is not None:
                kill_group(child.process)

    async def _stop_stage(self, children: list[_Child], until_s: float) -> None:
        for child in children:
            child.told_to_stop = True
            _terminate(child)
        tasks = [child.task for child in children if child.task is not None]
        if not tasks:
            return
        _, running = await asyncio.wait(tasks, timeout=max(0.05, until_s - self._clock()))
        if not running:
            return
        for child in children:
            if child.is_alive and child.process is not None:
                self._watcher.killed(child.spec.name)
                kill_group(child.process)
        await asyncio.wait(tasks, timeout=_KILL_S + _PIPE_S)

    async def _keep(self, child: _Child) -> None:
        while not self._stopping.is_set():
            began_s = self._clock()
            status = await self._run(child)
            if self._stopping.is_set():
                return
            if status == _REFUSED and child.starts == 1:
                self.refused.set()
                return
            uptime_s = self._clock() - began_s
            restart = child.backoff.after(uptime_s)
            self._watcher.ended(child.spec.name, status, uptime_s, restart)
            if restart.is_loud:
                self._watcher.crash_loop(child.spec.name, restart, tuple(child.last_lines))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), restart.delay_s)

    async def _run(self, child: _Child) -> int:
        """Run a process once, from its start to its end; return its exit status."""
        child.starts += 1
        try:
            spawned = await spawn(child.spec.argv, child.spec.env)
        except OSError as error:
            self._take(child, f"cannot be started: {error}")
            return 127
        child.process = spawned.process
        if child.told_to_stop:  # its stage came while it was being started
            _terminate(child)
        reading = asyncio.create_task(self._read(child, spawned.output))
        try:
            status = await child.process.wait()
            # What it started itself must not go on without it, nor beside its successor.
            kill_group(child.process)
            await asyncio.wait([reading], timeout=_PIPE_S)
        finally:
            reading.cancel()
            spawned.pipe.close()
        return status

    async def _read(self, child: _Child, output: asyncio.StreamReader) -> None:
        async for text in lines(output):
            self._take(child, text)

    def _take(self, child: _Child, text: str) -> None:
        child.last_lines.append(text)
        self._watcher.line(child.spec.name, text)


def _terminate(child: _Child) -> None:
    if child.is_alive and child.process is not None:
        with contextlib.suppress(ProcessLookupError):
            child.process.terminate()
