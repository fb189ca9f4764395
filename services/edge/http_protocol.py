"""
Connections of the edge's HTTP server: what is no request is told in our words.

aiohttp answers such bytes itself, in plain text, with the bytes and its own version; and it logs them, which
may be a credential.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from headrace.common.v1 import http_pb2
from kit.errors import GatewayError, Reason
from services.edge.arriving import Arriving
from services.edge.http_sink import refusal
from services.edge.wire import errors

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from services.edge.body_room import BodyRoom

__all__ = ["EdgeServer", "cut"]

_HEADERS_TOO_LARGE = 431


class _Connection(web.RequestHandler):
    __slots__ = ("_admits", "_room", "arriving")

    def __init__(
        self,
        server: web.Server,
        *,
        admits: Callable[[Mapping[str, Any] | None], bool],
        room: BodyRoom,
        **kwargs: Any,
    ) -> None:
        super().__init__(server, **kwargs)
        self._admits = admits
        self._room = room
        self.arriving: Arriving | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve a connection, unless its certificate is of somebody who has no business here."""
        super().connection_made(transport)
        if not self._admits(transport.get_extra_info("peercert")):
            self.force_close()

    def set_parser(self, parser: Any, data_received_cb: Callable[[], None] | None = None) -> None:
        """Become a WebSocket, whose messages are counted while they come."""
        self.arriving = Arriving(parser, self._room)
        super().set_parser(self.arriving, data_received_cb)  # type: ignore[arg-type]  # acts as one

    def connection_lost(self, exc: BaseException | None) -> None:
        """End what the connection was for."""
        super().connection_lost(exc)
        if self.arriving is not None:
            self.arriving.close()

    @property
    def busy(self) -> bool:
        """Whether a request of this connection is being answered, or is about to be."""
        return self._request_in_progress or bool(self._messages)

    def leave(self) -> None:
        """Have each answer from now on say that the connection ends with it."""
        if (make := self._request_factory) is not None:

            def last(message: Any, *rest: Any) -> web.BaseRequest:
                return make(message._replace(should_close=True), *rest)

            self._request_factory = last

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - repeats the bytes that could not be read
    ) -> web.StreamResponse:
        """Answer what could not be read; whatever else arrives here, the client has gone."""
        if request.writer.output_size > 0 or isinstance(exc, ConnectionError):
            cut(request)
        if isinstance(exc, LineTooLong):
            error = GatewayError(Reason.TOO_LARGE, "The request's line or one of its headers is too long.")
            status = _HEADERS_TOO_LARGE
        elif status == errors.HTTP[Reason.INVALID_REQUEST].status:
            error = GatewayError(Reason.INVALID_REQUEST, "The request is not valid HTTP.")
        else:
            error = GatewayError(Reason.INTERNAL, "Something went wrong on our side.")
        body = errors.body(error, http_pb2.DIALECT_NATIVE, status=status)
        response = refusal(error, body, [], status=status)
        response.force_close()
        return response


class EdgeServer(web.Server):
    """
    As aiohttp's, with connections of ours.

    Args:
        handler: Answers requests.
        admits: Says by the other side's certificate, as `ssl` describes one, whether it may make requests;
            None is a connection without TLS.
        room: What messages of WebSockets may take, with other bodies.
        kwargs: As aiohttp's.
    """

    def __init__(
        self,
        handler: Any,
        *,
        admits: Callable[[Mapping[str, Any] | None], bool],
        room: BodyRoom,
        **kwargs: Any,
    ) -> None:
        super().__init__(handler, **kwargs)
        self._admits = admits
        self._room = room

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of a connection."""
        return _Connection(self, admits=self._admits, room=self._room, loop=self._loop, **self._kwargs)

    @property
    def busy(self) -> bool:
        """Whether anything is being answered."""
        return any(isinstance(each, _Connection) and each.busy for each in self.connections)

    def leave(self) -> None:
        """Have clients with an open connection, who send their requests on it, make another one."""
        for each in self.connections:
            if isinstance(each, _Connection):
                each.leave()


def cut(request: web.BaseRequest) -> NoReturn:
    """
    End the connection of a request, so that nobody takes what was sent for the whole answer.

    Raises:
        ConnectionResetError: Always; there is nobody left to answer.
    """
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError("The answer had begun and cannot be ended well.")
