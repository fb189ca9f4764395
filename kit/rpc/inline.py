"""
The inline channel: generated stubs call a servicer of the same process, without serialising.

Caller check, trace and errors are the same as over a connection. Messages are handed over as they are, so
neither side may change one after sending or receiving it.
"""

from __future__ import annotations

import asyncio
import contextvars
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from kit.errors import GatewayError, Reason
from kit.rpc import deadline
from kit.rpc.caller import CALLER_KEY
from kit.rpc.client import DelegatingChannel, Metadata
from kit.telemetry.tracing import propagation_headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from kit.rpc.endpoint import Endpoint
    from kit.telemetry.tracing import Tracing

__all__ = ["InlineChannel", "InlineContext", "InlineRegistry"]


class InlineRegistry:
    """The services of this process, by name, and their RPCs, by path."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """
        Args:
            names: Services that this process will run. Known beforehand, so that a service can hold a
                channel to one that starts after it.
        """
        self._names = frozenset(names)
        self._endpoints: dict[str, dict[str, Endpoint]] = {}

    def offers(self, name: str) -> bool:
        """Say whether a service is, or will be, one of this process."""
        return name in self._names

    def add(self, name: str, endpoints: Iterable[Endpoint]) -> None:
        """Add the RPCs of a service that has been built."""
        self._endpoints.setdefault(name, {}).update({endpoint.path: endpoint for endpoint in endpoints})

    def find(self, name: str, path: str) -> Endpoint:
        """
        Find an RPC.

        Raises:
            GatewayError: SERVICE_UNAVAILABLE; the service has not started yet.
        """
        try:
            return self._endpoints[name][path]
        except KeyError:
            raise GatewayError(
                Reason.SERVICE_UNAVAILABLE, f"The {name} service has not started.", service=name
            ) from None


class InlineContext:
    """What a servicer may ask of `grpc.aio.ServicerContext`, for a call without a connection."""

    __slots__ = ("_metadata", "initial_metadata")

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self.initial_metadata: Metadata = ()

    def invocation_metadata(self) -> Metadata:
        """Metadata that the caller sent."""
        return self._metadata

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        """Keep the metadata that the servicer sends."""
        self.initial_metadata = metadata

    def peer(self) -> str:
        """Say who is at the other end."""
        return "inline"


class InlineChannel(DelegatingChannel):
    """A channel to a service of the same process."""

    def __init__(self, registry: InlineRegistry, service: str, *, caller: str, tracing: Tracing) -> None:
        self._registry = registry
        self._service = service
        self._own = ((CALLER_KEY, caller),)
        self._tracing = tracing

    def unary_unary(self, method: str, *_: Any, **__: Any) -> Any:
        """Give what calls an RPC with one answer."""
        name = method[1:]

        async def call(request: Any, *, timeout: float | None = None, metadata: Metadata = ()) -> Any:
            endpoint = self._registry.find(self._service, method)
            seconds = deadline.budget(timeout)
            with self._tracing.span(name, "client"):
                context = InlineContext(self._metadata(metadata))
                if seconds is None:
                    return await endpoint.behaviour(request, context)
                try:
                    async with asyncio.timeout(seconds):
                        return await endpoint.behaviour(request, context)
                except TimeoutError:
                    raise GatewayError(
                        Reason.DEADLINE_EXCEEDED,
                        f"The {self._service} service did not answer in time.",
                        service=self._service,
                    ) from None

        return call

    # A client-streamed request is an async iterator, handed over like a message.
    stream_unary = unary_unary

    def unary_stream(self, method: str, *_: Any, **__: Any) -> Any:
        """Give what calls an RPC with a stream of answers."""
        name = method[1:]

        def call(
            request: Any, *, timeout: float | None = None, metadata: Metadata = ()
        ) -> AsyncIterator[Any]:
            # The consumer drives the handler step by step and applies its own time-outs to each step.
            del timeout
            endpoint = self._registry.find(self._service, method)
            if not self._tracing.enabled:
                answers: AsyncIterator[Any] = endpoint.behaviour(
                    request, InlineContext(self._metadata(metadata))
                )
                return answers
            return _isolated(self._traced(endpoint, name, request, metadata))

        return call

    stream_stream = unary_stream

    async def _traced(
        self, endpoint: Endpoint, name: str, request: Any, metadata: Metadata
    ) -> AsyncIterator[Any]:
        with self._tracing.span(name, "client"):
            context = InlineContext(self._metadata(metadata))
            # Closed with this one: left to the garbage collector, it may hold a connection upstream for long.
            async with aclosing(endpoint.behaviour(request, context)) as answers:
                async for answer in answers:
                    yield answer

    def _metadata(self, given: Metadata) -> Metadata:
        trace = propagation_headers()
        return (*self._own, *trace.items(), *given) if trace or given else self._own


async def _isolated(answers: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """
    Run each step of a generator in a context of its own.

    A generator shares the context of whoever iterates it, so the span that it makes current would stay
    current for its consumer between two answers.
    """
    context = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    generator: Any = answers
    try:
        while True:
            try:
                yield await loop.create_task(generator.__anext__(), context=context)
            except StopAsyncIteration:
                return
    finally:
        await loop.create_task(generator.aclose(), context=context)
