"""
A session with a provider while it runs: frames both ways, in order, each as it is.

What bounds it: a frame of the provider's is read when the one before it was taken, and a frame of the
client's is taken when the provider's connection has room for it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from aiohttp import WSMsgType

from headrace.provider.v1 import provider_service_pb2 as pb
from services.providers import convert
from services.providers.dialects.failures import FailureClass

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from services.providers.outcome import Outcome
    from services.providers.realtime.dial import Dialled, Socket
    from services.providers.realtime.meters import Meter

__all__ = ["Session"]

_DATA: Final = frozenset({WSMsgType.TEXT, WSMsgType.BINARY})
_NORMAL: Final = 1000
_AWAY: Final = 1001
_NO_CODE: Final = 1005
_BROKEN: Final = 1006
_SILENT: Final = "The session was silent for too long."
# A provider gets this long to hear that the client has gone.
_FAREWELL_S: Final = 0.5


class Session:
    """
    Relays one session.

    Args:
        dialled: The WebSocket, which is closed when the session ends.
        messages: What the client sends.
        meter: Counts what is used.
        idle_s: Longest time without a frame either way.
        outcome: Told how it went.
    """

    def __init__(
        self,
        dialled: Dialled,
        messages: AsyncIterator[pb.ConnectRequest],
        *,
        meter: Meter,
        idle_s: float,
        outcome: Outcome,
    ) -> None:
        self._socket: Socket = dialled.socket
        self._concealer = dialled.concealer
        self._messages = messages
        self._meter = meter
        self._idle_s = idle_s
        self._outcome = outcome
        self._last_s = time.monotonic()
        self._renamed = False
        self._silent = False
        self._closing: asyncio.Task[object] | None = None

    async def responses(self, opened: pb.ConnectResponse) -> AsyncGenerator[pb.ConnectResponse, None]:
        """
        Give what the provider sends, the end included, while what the client sends goes to it.

        Args:
            opened: What comes before all else.
        """
        pump = asyncio.create_task(self._pump())
        watch = asyncio.create_task(self._watch())
        try:
            yield opened
            while True:
                message = await self._socket.receive()
                if message.type not in _DATA:
                    break
                yield self._frame(message.data, binary=message.type is WSMsgType.BINARY)
            if self._closing is not None:
                # The client closes, or silence does: the provider's answer to that is waited for there.
                await asyncio.wait((self._closing,))
            yield pb.ConnectResponse(close=self._end(message))
        finally:
            await self._stop(pump, watch)

    def _frame(self, data: bytes, *, binary: bool) -> pb.ConnectResponse:
        self._last_s = time.monotonic()
        response = pb.ConnectResponse()
        response.frame.data = self._concealer.whole(data)
        response.frame.binary = binary
        if self._meter.received(data) and (used := self._meter.usage) is not None:
            self._outcome.usage = used
            response.usage.CopyFrom(convert.usage(used))
        if self._renamed:
            self._renamed = False
            response.served_model = self._outcome.served_model = self._meter.model
        return response

    def _end(self, message: Any) -> pb.Close:
        """Say how it ended, by the last message that was read or, when we closed, by the connection."""
        code, reason = self._socket.close_code or _BROKEN, ""
        if message.type is WSMsgType.CLOSE:
            code, reason = message.data or _NO_CODE, message.extra or ""
        if self._silent:
            code, reason = _AWAY, _SILENT
            self._outcome.failure_class = FailureClass.TIMEOUT
        elif code == _BROKEN:
            self._outcome.failure_class = FailureClass.CUT
        elif message.type is WSMsgType.ERROR:
            self._outcome.failure_class = FailureClass.MALFORMED
        return pb.Close(code=code, reason=self._concealer.whole(reason.encode()).decode("utf-8", "replace"))

    async def _pump(self) -> None:
        """Send the provider what the client sends; a provider that has gone is told of by `receive`."""
        code, reason = _AWAY, b""
        with suppress(ConnectionError):
            async for message in self._messages:
                if message.HasField("frame"):
                    await self._send(message.frame)
                elif message.HasField("close"):
                    code, reason = message.close.code, message.close.reason.encode()
                    break
        self._closing = asyncio.current_task()
        await self._socket.close(code=code if _NORMAL <= code < 5000 else _NORMAL, message=reason)

    async def _send(self, frame: pb.Frame) -> None:
        self._last_s = time.monotonic()
        self._renamed = self._meter.sent(frame.data) or self._renamed
        await self._socket.send_frame(frame.data, WSMsgType.BINARY if frame.binary else WSMsgType.TEXT)

    async def _watch(self) -> None:
        """Close a session in which nothing happens."""
        while (left_s := self._last_s + self._idle_s - time.monotonic()) > 0:  # noqa: ASYNC110 - a frame costs no event
            await asyncio.sleep(left_s)
        self._silent = True
        self._closing = asyncio.current_task()
        await self._socket.close(code=_AWAY)

    async def _stop(self, *tasks: asyncio.Task[None]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        with suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                await self._socket.close(code=_AWAY)
