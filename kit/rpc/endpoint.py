"""
The server side of an RPC, independent of how calls arrive.

`endpoints` takes the handlers out of a generated `add_…_to_server` and puts the same three things around
each, in this order: trace, error mapping, caller check. The gRPC server (`kit.rpc.server`) and the inline
channel (`kit.rpc.inline`) both call what comes out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from kit import logs
from kit.errors import GatewayError, Reason
from kit.rpc.caller import CallerRule, admits
from kit.telemetry import names

if TYPE_CHECKING:
    import grpc

    from kit.service import Binding
    from kit.telemetry.tracing import Tracing

__all__ = ["Endpoint", "endpoints"]

Behaviour = Callable[[Any, Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """
    One RPC, ready to be called.

    Attributes:
        service: Full name of its gRPC service.
        rpc: Name of the RPC.
        streams_answer: True when `behaviour` gives an async iterator, False when an awaitable.
        behaviour: Takes request (message or async iterator of them) and context; raises `GatewayError` or
            `CancelledError` and nothing else.
        handler: What was generated, for its serialisers.
    """

    service: str
    rpc: str
    streams_answer: bool
    behaviour: Behaviour
    handler: grpc.RpcMethodHandler[Any, Any]

    @property
    def path(self) -> str:
        """The RPC's path in HTTP/2."""
        return f"/{self.service}/{self.rpc}"


_OF_THIS_MACHINE: Final = CallerRule()


def endpoints(
    binding: Binding, tracing: Tracing, *, callers: CallerRule = _OF_THIS_MACHINE
) -> list[Endpoint]:
    """
    Give every RPC of a binding with the common behaviour around it.

    Args:
        binding: The service.
        tracing: Its spans.
        callers: Finds out who calls. By default, who calls over a network is not known.
    """
    collector = _Collector()
    binding.add(binding.servicer, collector)
    return [
        _endpoint(binding, rpc, handler, tracing, callers)
        for handlers in collector.found.values()
        for rpc, handler in handlers.items()
    ]


class _Collector:
    """Stands in for a server, to receive the handlers of generated code."""

    def __init__(self) -> None:
        self.found: dict[str, Mapping[str, grpc.RpcMethodHandler[Any, Any]]] = {}

    def add_generic_rpc_handlers(self, handlers: Iterable[object]) -> None:
        """Ignore what `add_registered_method_handlers` brings in a usable form."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Keep the handlers of a service."""
        self.found[service] = handlers


def _endpoint(
    binding: Binding,
    rpc: str,
    handler: grpc.RpcMethodHandler[Any, Any],
    tracing: Tracing,
    callers: CallerRule,
) -> Endpoint:
    inner = cast(
        "Behaviour",
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream,
    )
    streams_answer = bool(handler.response_streaming)
    guard = _Guard(binding, rpc, tracing, callers)
    return Endpoint(
        service=binding.service,
        rpc=rpc,
        streams_answer=streams_answer,
        behaviour=guard.stream(inner) if streams_answer else guard.unary(inner),
        handler=handler,
    )


class _Guard:
    """What stands around every handler."""

    def __init__(self, binding: Binding, rpc: str, tracing: Tracing, callers: CallerRule) -> None:
        self._allowed = callers.allowed(binding.allowed(rpc), binding.service, rpc)
        self._name = f"{binding.service}/{rpc}"
        self._attributes = {names.RPC_SYSTEM_NAME: names.RPC_SYSTEM_GRPC, names.RPC_METHOD: self._name}
        self._callers = callers
        self._tracing = tracing
        self._log = logs.get(tracing.service, "rpc")

    def unary(self, inner: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        async def call(request: Any, context: Any) -> Any:
            metadata = _metadata(context)
            with self._tracing.server_span(self._name, metadata, self._attributes):
                try:
                    self._check(metadata, context)
                    return await inner(request, context)
                except GatewayError:
                    raise
                except Exception as error:
                    raise self._internal(error) from error

        return call

    def stream(self, inner: Callable[[Any, Any], AsyncIterator[Any]]) -> Behaviour:
        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            metadata = _metadata(context)
            with self._tracing.server_span(self._name, metadata, self._attributes):
                try:
                    self._check(metadata, context)
                    # The consumer may stop early; what the handler holds is then let go at once, not when the
                    # garbage collector finds it.
                    async with aclosing(inner(request, context)) as answers:  # type: ignore[type-var]  # a generator
                        async for answer in answers:
                            yield answer
                except GatewayError:
                    raise
                except Exception as error:
                    raise self._internal(error) from error

        return call

    def _check(self, metadata: Mapping[str, str], context: Any) -> None:
        caller = self._callers.caller(metadata, context)
        if not admits(self._allowed, caller):
            raise GatewayError(
                Reason.CALLER_NOT_ALLOWED,
                f"{caller or 'This caller'} may not call {self._name}.",
                caller=caller,
            )

    def _internal(self, error: Exception) -> GatewayError:
        self._log.error("rpc failed", rpc=self._name, exc_info=error)
        return GatewayError(Reason.INTERNAL, "Something went wrong on our side.")


def _metadata(context: Any) -> dict[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
