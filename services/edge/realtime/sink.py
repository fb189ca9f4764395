"""
Where a session's errors go: an HTTP answer as long as there is no WebSocket, a close afterwards.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from services.edge.http_sink import HttpSink
from services.edge.realtime import closing

if TYPE_CHECKING:
    from kit.errors import GatewayError
    from services.edge.pipeline.exchange import HeaderList
    from services.edge.realtime.handshake import Socket

__all__ = ["SessionSink"]


class SessionSink(HttpSink):
    """
    As that of HTTP.

    Attributes:
        socket: The client's WebSocket, once it was accepted.
    """

    __slots__ = ("_socket",)

    _socket: Socket | None

    @property
    def socket(self) -> Socket | None:
        """The client's WebSocket, once it was accepted."""
        return getattr(self, "_socket", None)

    def opened(self, socket: Socket) -> None:
        """Take the WebSocket, which is the answer."""
        self._socket = self.response = socket

    async def refuse(self, error: GatewayError, headers: HeaderList) -> None:
        """Tell an error."""
        if self.socket is None:
            await super().refuse(error, headers)
        else:
            await self.close(closing.code_of(error), error.message)

    async def interrupt(self, error: GatewayError, headers: HeaderList) -> None:
        """Tell the client that we are stopping."""
        await self.refuse(error, headers)

    async def close(self, code: int, reason: str) -> None:
        """Close the WebSocket; a client that has gone already is told nothing."""
        assert self.socket is not None
        with suppress(ConnectionError):
            await self.socket.close(code=code, message=closing.reason_text(reason))
