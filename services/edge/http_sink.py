"""
The HTTP side of an answer: a `Sink` over aiohttp.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aiohttp import web
from multidict import CIMultiDict

from kit.errors import GatewayError, Reason
from services.edge import headers as names
from services.edge.wire import errors

if TYPE_CHECKING:
    from headrace.common.v1 import http_pb2
    from services.edge.pipeline.exchange import HeaderList

__all__ = ["HttpSink", "named", "refusal"]

_JSON = "application/json"
_EVENT_STREAM = "text/event-stream"
_LENGTH = "content-length"
# Statuses whose answers may say how long a body is that does not come (RFC 9110 section 8.6).
_WITHOUT_BODY = (204, 304)
# aiohttp would tell its own version and Python's.
_SERVER = ("server", "headrace")
# What no field value may hold (RFC 9110 section 5.5), the tab apart.
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class HttpSink:
    """
    Sends one answer.

    An answer that is not as long as it announced never looks whole: aiohttp would leave out what is too much,
    and a client takes the announced length for the end. So the piece that reaches it waits for the end, and
    the connection breaks where there is more or less.

    Attributes:
        response: What was sent, for aiohttp, once there is something.
    """

    __slots__ = ("_aborted", "_dialect", "_last", "_left", "_log", "_request", "response")

    def __init__(self, request: web.BaseRequest, dialect: http_pb2.Dialect.ValueType, log: Any) -> None:
        """
        Args:
            request: What is answered.
            dialect: In which errors are told, until an answer begins in another.
            log: Where defects are told.
        """
        self._request = request
        self._dialect = dialect
        self._log = log
        self._aborted = False
        # What was announced and has not come yet, in bytes; None where nothing was.
        self._left: int | None = None
        self._last = b""
        self.response: web.StreamResponse | None = None

    async def whole(self, status: int, headers: HeaderList, body: bytes) -> None:
        """Send an answer of known length."""
        found = _headers(headers)
        self.response = web.Response(status=status, headers=found, body=body)
        if _LENGTH in found and (announced := self._announced(status, found)) not in (None, len(body)):
            self._cut(announced)

    async def refuse(self, error: GatewayError, headers: HeaderList) -> None:
        """Send an error in the client's dialect, or end what has begun with it."""
        if self.response is not None:
            await self.interrupt(error, headers)
            return
        self.response = refusal(error, errors.body(error, self._dialect), headers)

    async def begin(self, status: int, headers: HeaderList, dialect: http_pb2.Dialect.ValueType) -> None:
        """Begin an answer of unknown length, whose events are in a dialect."""
        self._dialect = dialect
        found = _headers(headers)
        if _LENGTH in found:
            self._left = self._announced(status, found)
        self.response = web.StreamResponse(status=status, headers=found)
        await self.response.prepare(self._request)

    async def write(self, data: bytes) -> None:
        """Send more of it. Raises GatewayError: INTERNAL; it is longer than it announced."""
        assert self.response is not None
        if self._left is not None:
            data = self._counted(data, self._left)
            if not data:
                return
        await self.response.write(data)

    async def broken(self, error: GatewayError) -> None:
        """Tell the client that what has begun breaks off here: by an event, or by the connection."""
        assert self.response is not None
        if self._aborted:
            return
        event = errors.stream_event(error, self._dialect)
        if event is not None and self._left is None and self.response.content_type == _EVENT_STREAM:
            await self.write(event)
            return
        self._abort()

    async def reported(self, error: GatewayError) -> None:
        """Say nothing: the client has read it."""

    async def interrupt(self, error: GatewayError, headers: HeaderList) -> None:
        """Tell the client, whatever was sent so far, that this is not the whole answer, and end."""
        if self.response is None:
            await self.refuse(error, headers)
        else:
            await self.broken(error)
            await self.end()

    async def end(self) -> None:
        """End the answer as complete on the connection's level, unless it had to be cut."""
        assert self.response is not None
        if self._left and not self._aborted:
            self._cut(self.response.content_length)
        if not self._aborted:
            await self.response.write_eof(self._last)

    def _announced(self, status: int, headers: CIMultiDict[str]) -> int | None:
        """Give the length that an answer announces; None for what has no body, or says no length."""
        if self._request.method == "HEAD" or status in _WITHOUT_BODY:
            return None
        value = headers[_LENGTH]
        return int(value) if value.isascii() and value.isdigit() else None

    def _counted(self, data: bytes, left: int) -> bytes:
        """Give what may go out of a piece: nothing of the one that reaches the announced length."""
        self._left = left - len(data)
        if self._left > 0 or not data:
            return data
        if self._left < 0:
            assert self.response is not None
            self._cut(self.response.content_length)
            raise GatewayError(Reason.INTERNAL, "The answer is longer than it said.")
        self._last = data
        return b""

    def _cut(self, announced: int | None) -> None:
        if self._aborted:
            return
        self._log.error("answer cut, which is not as long as it said", announced_bytes=announced)
        self._abort()

    def _abort(self) -> None:
        self._aborted = True
        if self._request.transport is not None:
            self._request.transport.abort()


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
    if error.metadata.get("resource") == "spool":
        # An edge that refuses has the least to do, and would be sent nearly all until its next check.
        found[names.GOES_ELSEWHERE] = "true"
    return web.Response(status=status or errors.HTTP[error.reason].status, headers=found, body=body)
