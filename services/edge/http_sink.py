"""
The HTTP side of an answer: a `Sink` over aiohttp.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aiohttp import web
from multidict import CIMultiDict

from services.edge.wire import errors

if TYPE_CHECKING:
    from headrace.common.v1 import http_pb2
    from kit.errors import GatewayError
    from services.edge.pipeline.exchange import HeaderList

__all__ = ["HttpSink", "named", "refusal"]

_JSON = "application/json"
_EVENT_STREAM = "text/event-stream"
# aiohttp would tell its own version and Python's.
_SERVER = ("server", "headrace")
# What no field value may hold (RFC 9110 section 5.5), the tab apart.
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class HttpSink:
    """
    Sends one answer.

    Attributes:
        response: What was sent, for aiohttp, once there is something.
    """

    __slots__ = ("_aborted", "_dialect", "_request", "response")

    def __init__(self, request: web.BaseRequest, dialect: http_pb2.Dialect.ValueType) -> None:
        self._request = request
        self._dialect = dialect
        self._aborted = False
        self.response: web.StreamResponse | None = None

    async def whole(self, status: int, headers: HeaderList, body: bytes) -> None:
        """Send an answer of known length."""
        self.response = web.Response(status=status, headers=_headers(headers), body=body)

    async def refuse(self, error: GatewayError, headers: HeaderList) -> None:
        """Send an error in the client's dialect, or end what has begun with it."""
        if self.response is not None:
            await self.interrupt(error, headers)
            return
        self.response = refusal(error, errors.body(error, self._dialect), headers)

    async def begin(self, status: int, headers: HeaderList, dialect: http_pb2.Dialect.ValueType) -> None:
        """Begin an answer of unknown length, whose events are in a dialect."""
        self._dialect = dialect
        self.response = web.StreamResponse(status=status, headers=_headers(headers))
        await self.response.prepare(self._request)

    async def write(self, data: bytes) -> None:
        """Send more of it."""
        assert self.response is not None
        await self.response.write(data)

    async def broken(self, error: GatewayError) -> None:
        """Tell the client that what has begun breaks off here: by an event, or by the connection."""
        assert self.response is not None
        event = errors.stream_event(error, self._dialect)
        if event is not None and self.response.content_type == _EVENT_STREAM:
            await self.write(event)
            return
        self._aborted = True
        if self._request.transport is not None:
            self._request.transport.abort()

    async def interrupt(self, error: GatewayError, headers: HeaderList) -> None:
        """Tell the client, whatever was sent so far, that this is not the whole answer, and end."""
        if self.response is None:
            await self.refuse(error, headers)
        else:
            await self.broken(error)
            await self.end()

    async def end(self) -> None:
        """End the answer as complete on the connection's level, unless it had to be cut."""
        if not self._aborted:
            assert self.response is not None
            await self.response.write_eof()


def named(response: web.StreamResponse) -> web.StreamResponse:
    """Return an answer that says who gives it."""
    response.headers.setdefault(*_SERVER)
    return response


def _headers(headers: HeaderList) -> CIMultiDict[str]:
    # One look at all of them: nearly always there is nothing to mend.
    together = "".join([value for _, value in headers])
    if not (together.isascii() and together.isprintable()):
        headers = [(name, _sendable(value)) for name, value in headers]
    found = CIMultiDict(headers)
    found.setdefault(*_SERVER)
    return found


def _sendable(value: str) -> str:
    """Make a value fit to be sent: an answer is not lost to a name that holds a line feed."""
    return _CONTROLS.sub("", value).encode("latin-1", "backslashreplace").decode("latin-1")


def refusal(
    error: GatewayError, body: bytes, headers: HeaderList, *, status: int | None = None
) -> web.Response:
    """
    Give the answer that tells an error.

    Args:
        error: What happened.
        body: Tells it in the client's dialect.
        headers: To be sent as well.
        status: HTTP status, where it is not the reason's.
    """
    found = _headers([*headers, ("content-type", _JSON)])
    if error.retry_after_s is not None:
        found["retry-after"] = str(max(1, round(error.retry_after_s)))
    return web.Response(status=status or errors.HTTP[error.reason].status, headers=found, body=body)
