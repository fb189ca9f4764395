"""
One worker process as its parent sees it: started, watched, spoken to, killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Child", "ChildFailedError", "ChildSpec"]

_SCRIPT: Final = Path(__file__).with_name("worker.py")
_KEPT_LINES: Final = 20
# What llama.cpp puts before a complaint: time, level, component, function.
_LOG_HEAD: Final = re.compile(r"^[\d.]+ [A-Z] +(?:\w+ +)?\w+: +(?:error loading model: +)?")
_NO_USE: Final = ("failed to load model", "exiting due to", "common_fit_params")


class ChildFailedError(Exception):
    """The worker ended, or did not begin; the message is the most telling of its complaints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """What a worker is told; the fields are those that `worker.py` reads."""

    name: str
    model: str
    socket: str
    threads: int
    slots: int
    context_tokens: int
    batch_tokens: int
    embeds: bool


class Child:
    """
    A worker that serves requests.

    Attributes:
        session: Speaks to it; any host name leads there.
        turns: Holds as many requests as the worker has slots. Requests wait here and not in llama.cpp, which
            does not reliably notice that a waiting client has gone.
    """

    def __init__(self, spec: ChildSpec, process: asyncio.subprocess.Process) -> None:
        self._spec = spec
        self._process = process
        self._complaints: deque[str] = deque(maxlen=_KEPT_LINES)
        self._reader: asyncio.Task[None] | None = None
        self.turns = asyncio.Semaphore(spec.slots)
        self.session = aiohttp.ClientSession(
            # llama.cpp closes a connection after each stream although it says that it keeps it.
            connector=aiohttp.UnixConnector(spec.socket, limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=None, connect=10),
            auto_decompress=False,
            read_bufsize=1 << 20,
        )

    @classmethod
    async def start(cls, spec: ChildSpec, *, timeout_s: float, complain: Callable[[str], None]) -> Child:
        """
        Start a worker and return it when it serves.

        Args:
            spec: The model, and how it is run.
            timeout_s: Longest time until it serves.
            complain: Called with each line that llama.cpp logs, for as long as the worker runs.

        Raises:
            ChildFailedError: the model cannot be loaded.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # this directory is not on the worker's import path
            str(_SCRIPT),
            json.dumps(asdict(spec)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the parent, which finishes its streams first
            env={name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")},
        )
        child = cls(spec, process)
        try:
            await child._until_ready(timeout_s, complain)
        except BaseException:
            await child.stop()
            raise
        return child

    async def _until_ready(self, timeout_s: float, complain: Callable[[str], None]) -> None:
        assert self._process.stdout is not None
        self._reader = asyncio.create_task(self._read_complaints(complain))
        try:
            async with asyncio.timeout(timeout_s):
                line = await self._process.stdout.readline()
        except TimeoutError as error:
            raise ChildFailedError(f"it was not loaded within {timeout_s:g} s") from error
        if line != b"ready\n":
            await self._reader
            raise ChildFailedError(self._most_telling())

    async def _read_complaints(self, complain: Callable[[str], None]) -> None:
        assert self._process.stderr is not None
        async for raw in self._process.stderr:
            line = raw.decode(errors="replace").rstrip()
            self._complaints.append(line)
            complain(line)

    def _most_telling(self) -> str:
        """The first complaint that says what is wrong, and not merely that something is."""
        for line in self._complaints:
            text = _LOG_HEAD.sub("", line)
            if not any(phrase in line for phrase in _NO_USE):
                return text.replace(self._spec.model, "the file")
        return "llama.cpp does not say why"

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.returncode is None

    @property
    def socket(self) -> str:
        """Path of the socket on which it serves."""
        return self._spec.socket

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    async def ended(self, *, within_s: float) -> bool:
        """Tell whether the process has ended, giving it a moment to."""
        try:
            async with asyncio.timeout(within_s):
                await self._process.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Kill the process, which holds nothing that would be lost. May be called again."""
        # Its group, which is its own: asyncio's `kill` takes the exit status away from asyncio's own watcher
        # when the process has just ended by itself.
        with contextlib.suppress(ProcessLookupError):
            if self.alive:
                os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        if self._reader is not None:
            await self._reader
        await self.session.close()
        await asyncio.to_thread(Path(self._spec.socket).unlink, missing_ok=True)
