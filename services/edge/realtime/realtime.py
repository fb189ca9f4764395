"""
Answers handshakes of WebSockets on native paths, and ends their sessions when the process does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from services.edge.handlers import native
from services.edge.realtime import handshake
from services.edge.realtime.session import Session
from services.edge.realtime.sink import SessionSink

if TYPE_CHECKING:
    from aiohttp import web

    from services.edge.config import EdgeConfig
    from services.edge.headers import RequestHeaders
    from services.edge.health_reports import HealthReports
    from services.edge.pipeline.pipeline import Pipeline
    from services.edge.pipeline.providers import Providers
    from services.edge.pipeline.reservations import Reservations
    from services.edge.routes import Route

__all__ = ["Realtime"]

# Of the grace that a stop leaves, what it takes to close: a provider has half a second to answer, and then
# the client is told. What takes longer is cut off with the requests of the pipeline, just before the end.
_CLOSING_S: Final = 1.0


class Realtime:
    """
    The sessions with providers.

    Args:
        pipeline: Admits and records them.
        providers: Reaches the provider services.
        reservations: Asks whether limits leave room.
        health: Told how providers took them.
        config: Limits.
        log: Where defects are told.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        providers: Providers,
        reservations: Reservations,
        health: HealthReports,
        config: EdgeConfig,
        *,
        log: Any,
    ) -> None:
        self._pipeline = pipeline
        self._log = log
        self._providers = providers
        self._reservations = reservations
        self._health = health
        self._config = config
        self._open: set[Session] = set()
        self._stopping = False

    async def answer(
        self, request: web.BaseRequest, route: Route, headers: RequestHeaders
    ) -> web.StreamResponse:
        """
        Serve a client from handshake to close.

        Raises:
            GatewayError: INVALID_REQUEST; it is no handshake, or holds a token where none may be.
        """
        handshake.check(request)
        offers = handshake.offers_of(request)
        headers.gateway_token = headers.gateway_token or offers.token
        exchange = native.exchange(
            route,
            method=request.method,
            query=request.raw_path.partition("?")[2],
            headers=headers,
            body=b"",
            streamed=True,
        )
        sink = SessionSink(request, exchange.dialect, self._log)
        session = Session(
            request,
            offers,
            sink,
            providers=self._providers,
            reservations=self._reservations,
            health=self._health,
            config=self._config,
        )
        self._open.add(session)
        try:
            if self._stopping:
                session.stop()
            await self._pipeline.run(exchange, sink, session.serve)
        finally:
            self._open.discard(session)
        assert sink.response is not None
        return sink.response

    def stop(self, grace_s: float) -> None:
        """Begin no more sessions, and close those that are still open when the grace is nearly over."""
        self._stopping = True
        if grace_s <= _CLOSING_S:
            self._close()
        else:
            asyncio.get_running_loop().call_later(grace_s - _CLOSING_S, self._close)

    def _close(self) -> None:
        for session in list(self._open):
            session.stop()
