"""
Which process speaks for which provider.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from headrace.provider.v1 import provider_service_pb2, provider_service_pb2_grpc
from kit.errors import GatewayError
from kit.providers import LOCAL, SLUGS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import grpc.aio

    from headrace.common.v1 import caller_pb2
    from kit.service import Runtime

__all__ = ["Providers"]

_LIST_TIMEOUT_S = 5.0


class Providers:
    """The provider services, by the slug of the provider."""

    def __init__(self, runtime: Runtime, *, local_model: bool) -> None:
        self._log = runtime.log("providers")
        self._slugs = tuple(slug for slug in SLUGS if local_model or slug != LOCAL)
        shared = provider_service_pb2_grpc.ProviderServiceStub(runtime.channel("providers"))
        self._shared = shared
        channels = _own_channels(runtime, self._slugs)
        self._own: Mapping[str, provider_service_pb2_grpc.ProviderServiceAsyncStub] = {
            slug: provider_service_pb2_grpc.ProviderServiceStub(channel) for slug, channel in channels.items()
        }

    def invoke(
        self, slug: str, request: provider_service_pb2.InvokeRequest
    ) -> AsyncIterator[provider_service_pb2.InvokeResponse]:
        """Make one attempt at a provider."""
        # Typed as gRPC's call; our channels give an async generator.
        return cast(
            "AsyncIterator[provider_service_pb2.InvokeResponse]",
            self._own.get(slug, self._shared).Invoke(request),
        )

    async def models(self, caller: caller_pb2.Caller) -> list[provider_service_pb2.Model]:
        """List the models of all providers; one that does not answer is left out."""
        lists = await asyncio.gather(*(self._models_of(slug, caller) for slug in self._slugs))
        return [model for models in lists for model in models]

    async def _models_of(self, slug: str, caller: caller_pb2.Caller) -> list[provider_service_pb2.Model]:
        stub = self._own.get(slug, self._shared)
        request = provider_service_pb2.ListModelsRequest(caller=caller, provider=slug)
        try:
            return list((await stub.ListModels(request, timeout=_LIST_TIMEOUT_S)).models)
        except GatewayError as error:
            self._log.debug("models not listed", provider=slug, reason=error.reason)
            return []


def _own_channels(runtime: Runtime, slugs: tuple[str, ...]) -> dict[str, grpc.aio.Channel]:
    """Give the channel of each provider that does not live at the shared process."""
    own = {}
    for slug in slugs:
        address = runtime.env.get(f"HEADRACE_PROVIDER_{slug.upper().replace('-', '_')}_ADDRESS")
        if address:
            own[slug] = runtime.channel(f"providers-{slug}", address)
        elif slug == LOCAL:
            own[slug] = runtime.channel("providers-local")
    return own
