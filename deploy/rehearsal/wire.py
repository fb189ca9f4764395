"""
How the engine and whoever drives it talk: JSON objects, one a line, over a pair of sockets.

A call is `{"call": name, "id": n, "arguments": {…}}`, its answer `{"id": n, "result": …}` or `{"id": n,
"error": …}`. What the engine tells unasked is `{"told": name, …}`. The socket's end is the end of the
rehearsal.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from typing import TYPE_CHECKING, Any, Final

from deploy.rehearsal.errors import RehearsalError

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

__all__ = ["LINE_BYTES", "Caller", "serve"]

LINE_BYTES: Final = 64 << 20
"""Bounds a message; a rendered overlay with its dashboards is about one MiB."""


class Caller:
    """
    The side that asks.

    Args:
        reader: From the engine.
        writer: To the engine.
        on_told: Called with what the engine tells unasked.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_told: Callable[[dict[str, Any]], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._on_told = on_told
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._task = asyncio.create_task(self._read())

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """
        Ask the engine for something.

        Raises:
            RehearsalError: It says why not, or it is gone.
        """
        if self._task.done():
            raise RehearsalError("the rehearsal has ended")
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._writer.write(json.dumps({"call": name, "id": number, "arguments": arguments}).encode() + b"\n")
        try:
            return await future
        finally:
            self._waiting.pop(number, None)

    async def close(self) -> None:
        """Close the socket, which ends the engine."""
        self._writer.close()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await self._task
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _read(self) -> None:
        try:
            while line := await self._reader.readline():
                message = json.loads(line)
                future = self._waiting.get(message.get("id", 0))
                if "told" in message:
                    self._on_told(message)
                elif future is not None and not future.done():
                    if "error" in message:
                        future.set_exception(RehearsalError(message["error"]))
                    else:
                        future.set_result(message["result"])
        finally:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(RehearsalError("the rehearsal has ended"))


async def serve(
    connection: socket.socket,
    answer: Callable[[str, dict[str, Any]], Awaitable[Any]],
    connected: Callable[[Callable[[dict[str, Any]], None]], None],
) -> None:
    """
    Answer calls until the other side is gone.

    Args:
        connection: The socket.
        answer: Answers a call; its errors of kind `RehearsalError` and `OSError` are told to the caller.
        connected: Called first, with a function that tells something unasked.
    """
    reader, writer = await asyncio.open_connection(sock=connection, limit=LINE_BYTES)

    def tell(message: dict[str, Any]) -> None:
        if not writer.is_closing():
            writer.write(json.dumps(message).encode() + b"\n")

    connected(tell)
    running: set[asyncio.Task[None]] = set()

    async def one(message: dict[str, Any]) -> None:
        try:
            tell({"id": message["id"], "result": await answer(message["call"], message["arguments"])})
        except (RehearsalError, OSError) as error:
            tell({"id": message["id"], "error": str(error)})
        except Exception as error:  # noqa: BLE001 - a fault of the engine's own must not leave the caller waiting
            tell({"id": message["id"], "error": f"fault in the engine: {error!r}"})

    while line := await reader.readline():
        task = asyncio.create_task(one(json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)
    for task in running:
        task.cancel()
