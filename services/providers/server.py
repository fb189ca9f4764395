"""
The provider service over gRPC: one attempt at a provider, and the lists of models.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from headrace.provider.v1 import provider_service_pb2 as pb
from headrace.provider.v1.provider_service_pb2_grpc import ProviderServiceServicer
from kit.errors import GatewayError, Reason
from services.providers import convert
from services.providers.realtime.meters import meter_of
from services.providers.realtime.opening import Wanted
from services.providers.realtime.session import Session
from services.providers.reshape import reshaped
from services.providers.sending import Sending
from services.providers.upload import UploadedBody

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping
    from decimal import Decimal
    from typing import Any

    from kit.clock import Clock
    from kit.pricing.table import PriceTable
    from services.providers.adapters.adapter import Adapter
    from services.providers.custom import CustomAdapters
    from services.providers.model_row import ModelRow
    from services.providers.models import ModelLists
    from services.providers.realtime.opening import Opener
    from services.providers.sending import Sender
    from services.providers.telemetry import AttemptTelemetry
    from services.providers.upstream import Timeouts

__all__ = ["ProviderServicer"]

_NOTHING = pb.InvokeResponse()
# A body that has to be signed is held whole; what AWS takes is shorter than this.
_SIGNED_BYTES: Final = 32 << 20
_NANO: Final = 1_000_000_000
# A longer answer is reshaped beside the event loop.
_RESHAPED_INLINE_BYTES: Final = 64 << 10
# How long a call stays open whose answer came before the end of its body.
_EARLY_END_S: Final = 0.25


class ProviderServicer(ProviderServiceServicer):
    """
    Answers the calls of `headrace.provider.v1.ProviderService`.

    Args:
        adapters: By slug.
        custom: Those of accounts' own providers.
        sender: Makes the adapters' requests, with whoever's key they are made.
        opener: Opens WebSockets likewise.
        timeouts: Where a request names none.
        models: The lists of models.
        prices: What models cost, where their providers do not say.
        clock: The time.
        telemetry: Told of each attempt.
        session_idle_s: Longest silence on a WebSocket.
        log: For what a list of models leaves out.
    """

    def __init__(
        self,
        *,
        adapters: Mapping[str, Adapter],
        custom: CustomAdapters,
        sender: Sender,
        opener: Opener,
        timeouts: Timeouts,
        models: ModelLists,
        prices: PriceTable,
        clock: Clock,
        telemetry: AttemptTelemetry,
        session_idle_s: float,
        log: Any,
    ) -> None:
        self._adapters = adapters
        self._custom = custom
        self._sender = sender
        self._opener = opener
        self._session_idle_s = session_idle_s
        self._timeouts = timeouts
        self._models = models
        self._prices = prices
        self._clock = clock
        self._telemetry = telemetry
        self._log = log

    def Invoke(self, request: pb.InvokeRequest, context: object) -> AsyncIterator[pb.InvokeResponse]:
        """Make one attempt."""
        # Not a generator around one: the message of each token would pass both.
        return self._attempt(request, None)

    async def Upload(
        self, request_iterator: AsyncIterator[pb.UploadRequest], context: object
    ) -> AsyncIterator[pb.InvokeResponse]:
        """Make one attempt whose body is sent as it comes."""
        uploaded = await UploadedBody.begin(request_iterator)
        body: UploadedBody | None = uploaded
        request = uploaded.invoke
        if self._adapter(request).provider.signs_body:
            request = pb.InvokeRequest()
            request.CopyFrom(uploaded.invoke)
            request.body = await uploaded.read_all(_SIGNED_BYTES)
            body = None
        async with aclosing(self._attempt(request, body)) as responses:
            async for response in responses:
                yield response
        if not uploaded.whole:
            # gRPC resets a call that ends before its messages are all read.
            # What of the answer is still on its way may be lost with it.
            await asyncio.sleep(_EARLY_END_S)

    async def Connect(
        self, request_iterator: AsyncIterator[pb.ConnectRequest], context: object
    ) -> AsyncIterator[pb.ConnectResponse]:
        """Open a WebSocket at a provider, and relay its frames."""
        first = await anext(aiter(request_iterator), None)
        if first is None or not first.HasField("open") or not first.open.HasField("native"):
            text = "A session begins with what is asked, which is a native call."
            raise GatewayError(Reason.INVALID_REQUEST, text, param="open")
        adapter, call = self._adapter(first.open), convert.call_of(first.open)
        with self._telemetry.attempt(adapter, call) as attempt:
            wanted = Wanted(
                adapter=adapter,
                call=call,
                caller=first.open.caller,
                timeouts=convert.timeouts_of(first.open.timeouts, self._timeouts),
                subprotocols=first.subprotocols,
            )
            opened = await self._opener.open(wanted)
            attempt.relay = opened
            if opened.dialled is None:
                yield opened.message
                return
            session = Session(
                opened.dialled,
                request_iterator,
                meter=meter_of(opened.path),
                idle_s=self._session_idle_s,
                outcome=opened.outcome,
            )
            async with aclosing(session.responses(opened.message)) as responses:
                async for response in responses:
                    yield response

    async def _attempt(
        self, request: pb.InvokeRequest, uploaded: UploadedBody | None
    ) -> AsyncGenerator[pb.InvokeResponse, None]:
        adapter = self._adapter(request)
        call = convert.call_of(request)
        with self._telemetry.attempt(adapter, call) as attempt:
            sending = Sending(
                adapter=adapter,
                call=call,
                caller=request.caller,
                timeouts=convert.timeouts_of(request.timeouts, self._timeouts),
                uploaded=uploaded,
                attempt=attempt,
            )
            begun = await self._sender.begin(sending)
            relay, message = begun.relay, begun.message
            try:
                message.head.body_dialect = convert.body_dialect(call, begun.exchange)
                if relay.read_ahead:
                    message.MergeFrom(await relay.next() or _NOTHING)
                while not relay.over:
                    yield message
                    message = await relay.next() or pb.InvokeResponse()
                message.MergeFrom(relay.tail())
                yield message
                # The caller has everything; what is left is to bring the body to its end, for the connection
                # to be used again.
                while (trailing := await relay.trailing()) is not None:
                    yield trailing
            finally:
                # Also when the caller has gone: the provider's connection is closed with it.
                begun.answer.close()

    async def Reshape(self, request: pb.ReshapeRequest, context: object) -> pb.ReshapeResponse:
        """Turn a kept answer into its other form."""
        work = partial(
            reshaped,
            request.dialect,
            request.body,
            stream=request.stream,
            now_s=self._clock.now_ns() // _NANO,
            request=request.request,
        )
        # A long one takes its time, in which others are served.
        body, content_type = (
            work() if len(request.body) < _RESHAPED_INLINE_BYTES else await asyncio.to_thread(work)
        )
        return pb.ReshapeResponse(body=body, content_type=content_type)

    async def ListModels(self, request: pb.ListModelsRequest, context: object) -> pb.ListModelsResponse:
        """List the models of one provider, or of all that answer."""
        adapters = self._adapters
        if request.provider:
            adapters = {request.provider: self._named(request.provider)}
        response = pb.ListModelsResponse()
        await self._prices.loaded()
        at_us = self._clock.now_ns() // 1000
        for slug, adapter in adapters.items():
            try:
                rows = await self._models.of(adapter)
            except GatewayError as error:
                self._log.warning("models not listed", provider=slug, reason=error.reason.value)
                continue
            response.models.extend(self._model(slug, row, at_us) for row in rows)
        return response

    def _model(self, slug: str, row: ModelRow, at_us: int) -> pb.Model:
        """Write a model, and what the price table knows of it where its provider says nothing."""
        found = self._prices.find(slug, (row.name,), at_us)
        return convert.model(
            slug,
            replace(
                row,
                context_tokens=row.context_tokens or self._prices.context_tokens(slug, row.name),
                input_nano_usd=_or(row.input_nano_usd, found.base.input if found else None),
                output_nano_usd=_or(row.output_nano_usd, found.base.output if found else None),
            ),
        )

    def _adapter(self, request: pb.InvokeRequest) -> Adapter:
        if request.HasField("custom"):
            return self._custom.of(request.provider, request.custom)
        return self._named(request.provider)

    def _named(self, slug: str) -> Adapter:
        adapter = self._adapters.get(slug)
        if adapter is None:
            raise GatewayError(
                Reason.INVALID_PROVIDER, f"There is no provider {slug[:64]!r} here.", provider=slug[:64]
            )
        return adapter


def _or(given: float | None, listed: Decimal | None) -> float | None:
    return given if given is not None or listed is None else float(listed)
