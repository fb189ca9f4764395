"""
Which process speaks for which provider.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, cast

from headrace.cache.v1 import cache_service_pb2
from headrace.provider.v1 import provider_service_pb2, provider_service_pb2_grpc
from kit.errors import GatewayError
from kit.providers import LOCAL, SLUGS, operator_custom

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from grpc.aio import Channel

    from headrace.common.v1 import caller_pb2
    from kit.service import Runtime
    from services.edge.pipeline.exchange import Upload

__all__ = ["Providers"]

_LIST_TIMEOUT_S = 5.0
_HOST = re.compile(r"dns:///([a-z0-9][a-z0-9-]*)(?:\.[a-z0-9.-]+)?:[0-9]+")

# Headers that describe a body, and are wrong of what is made of it.
_OF_THE_FORM: Final = frozenset(
    {
        "accept-ranges", "content-digest", "content-encoding", "content-length", "content-md5",
        "content-range", "content-type", "digest", "etag", "repr-digest", "transfer-encoding",
    }
)  # fmt: skip


class Providers:
    """
    The provider services, by the slug of the provider.

    Attributes:
        processes: Channels to all processes but the shared one, by name.
    """

    def __init__(self, runtime: Runtime, *, local_model: bool) -> None:
        self._log = runtime.log("providers")
        known = (*SLUGS, *operator_custom(runtime.env))
        self._slugs = tuple(slug for slug in known if local_model or slug != LOCAL)
        shared = provider_service_pb2_grpc.ProviderServiceStub(runtime.channel("providers"))
        self._shared = shared
        names, self.processes = _own_channels(runtime, self._slugs)
        stubs: dict[str, provider_service_pb2_grpc.ProviderServiceAsyncStub] = {
            name: provider_service_pb2_grpc.ProviderServiceStub(channel)
            for name, channel in self.processes.items()
        }
        self._own: Mapping[str, provider_service_pb2_grpc.ProviderServiceAsyncStub] = {
            slug: stubs[name] for slug, name in names.items()
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

    async def upload(
        self, slug: str, request: provider_service_pb2.InvokeRequest, body: Upload
    ) -> AsyncIterator[provider_service_pb2.InvokeResponse]:
        """
        Make one attempt at a provider, with a body that is sent on as it comes.

        Raises:
            GatewayError: Also when the body could not be read to its end.
        """
        task, whole = asyncio.current_task(), False
        answers = self._own.get(slug, self._shared).Upload(_messages(request, body))
        try:
            async with aclosing(answers):  # type: ignore[type-var]  # a generator in both topologies
                async for answer in answers:
                    whole = whole or answer.HasField("tail")
                    yield answer
        except (GatewayError, asyncio.CancelledError):
            if task is not None and task.cancelling():
                raise
            # A call that is answered before its body is whole ends in an error of its own, after the answer;
            # one whose body breaks off is cancelled without a word on why.
            if whole:
                return
            if body.error is None:
                raise
            raise body.error from None

    def connect(
        self, slug: str, requests: AsyncIterator[provider_service_pb2.ConnectRequest]
    ) -> AsyncIterator[provider_service_pb2.ConnectResponse]:
        """Open a WebSocket at a provider."""
        return cast(
            "AsyncIterator[provider_service_pb2.ConnectResponse]",
            self._own.get(slug, self._shared).Connect(requests),
        )

    async def reshape(
        self, entry: cache_service_pb2.Entry, *, stream: bool, request: bytes
    ) -> cache_service_pb2.Entry | None:
        """Give a kept answer in its other form; None where it has none, or nobody is there to tell."""
        asked = provider_service_pb2.ReshapeRequest(
            dialect=entry.dialect, body=entry.body, stream=stream, request=request
        )
        try:
            answer = await self._shared.Reshape(asked, timeout=_LIST_TIMEOUT_S)
        except GatewayError as error:
            self._log.debug("kept answer not reshaped", reason=error.reason)
            return None
        other = cache_service_pb2.Entry()
        other.CopyFrom(entry)
        del other.pieces[:], other.headers[:]
        other.body = answer.body
        if stream:
            other.pieces.add(size=len(answer.body))
        other.headers.extend(header for header in entry.headers if header.name not in _OF_THE_FORM)
        other.headers.add(name="content-type", value=answer.content_type.encode())
        return other

    async def models(
        self, caller: caller_pb2.Caller, slug: str | None = None
    ) -> list[provider_service_pb2.Model]:
        """List the models of one provider, or of all; one that does not answer is left out."""
        slugs = self._slugs if slug is None else [known for known in self._slugs if known == slug]
        lists = await asyncio.gather(*(self._models_of(each, caller) for each in slugs))
        return [model for models in lists for model in models]

    async def _models_of(self, slug: str, caller: caller_pb2.Caller) -> list[provider_service_pb2.Model]:
        stub = self._own.get(slug, self._shared)
        request = provider_service_pb2.ListModelsRequest(caller=caller, provider=slug)
        try:
            return list((await stub.ListModels(request, timeout=_LIST_TIMEOUT_S)).models)
        except GatewayError as error:
            self._log.debug("models not listed", provider=slug, reason=error.reason)
            return []


async def _messages(
    request: provider_service_pb2.InvokeRequest, body: Upload
) -> AsyncIterator[provider_service_pb2.UploadRequest]:
    yield provider_service_pb2.UploadRequest(invoke=request)
    async for data in body.pieces():
        yield provider_service_pb2.UploadRequest(data=data)
    yield provider_service_pb2.UploadRequest(last=True)


def _own_addresses(env: Mapping[str, str], slugs: Sequence[str]) -> dict[str, str]:
    """Return the address of each provider that the operator gave one of its own."""
    found = {slug: env.get(f"HEADRACE_PROVIDER_{slug.upper().replace('-', '_')}_ADDRESS") for slug in slugs}
    return {slug: address for slug, address in found.items() if address}


def _own_channels(runtime: Runtime, slugs: tuple[str, ...]) -> tuple[dict[str, str], dict[str, Channel]]:
    """Give the name of the process of each provider that does not live at the shared one, and its channel."""
    addresses = _own_addresses(runtime.env, slugs)
    shared = None if runtime.inline.offers("providers") else runtime.addresses.get("providers")
    processes: dict[str, str] = {}
    names: dict[str, str] = {}
    for slug, address in addresses.items():
        if address != shared:
            names[slug] = processes.setdefault(address, _process_at(address, slug))
    channels = {name: runtime.channel(name, address) for address, name in processes.items()}
    if LOCAL in slugs and LOCAL not in addresses:
        names[LOCAL] = "providers-local"
        channels[names[LOCAL]] = runtime.channel(names[LOCAL])
    return names, channels


def _process_at(address: str, slug: str) -> str:
    """Name a process by its host, where that is a name, as several providers may live there."""
    host = _HOST.fullmatch(address)
    return host[1] if host else f"providers-{slug}"
