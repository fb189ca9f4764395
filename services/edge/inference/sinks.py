"""
Where answers to typed callers go.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from kit.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headrace.common.v1 import http_pb2
    from services.edge.pipeline.exchange import HeaderList

__all__ = ["CollectingSink", "QueueSink"]

_QUEUE_CHUNKS = 16


class CollectingSink:
    """
    Keeps an answer as a whole.

    Attributes:
        headers: The gateway's and the provider's headers.
        status: HTTP status.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: HeaderList = []
        self._pieces: list[bytes] = []

    @property
    def body(self) -> bytes:
        """The body."""
        return b"".join(self._pieces)

    async def whole(self, status: int, headers: HeaderList, body: bytes) -> None:
        """Keep an answer of known length."""
        self.status, self.headers = status, headers
        self._pieces = [body]

    async def refuse(self, error: GatewayError, headers: HeaderList) -> None:
        """Pass an error on to the caller."""
        self.headers = headers
        raise error

    async def begin(self, status: int, headers: HeaderList, dialect: http_pb2.Dialect.ValueType) -> None:
        """Begin an answer of unknown length."""
        del dialect
        self.status, self.headers = status, headers

    async def write(self, data: bytes) -> None:
        """Keep more of it."""
        self._pieces.append(data)

    async def broken(self, error: GatewayError) -> None:
        """Pass an error on to the caller."""
        raise error

    async def reported(self, error: GatewayError) -> None:
        """Say nothing: the bytes do."""

    async def interrupt(self, error: GatewayError, headers: HeaderList) -> None:
        """Pass an error on to the caller."""
        await self.refuse(error, headers)

    async def end(self) -> None:
        """Nothing more comes."""


class QueueSink(CollectingSink):
    """
    Hands the pieces of an answer over as they come.

    Pieces wait for one another to be taken. Errors and the end never wait: they must get through when the
    client does not read, or is gone.

    Attributes:
        begun: Set once the headers are known, or that there are none.
    """

    def __init__(self) -> None:
        super().__init__()
        self._queue: asyncio.Queue[bytes | GatewayError | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(_QUEUE_CHUNKS)
        self.begun = asyncio.Event()

    async def whole(self, status: int, headers: HeaderList, body: bytes) -> None:
        """Hand over an answer that came in one piece, such as a provider's error."""
        await super().whole(status, headers, body)
        self.begun.set()
        await self.write(body)

    async def refuse(self, error: GatewayError, headers: HeaderList) -> None:
        """Hand over an error."""
        self.headers = headers
        self.begun.set()
        self._queue.put_nowait(error)

    async def begin(self, status: int, headers: HeaderList, dialect: http_pb2.Dialect.ValueType) -> None:
        """Begin an answer of unknown length."""
        await super().begin(status, headers, dialect)
        self.begun.set()

    async def write(self, data: bytes) -> None:
        """Hand over more of it."""
        await self._room.acquire()
        self._queue.put_nowait(data)

    async def broken(self, error: GatewayError) -> None:
        """Hand over that it broke off."""
        self._queue.put_nowait(error)

    def close(self) -> None:
        """Say that nothing more comes."""
        self.begun.set()
        self._queue.put_nowait(None)

    async def pieces(self) -> AsyncIterator[bytes]:
        """
        Give the pieces as they come.

        Raises:
            GatewayError: The answer broke off, or there was none.
        """
        while (piece := await self._queue.get()) is not None:
            if isinstance(piece, GatewayError):
                raise piece
            self._room.release()
            yield piece
