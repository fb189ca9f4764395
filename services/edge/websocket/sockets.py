"""
Accepts WebSockets of the universal endpoint, and ends them when the process does.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from headrace.common.v1 import http_pb2
from headrace.provider.v1 import provider_service_pb2
from kit.errors import GatewayError, Reason
from services.edge import headers as names
from services.edge.arriving import counted
from services.edge.http_sink import named
from services.edge.pipeline.exchange import Exchange
from services.edge.websocket.conversation import Conversation
from services.edge.websocket.subprotocols import choose, offered_token

if TYPE_CHECKING:
    from services.edge.config import EdgeConfig
    from services.edge.headers import RequestHeaders
    from services.edge.pipeline.access import Access
    from services.edge.pipeline.pipeline import Pipeline
    from services.edge.routes import Route

__all__ = ["Sockets"]

_PROTOCOL: Final = "sec-websocket-protocol"
# A client that does not answer our close is not waited for.
_CLOSE_S: Final = 1.0
# Any will do: at the handshake only the gateway and the token are of interest.
_SOME_PROVIDER: Final = "openai"
_OF_STEPS: Final = frozenset({"provider", "model"})


class Sockets:
    """
    The open WebSockets.

    Args:
        access: Decides who may open one.
        pipeline: Answers their requests.
        config: Limits.
        log: Where defects are told.
    """

    def __init__(self, access: Access, pipeline: Pipeline, config: EdgeConfig, log: Any) -> None:
        self._access = access
        self._pipeline = pipeline
        self._config = config
        self._log = log
        self._open: set[Conversation] = set()
        self._stopping = False

    async def answer(
        self, request: web.BaseRequest, route: Route, headers: RequestHeaders
    ) -> web.StreamResponse:
        """
        Serve a client from handshake to close.

        Raises:
            GatewayError: It may not open a WebSocket, or does not ask for one.
        """
        if request.headers.get("upgrade", "").strip().lower() != "websocket":
            raise GatewayError(
                Reason.METHOD_NOT_ALLOWED,
                "GET opens a WebSocket here, with `Upgrade: websocket`; requests of HTTP are POST.",
                method=request.method,
            )
        offers = request.headers.getall(_PROTOCOL, [])
        headers.gateway_token = headers.gateway_token or offered_token(offers)
        await self._admit(route, headers)
        if names.IDEMPOTENCY_KEY in request.headers:
            raise GatewayError(
                Reason.INVALID_REQUEST,
                "An Idempotency-Key stands for one request: it goes into the `headers` of a message's step.",
                param=names.IDEMPOTENCY_KEY,
            )
        socket = await self._accept(request, choose(offers))
        conversation = Conversation(
            socket,
            cut=partial(_cut, request),
            route=route,
            headers=headers,
            pipeline=self._pipeline,
            arriving=counted(request, socket),
            config=self._config,
            log=self._log,
        )
        self._open.add(conversation)
        try:
            if self._stopping:
                conversation.stop()
            await conversation.run()
        finally:
            self._open.discard(conversation)
        return socket

    def stop(self) -> None:
        """Take no more requests; each connection closes when it has none under way."""
        self._stopping = True
        for conversation in self._open:
            conversation.stop()

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(*(each.close() for each in list(self._open)), return_exceptions=True)

    async def _admit(self, route: Route, headers: RequestHeaders) -> None:
        """
        Check that the gateway exists, and that the token allows what it must; each request asks again.

        Raises:
            GatewayError: One of them is not so, or who decides is away.
        """
        exchange = Exchange(
            account_id=route.account_id,
            gateway_id=route.gateway_id,
            token=headers.gateway_token,
            dialect=http_pb2.DIALECT_NATIVE,
            endpoint=route.endpoint,
            provider=_SOME_PROVIDER,
            native=provider_service_pb2.NativeTarget(method="POST"),
            headers=headers,
        )
        try:
            await self._access.admit(exchange)
        except GatewayError as error:
            # That the token is for other providers than this one says nothing about its requests.
            if error.reason != Reason.PERMISSION_DENIED or error.metadata.get("resource") not in _OF_STEPS:
                raise

    async def _accept(
        self, request: web.BaseRequest, protocols: tuple[str, ...]
    ) -> web.WebSocketResponse[Any]:
        socket: web.WebSocketResponse[Any] = web.WebSocketResponse(
            timeout=_CLOSE_S,
            heartbeat=self._config.websocket_heartbeat_s,
            protocols=protocols,
            # Nothing of a stream is worth the memory and the time of a compressor for each connection.
            compress=False,
            max_msg_size=self._config.max_body_bytes,
            decode_text=False,
        )
        named(socket)
        try:
            await socket.prepare(request)
        except web.HTTPBadRequest:
            # aiohttp's own text repeats what the client sent.
            raise GatewayError(
                Reason.INVALID_REQUEST, "The handshake of the WebSocket is not valid."
            ) from None
        return socket


def _cut(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()
