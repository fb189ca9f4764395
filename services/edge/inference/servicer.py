"""
`InferenceService`: typed requests into the pipeline, typed answers out.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from headrace.common.v1 import http_pb2
from headrace.inference.v1 import inference_service_pb2 as pb
from headrace.inference.v1 import inference_service_pb2_grpc
from kit.errors import GatewayError, Reason
from services.edge import headers as names
from services.edge.client_address import of_call
from services.edge.headers import RequestHeaders, read
from services.edge.inference import convert
from services.edge.inference.sinks import CollectingSink, QueueSink
from services.edge.pipeline.exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.rpc.caller import CallerRule
    from services.edge.body_room import BodyRoom, Held
    from services.edge.handlers.models import Models
    from services.edge.pipeline.exchange import HeaderList
    from services.edge.pipeline.pipeline import Pipeline

__all__ = ["InferenceServicer"]

# gRPC's and our own; everything else a caller may send goes through the same filter as HTTP headers.
_NOT_HEADERS = ("grpc-", "headrace-")
_TOLD = frozenset({names.LOG_ID, names.PROVIDER, names.MODEL, names.STEP, names.CACHE_STATUS})
# All of printable ASCII but the percent sign, as in gRPC's own `grpc-message`.
_PLAIN = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"


class InferenceServicer(inference_service_pb2_grpc.InferenceServiceServicer):
    """Answers typed calls."""

    def __init__(
        self, pipeline: Pipeline, models: Models, *, room: BodyRoom, account: str, callers: CallerRule
    ) -> None:
        self._pipeline = pipeline
        self._room = room
        self._models = models
        self._account = account
        self._callers = callers

    async def Chat(self, request: pb.ChatRequest, context: Any) -> pb.ChatResponse:
        """Answer a conversation."""
        sink = CollectingSink()
        exchange = self._chat(request, context, stream=False)
        with self._holding(exchange):
            await self._pipeline.run(exchange, sink)
        await context.send_initial_metadata(_told(sink.headers))
        return convert.chat_response(_checked(sink), _log_id(sink.headers))

    async def ChatStream(self, request: pb.ChatRequest, context: Any) -> AsyncIterator[pb.ChatStreamResponse]:
        """Answer a conversation piece by piece."""
        sink = QueueSink()
        exchange = self._chat(request, context, stream=True)
        held = self._holding(exchange)
        running = asyncio.create_task(self._run(exchange, sink))
        try:
            await sink.begun.wait()
            await context.send_initial_metadata(_told(sink.headers))
            async for piece in sink.pieces():
                if sink.status >= 400:
                    raise _provider_error(sink.status, piece)
                for response in convert.stream_responses(piece):
                    yield response
        finally:
            running.cancel()
            with held, suppress(asyncio.CancelledError):
                await running

    async def Embed(self, request: pb.EmbedRequest, context: Any) -> pb.EmbedResponse:
        """Turn texts into vectors."""
        sink = CollectingSink()
        exchange = self._exchange(
            request, context, convert.embed_body(request), http_pb2.DIALECT_OPENAI_EMBEDDINGS, stream=False
        )
        with self._holding(exchange):
            await self._pipeline.run(exchange, sink)
        await context.send_initial_metadata(_told(sink.headers))
        return convert.embed_response(_checked(sink), _log_id(sink.headers))

    async def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:
        """List models that can be asked for."""
        found = await self._models.names(
            request.account_id or self._account, request.gateway_id or "default", self._headers(context)
        )
        return pb.ListModelsResponse(models=found)

    def _holding(self, exchange: Exchange) -> Held:
        """Hold room for a message that is here already: it bounds how many of them run."""
        held = self._room.hold()
        held.add(len(exchange.body))
        exchange.keep(held)
        return held

    async def _run(self, exchange: Exchange, sink: QueueSink) -> None:
        try:
            await self._pipeline.run(exchange, sink)
        except Exception:
            await sink.broken(GatewayError(Reason.INTERNAL, "Something went wrong on our side."))
            raise
        finally:
            sink.close()

    def _chat(self, request: pb.ChatRequest, context: Any, *, stream: bool) -> Exchange:
        if not request.messages:
            raise GatewayError(Reason.INVALID_REQUEST, "messages must not be empty.", param="messages")
        body = convert.chat_body(request, stream=stream)
        return self._exchange(request, context, body, http_pb2.DIALECT_OPENAI_CHAT, stream=stream)

    def _exchange(
        self,
        request: pb.ChatRequest | pb.EmbedRequest,
        context: Any,
        body: bytes,
        dialect: http_pb2.Dialect.ValueType,
        *,
        stream: bool,
    ) -> Exchange:
        if not request.model:
            raise GatewayError(Reason.INVALID_REQUEST, "model must not be empty.", param="model")
        headers = self._headers(context)
        headers.content_type = "application/grpc"
        kind = "chat/completions" if dialect == http_pb2.DIALECT_OPENAI_CHAT else "embeddings"
        return Exchange(
            account_id=request.account_id or self._account,
            gateway_id=request.gateway_id or "default",
            token=headers.gateway_token or headers.own_token,
            dialect=dialect,
            # The same as over HTTP, so that both share cache entries.
            endpoint=f"compat/{kind}",
            requested_model=request.model,
            body=body,
            streamed=stream,
            headers=headers,
        )

    def _headers(self, context: Any) -> RequestHeaders:
        headers = read(
            (key.encode("ascii"), value if isinstance(value, bytes) else value.encode("utf-8"))
            for key, value in context.invocation_metadata() or ()
            if key == names.CLIENT_ADDRESS
            or (not key.startswith(_NOT_HEADERS) and key not in ("content-type", "user-agent"))
        )
        headers.client_address = of_call(
            context.peer(), headers.client_address, trust_network=self._callers.forwarded(context)
        )
        return headers


def _told(headers: HeaderList) -> tuple[tuple[str, str], ...]:
    """Give the answer's metadata: printable ASCII is all that gRPC takes, so the rest is percent-encoded."""
    return tuple((name, quote(value, _PLAIN, errors="replace")) for name, value in headers if name in _TOLD)


def _log_id(headers: HeaderList) -> str:
    return next((value for name, value in headers if name == names.LOG_ID), "")


def _checked(sink: CollectingSink) -> bytes:
    if sink.status >= 400:
        raise _provider_error(sink.status, sink.body)
    return sink.body


def _provider_error(status: int, body: bytes) -> GatewayError:
    try:
        message = str(orjson.loads(body)["error"]["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        message = f"The provider answered with status {status}."
    return GatewayError(Reason.UPSTREAM_ERROR, message, status=str(status))
