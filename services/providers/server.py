"""
The provider service over gRPC: one attempt at a provider, and the lists of models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.provider.v1 import provider_service_pb2 as pb
from headrace.provider.v1.provider_service_pb2_grpc import ProviderServiceServicer
from kit.errors import GatewayError, Reason
from services.providers import convert
from services.providers.relay import relay_for
from services.providers.upstream import UpstreamRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from typing import Any

    from services.providers.adapters.adapter import Adapter
    from services.providers.models import ModelLists
    from services.providers.telemetry import AttemptTelemetry
    from services.providers.upstream import Timeouts, Upstream

__all__ = ["ProviderServicer"]

_NOTHING = pb.InvokeResponse()


class ProviderServicer(ProviderServiceServicer):
    """
    Answers the calls of `headrace.provider.v1.ProviderService`.

    Args:
        adapters: By slug.
        upstream: Where the adapters' requests are sent.
        timeouts: Where a request names none.
        models: The lists of models.
        telemetry: Told of each attempt.
        log: For what a list of models leaves out.
    """

    def __init__(
        self,
        *,
        adapters: Mapping[str, Adapter],
        upstream: Upstream,
        timeouts: Timeouts,
        models: ModelLists,
        telemetry: AttemptTelemetry,
        log: Any,
    ) -> None:
        self._adapters = adapters
        self._upstream = upstream
        self._timeouts = timeouts
        self._models = models
        self._telemetry = telemetry
        self._log = log

    async def Invoke(self, request: pb.InvokeRequest, context: object) -> AsyncIterator[pb.InvokeResponse]:
        """Make one attempt."""
        adapter = self._adapter(request.provider)
        call = convert.call_of(request)
        with self._telemetry.attempt(adapter, call) as attempt:
            exchange = await adapter.exchange(call)
            answer = await self._upstream.send(
                UpstreamRequest(
                    provider=request.provider,
                    method=exchange.method,
                    url=exchange.url,
                    headers=exchange.headers,
                    body=exchange.body,
                    timeouts=convert.timeouts_of(request.timeouts, self._timeouts),
                )
            )
            try:
                relay = relay_for(exchange, answer, stream=call.stream, provider=request.provider)
                attempt.relay = relay
                message = await relay.head()
                message.head.body_dialect = convert.body_dialect(call, exchange)
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
                answer.close()

    async def ListModels(self, request: pb.ListModelsRequest, context: object) -> pb.ListModelsResponse:
        """List the models of one provider, or of all that answer."""
        slugs = (request.provider,) if request.provider else tuple(self._adapters)
        response = pb.ListModelsResponse()
        for adapter in map(self._adapter, slugs):
            slug = adapter.provider.slug
            try:
                rows = await self._models.of(adapter)
            except GatewayError as error:
                self._log.warning("models not listed", provider=slug, reason=error.reason.value)
                continue
            for model, context_tokens in rows:
                response.models.add(provider=slug, model=model, context_tokens=context_tokens)
        return response

    def _adapter(self, slug: str) -> Adapter:
        adapter = self._adapters.get(slug)
        if adapter is None:
            raise GatewayError(
                Reason.INVALID_PROVIDER, f"There is no provider {slug[:64]!r} here.", provider=slug[:64]
            )
        return adapter
