"""
The WebSocket side of an answer: a `Sink` that writes messages.

A stream of events becomes a message for each; another answer that a stream was asked for, a message for each
piece; all others come in one message, however the provider sent them.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Final

from kit.errors import GatewayError, Reason
from kit.sse import SseSplitter, parse_events
from services.edge.websocket import frames

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headrace.common.v1 import http_pb2
    from services.edge.pipeline.exchange import HeaderList

__all__ = ["WebSocketSink"]

_EVENT_STREAM: Final = "text/event-stream"


class WebSocketSink:
    """
    Sends one answer.

    Args:
        send: Sends a message. It raises `ConnectionError` when the client has gone, and returns when there is
            room for more.
        event_id: The client's name for the request; empty for none.
        streamed: Whether the client asked for a stream, of whatever format.
        most_bytes: Longest answer that is sent in one message when it comes in pieces.
    """

    __slots__ = (
        "_broken", "_decoder", "_event_id", "_held", "_held_bytes", "_metadata", "_most_bytes", "_send",
        "_splitter", "_streamed",
    )  # fmt: skip

    def __init__(
        self, send: Callable[[bytes], Awaitable[None]], *, event_id: str, streamed: bool, most_bytes: int
    ) -> None:
        self._send = send
        self._event_id = event_id
        self._streamed = streamed
        self._most_bytes = most_bytes
        self._metadata: frames.Metadata | None = None
        self._splitter: SseSplitter | None = None
        self._decoder: codecs.IncrementalDecoder | None = None
        self._held: list[bytes] | None = None
        self._held_bytes = 0
        self._broken = False

    async def whole(self, status: int, headers: HeaderList, body: bytes) -> None:
        """Send an answer of known length."""
        told = self._take(status, headers)
        if status >= 400:
            await self._send(frames.refused(frames.error_of(status), told, body))
        elif told.get("contentType", "").startswith(_EVENT_STREAM):
            await self._open(told)
            await self.write(body)
            await self.end()
        else:
            await self._send(frames.created(told, body))

    async def refuse(self, error: GatewayError, headers: HeaderList) -> None:
        """Send an error, or end what has begun with it."""
        if self._metadata is not None:
            await self.broken(error)
        else:
            told = frames.metadata(headers, status=0, event_id=self._event_id)
            await self._send(frames.refused(error, told))

    async def begin(
        self,
        status: int,
        headers: HeaderList,
        dialect: http_pb2.Dialect.ValueType,  # noqa: ARG002 - an error's message is of no dialect
    ) -> None:
        """Begin an answer of unknown length."""
        told = self._take(status, headers)
        content_type = told.get("contentType", "")
        if status >= 400 or not (self._streamed or content_type.startswith(_EVENT_STREAM)):
            self._held = []
        else:
            await self._open(told)

    async def write(self, data: bytes) -> None:
        """Send more of it; what follows an error is for nobody any more."""
        if self._broken:
            return
        if self._splitter is not None:
            await self._send_events(self._splitter.feed(data))
        elif self._held is None:
            await self._send_piece(data)
        else:
            await self._hold(data)

    async def broken(self, error: GatewayError) -> None:
        """Tell the client that what has begun breaks off here."""
        if not self._broken:
            self._broken = True
            await self._send(frames.refused(error, self._metadata or {}))

    async def reported(self, error: GatewayError) -> None:
        """Tell it in a message of its own: whoever reads the gateway's messages need not know the dialect."""
        await self.broken(error)

    async def interrupt(self, error: GatewayError, headers: HeaderList) -> None:
        """Tell the client, whatever was sent so far, that this is not the whole answer, and end."""
        await self.refuse(error, headers)

    async def end(self) -> None:
        """End the answer as complete, unless it was said to have broken off."""
        if self._broken:
            return
        assert self._metadata is not None
        if self._held is not None:
            held, self._held = self._held, None
            await self._send_whole(b"".join(held))
            return
        if self._splitter is not None:
            await self._send_events(self._splitter.finish())
        elif self._decoder is not None and (rest := self._decoder.decode(b"", final=True)):
            await self._send(frames.piece(self._id(), rest))
        await self._send(frames.done(self._metadata))

    def _take(self, status: int, headers: HeaderList) -> frames.Metadata:
        self._metadata = frames.metadata(headers, status=status, event_id=self._event_id)
        return self._metadata

    async def _open(self, told: frames.Metadata) -> None:
        content_type = told.get("contentType", "")
        if content_type.startswith(_EVENT_STREAM):
            self._splitter = SseSplitter()
        elif frames.is_text(content_type):
            self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        await self._send(frames.created(told))

    async def _send_events(self, data: bytes) -> None:
        for name, told in parse_events(data):
            await self._send(frames.event(self._id(), name, told))

    async def _send_piece(self, data: bytes) -> None:
        text = data if self._decoder is None else self._decoder.decode(data)
        if text:
            await self._send(frames.piece(self._id(), text))

    async def _send_whole(self, body: bytes) -> None:
        told = self._metadata or {}
        if told["status"] >= 400:
            await self._send(frames.refused(frames.error_of(told["status"]), told, body))
        else:
            await self._send(frames.created(told, body))

    async def _hold(self, data: bytes) -> None:
        """Keep a piece; raises `ConnectionError` when there is too much, as if the client had gone."""
        assert self._held is not None
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > self._most_bytes:
            error = GatewayError(
                Reason.TOO_LARGE,
                f"The answer is longer than the {self._most_bytes} bytes that one message may hold.",
                limit_bytes=str(self._most_bytes),
            )
            await self.broken(error)
            raise ConnectionAbortedError(error.message)

    def _id(self) -> str:
        return self._event_id or str((self._metadata or {}).get("eventId", ""))
