"""The engine's side of `init`: starts containers, and tells when they end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
from typing import TYPE_CHECKING, Any

from deploy.rehearsal.errors import RehearsalError

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from deploy.rehearsal.container import Container

__all__ = ["Running", "Starter"]


class Running:
    """A process that was started; `ended` is its exit status when it has ended, negative for a signal."""

    def __init__(self, pid: int, ended: asyncio.Future[int]) -> None:
        self.pid = pid
        self.ended = ended

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has ended; its number may be another's then."""
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def wait(self) -> int:
        """Return its exit status once it has ended."""
        return await asyncio.shield(self.ended)


class Starter:
    """
    Asks `init` for containers.

    Args:
        connection: The socket to it.
        directory: Where what it is to read is put.
    """

    def __init__(self, connection: socket.socket, directory: Path) -> None:
        self._connection = connection
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        # Specifications hold the values of secrets.
        directory.chmod(0o700)
        self._numbers = itertools.count(1)
        self._starting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._running: dict[int, asyncio.Future[int]] = {}
        # An end can be told before whoever started it has heard of the beginning.
        self._early: dict[int, int] = {}
        self._writer: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Hear what `init` says, for as long as it is there."""
        reader, writer = await asyncio.open_connection(sock=self._connection)
        self._writer.set_result(writer)
        while line := await reader.readline():
            self._hear(json.loads(line))

    def _hear(self, message: dict[str, Any]) -> None:
        if "started" in message:
            self._starting.pop(message["started"]).set_result(message)
            return
        future = self._running.pop(message["ended"], None)
        if future is None:
            self._early[message["ended"]] = message["status"]
        elif not future.done():
            future.set_result(message["status"])

    async def start(self, container: Container) -> Running:
        """
        Start a container; its program runs when this returns.

        Raises:
            RehearsalError: It cannot be started.
        """
        number = next(self._numbers)
        file = self._directory / f"{number}.json"
        await asyncio.to_thread(file.write_text, container.encoded())
        loop = asyncio.get_running_loop()
        future: asyncio.Future[dict[str, Any]] = loop.create_future()
        self._starting[number] = future
        writer = await self._writer
        writer.write(json.dumps({"start": number, "file": str(file)}).encode() + b"\n")
        try:
            answer = await asyncio.shield(future)
        except asyncio.CancelledError:
            # Nobody will own what is about to start.
            future.add_done_callback(_kill_started)
            raise
        file.unlink(missing_ok=True)
        if "error" in answer:
            raise RehearsalError(f"{container.argv[0]}: {answer['error']}")
        return self._running_process(answer["pid"])

    def _running_process(self, pid: int) -> Running:
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if pid in self._early:
            ended.set_result(self._early.pop(pid))
        else:
            self._running[pid] = ended
        return Running(pid, ended)


def _kill_started(future: asyncio.Future[dict[str, Any]]) -> None:
    if not future.cancelled() and "pid" in future.result():
        with contextlib.suppress(ProcessLookupError):
            os.kill(future.result()["pid"], signal.SIGKILL)
