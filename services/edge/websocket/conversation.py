"""
One client's WebSocket: reads its requests, runs them side by side, and ends them with the connection.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from aiohttp import WSCloseCode, WSMsgType

from kit.errors import GatewayError, Reason
from services.edge.handlers import universal
from services.edge.websocket import frames
from services.edge.websocket.sink import WebSocketSink

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from services.edge.arriving import Arriving
    from services.edge.config import EdgeConfig
    from services.edge.headers import RequestHeaders
    from services.edge.pipeline.exchange import Exchange
    from services.edge.pipeline.pipeline import Pipeline
    from services.edge.routes import Route

__all__ = ["Conversation"]

_REQUEST: Final = "request"
# A client that reads nothing any more is not waited for.
_CLOSE_S: Final = 0.3


class Conversation:
    """
    Serves a WebSocket until it closes.

    Args:
        socket: The connection, accepted. It gives text as bytes.
        cut: Ends the connection without a word.
        route: Whose account and gateway.
        headers: The headers of the handshake, which apply to every request.
        pipeline: Answers requests.
        arriving: Counts its messages.
        config: Limits.
        log: Where defects are told.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse[Any],
        *,
        cut: Callable[[], None],
        route: Route,
        headers: RequestHeaders,
        pipeline: Pipeline,
        arriving: Arriving,
        config: EdgeConfig,
        log: Any,
    ) -> None:
        self._socket = socket
        self._cut = cut
        self._route = route
        self._headers = headers
        self._pipeline = pipeline
        self._arriving = arriving
        self._config = config
        self._log = log
        self._running: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._closing: asyncio.Task[Any] | None = None

    async def run(self) -> None:
        """Serve the client until one of us closes, or its connection breaks."""
        try:
            async for message in self._socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await self._receive(message.data)
        except ConnectionError:
            pass
        finally:
            for task in self._running:
                task.cancel()
            waited = [*self._running, *([self._closing] if self._closing is not None else [])]
            await asyncio.gather(*waited, return_exceptions=True)

    def stop(self) -> None:
        """Take no more requests, and close once those under way have ended."""
        self._stopping = True
        self._close_if_idle()

    async def close(self) -> None:
        """Close now."""
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._socket.close(code=WSCloseCode.GOING_AWAY, message=b"Headrace is stopping.")
        except TimeoutError:
            self._cut()

    async def _receive(self, data: bytes) -> None:
        """Begin what a message asks for; one that makes no sense is answered and does no other harm."""
        event_id = ""
        held = self._arriving.take(len(data))
        try:
            event_id, asked = frames.read(data)
            self._check_room()
            exchange = self._exchange(asked, event_id)
            if held.size == 0:
                held.add(len(data))
        except GatewayError as error:
            held.give_back()
            await self._refuse(error, event_id)
            return
        except Exception as failure:  # noqa: BLE001 - others are under way on this connection
            held.give_back()
            self._log.error("message not understood", exc_info=failure, route=self._route.template)
            await self._refuse(GatewayError(Reason.INTERNAL, "Something went wrong on our side."), event_id)
            return
        streamed = any(each.streamed for each in (exchange, *exchange.alternatives))
        sink = WebSocketSink(
            self._send,
            event_id=event_id,
            streamed=streamed,
            most_bytes=self._config.websocket_answer_bytes,
        )
        exchange.keep(held)
        task = asyncio.create_task(self._answer(exchange, sink))
        self._running.add(task)
        task.add_done_callback(self._ended)
        task.add_done_callback(lambda _: held.give_back())

    async def _refuse(self, error: GatewayError, event_id: str) -> None:
        await self._send(frames.refused(error, {"eventId": event_id} if event_id else {}))

    def _check_room(self) -> None:
        if self._stopping:
            raise GatewayError(Reason.SERVICE_UNAVAILABLE, "Headrace is stopping.", retry_after_s=1.0)
        most = self._config.websocket_requests
        if len(self._running) >= most:
            raise GatewayError(
                Reason.OVERLOADED,
                f"{most} requests are under way on this connection, which is the most at a time.",
                limit=str(most),
            )

    def _exchange(self, asked: Any, event_id: str) -> Exchange:
        headers = self._headers
        if event_id:
            headers = replace(headers, options=replace(headers.options, event_id=event_id))
        return universal.exchange(
            self._route,
            headers=headers,
            asked=asked,
            max_messages=self._config.max_messages,
            where=_REQUEST,
        )

    async def _answer(self, exchange: Exchange, sink: WebSocketSink) -> None:
        try:
            await self._pipeline.run(exchange, sink)
        except ConnectionError:
            pass  # recorded by the pipeline; the loop that reads sees the end of the connection, too
        except Exception as failure:  # noqa: BLE001 - the last line of defence, which tells and logs
            self._log.error("request failed", exc_info=failure, route=self._route.template)
            await self._tell(sink, GatewayError(Reason.INTERNAL, "Something went wrong on our side."))

    async def _tell(self, sink: WebSocketSink, error: GatewayError) -> None:
        with suppress(ConnectionError):
            await sink.refuse(error, [])

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._stopping:
            self._close_if_idle()

    def _close_if_idle(self) -> None:
        if not self._running and self._closing is None:
            self._closing = asyncio.create_task(self.close())

    async def _send(self, message: bytes) -> None:
        """Send a message; waits while the client is slow to read."""
        await self._socket.send_frame(message, WSMsgType.TEXT)
