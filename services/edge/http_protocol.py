"""
Connections of the edge's HTTP server: what is no request is told in our words.

aiohttp answers such bytes itself, in plain text, with the bytes and its own version; and it logs them, which
may be a credential.
"""

from __future__ import annotations

from typing import NoReturn

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from headrace.common.v1 import http_pb2
from kit.errors import GatewayError, Reason
from services.edge.http_sink import refusal
from services.edge.wire import errors

__all__ = ["EdgeServer", "cut"]

_HEADERS_TOO_LARGE = 431


class _Connection(web.RequestHandler):
    __slots__ = ()

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
    """As aiohttp's, with connections of ours."""

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of a connection."""
        return _Connection(self, loop=self._loop, **self._kwargs)


def cut(request: web.BaseRequest) -> NoReturn:
    """
    End the connection of a request, so that nobody takes what was sent for the whole answer.

    Raises:
        ConnectionResetError: Always; there is nobody left to answer.
    """
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError("The answer had begun and cannot be ended well.")
