"""
An upstream call that does not belong to one client's connection.

Identical requests that could be answered from the cache share one, and a call that is to be read to its end
after its client has gone is one as well. The call runs in a task of its own; each client follows it and gets
what is there, from the beginning.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kit.errors import GatewayError, Reason
from services.edge.pipeline.relay import Failed, Whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.cache.v1 import cache_service_pb2
    from headrace.common.v1 import http_pb2
    from services.edge.pipeline.exchange import HeaderList, Sink

__all__ = ["Flight", "Opening"]

# How far a client may be behind before the call waits for it, in bytes.
_MOST_BEHIND: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Opening:
    """How an answer of unknown length begins, without the gateway's own headers."""

    status: int
    headers: HeaderList
    dialect: http_pb2.Dialect.ValueType


class _Follower:
    """Where a client is."""

    __slots__ = ("changed", "place")

    def __init__(self) -> None:
        self.place = 0
        self.changed = asyncio.Event()


class Flight:
    """
    A `Sink` that keeps what it gets for those who follow.

    Attributes:
        opening: How the answer begins, once that is known. None: it comes in one piece, or not at all.
        failed: Why there is no answer.
        answer: The answer in one piece.
        entry: The answer, where it turned out to be in the cache.
        error: Why what had begun broke off.
        told: Whether the bytes of it say so already.
        recorded: Whether the request is recorded, so that last bytes may go out.
        over: Whether nothing more comes.
        times_s: When each piece came, from the beginning of the call.
        is_open: Whether all of it is kept, so that others may still join.

    Args:
        keep_bytes: Longest answer that is kept for those who join, and for the cache. Zero: nobody joins.
        left: Called when the last client has gone before the end.
    """

    def __init__(self, *, keep_bytes: int, left: Callable[[], None]) -> None:
        self.opening: Opening | None = None
        self.failed: Failed | None = None
        self.answer: Whole | None = None
        self.entry: cache_service_pb2.Entry | None = None
        self.error: GatewayError | None = None
        self.told = False
        self.recorded = False
        self.over = False
        self.times_s: list[float] = []
        self.is_open = keep_bytes > 0
        self._keep_bytes = keep_bytes
        self._left = left
        self._began_s = time.perf_counter()
        # What is kept, and the place of the first of it among all pieces.
        self._pieces: deque[bytes] = deque()
        self._first = 0
        self._bytes = 0
        self._followers: set[_Follower] = set()
        self._room = asyncio.Event()

    @property
    def may_be_kept(self) -> bool:
        """Whether there may be a whole answer in the end, for the cache and those who ask it."""
        return self.opening is None or self.is_open

    async def whole(self, status: int, headers: HeaderList, body: bytes) -> None:
        """Take an answer of known length."""
        self.answer = Whole(status=status, headers=headers, body=body)

    async def refuse(self, error: GatewayError, headers: HeaderList) -> None:
        """Take an error; nothing comes after it."""
        del headers
        self.fail(error)

    def fail(self, error: GatewayError) -> None:
        """Take that there is no answer, or that the one that has begun breaks off here."""
        if self.opening is None:
            self.failed = Failed(error)
        else:
            self.error = error

    async def begin(self, status: int, headers: HeaderList, dialect: http_pb2.Dialect.ValueType) -> None:
        """Take how an answer of unknown length begins."""
        self.opening = Opening(status, headers, dialect)
        self._tell()

    async def write(self, data: bytes) -> None:
        """Take more of it; waits for those who are far behind."""
        self._pieces.append(data)
        self._bytes += len(data)
        if self.is_open:
            self.times_s.append(time.perf_counter() - self._began_s)
            if self._bytes > self._keep_bytes:
                self.is_open = False
                self.times_s.clear()
        self._tell()
        if not self.is_open:
            await self._wait_for_room()

    async def broken(self, error: GatewayError) -> None:
        """Take that it broke off."""
        self.error = error

    async def reported(self, error: GatewayError) -> None:
        """Take that it broke off, as its bytes say."""
        self.error, self.told = error, True

    async def interrupt(self, error: GatewayError, headers: HeaderList) -> None:
        """Take that it ends here, whatever was there so far."""
        await self.refuse(error, headers)
        self.end_now()

    async def end(self) -> None:
        """Take that it is complete."""
        self.end_now()

    def end_now(self) -> None:
        """Let nothing more come."""
        self.over = True
        self._tell()

    def mark_recorded(self) -> None:
        """Say that the request is recorded."""
        self.recorded = True

    def body(self) -> bytes | None:
        """Give all of a stream; None when it was not kept as a whole."""
        return b"".join(self._pieces) if self.is_open and self._first == 0 else None

    def sizes(self) -> list[int]:
        """Give the length of each piece that is kept."""
        return [len(piece) for piece in self._pieces]

    async def follow(
        self,
        sink: Sink,
        headers_beside: Callable[[HeaderList], HeaderList],
        before_end: Callable[[], None],
        took: Callable[[bytes], None],
    ) -> bool:
        """
        Give a client the answer as it comes.

        Args:
            sink: Where the client's answer goes.
            headers_beside: Gives the provider's headers with the gateway's own for this client.
            before_end: Called once all that can be said of the answer is known, before its last bytes go out.
            took: Told of what goes out.

        Returns:
            True when everything of an answer that came in pieces was sent but the end. False when there was
            nothing to send: `failed`, `answer` or `entry` say what there is.

        Raises:
            GatewayError: The client is too slow to keep up; others do not wait for it.
        """
        follower = _Follower()
        self._followers.add(follower)
        try:
            while self.opening is None and not self.over:
                await self._next(follower)
            if self.opening is None:
                return False
            opening = self.opening
            await sink.begin(opening.status, headers_beside(opening.headers), opening.dialect)
            await self._pass_on(follower, sink, before_end, took)
            return True
        finally:
            self._followers.discard(follower)
            self._room.set()
            if not self._followers and not self.over:
                self._left()

    async def _pass_on(
        self, follower: _Follower, sink: Sink, before_end: Callable[[], None], took: Callable[[bytes], None]
    ) -> None:
        while True:
            while follower.place < self._first + len(self._pieces):
                data = self._take(follower)
                took(data)
                if self.recorded:
                    before_end()
                await sink.write(data)
            if self.over:
                break
            await self._next(follower)
        before_end()
        if self.error is not None:
            await (sink.reported if self.told else sink.broken)(self.error)

    def _take(self, follower: _Follower) -> bytes:
        """Give a client all that it has not got yet, as one piece."""
        start = follower.place - self._first
        if start < 0:
            raise GatewayError(Reason.OVERLOADED, "The answer came faster than it was read.")
        pieces = [self._pieces[place] for place in range(start, len(self._pieces))]
        follower.place = self._first + len(self._pieces)
        if not self.is_open:
            self._trim()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _trim(self) -> None:
        """Let go of what every client has, where nobody joins any more."""
        slowest = min((each.place for each in self._followers), default=self._first + len(self._pieces))
        while self._first < slowest:
            self._bytes -= len(self._pieces.popleft())
            self._first += 1
        self._room.set()

    async def _wait_for_room(self) -> None:
        self._trim()
        while self._bytes > _MOST_BEHIND and self._followers:
            self._room.clear()
            await self._room.wait()
            self._trim()

    async def _next(self, follower: _Follower) -> None:
        follower.changed.clear()
        await follower.changed.wait()

    def _tell(self) -> None:
        for follower in self._followers:
            follower.changed.set()
