"""
Spans and the trace context (W3C Trace Context) that ties processes together.

When tracing is off, a span costs next to nothing and the context that came in goes out again word for word,
so that Headrace never breaks a trace of those around it. The OpenTelemetry packages are imported only when
tracing is on.

The current span is kept here and not in OpenTelemetry's own context: a span may be opened around the `yield`
of a generator, which is then resumed in another context, and that must do no harm.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Literal

from kit.errors import GatewayError, Reason
from kit.telemetry.names import ERROR_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

__all__ = [
    "Kind",
    "Tracing",
    "accept_context",
    "current_span",
    "current_trace_id",
    "propagation_headers",
]

Kind = Literal["internal", "client", "server"]
Attributes = dict[str, Any]
_Incoming = tuple[str, str]  # traceparent, tracestate

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
# Later versions of the format may append fields; the first four keep their meaning.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-|$)")
_TRACEPARENT_MAX = 128
_TRACESTATE = re.compile(r"[ -~\t]{0,512}")

# Failures that are the server's own doing; others are the caller's, and no error of the serving span.
_SERVER_FAULTS = frozenset(
    {
        Reason.INTERNAL,
        Reason.UPSTREAM_UNREACHABLE,
        Reason.UPSTREAM_TIMEOUT,
        Reason.UPSTREAM_MALFORMED,
        Reason.UPSTREAM_CUT,
        Reason.UPSTREAM_ERROR,
        Reason.SERVICE_UNAVAILABLE,
        Reason.DEADLINE_EXCEEDED,
        Reason.OVERLOADED,
    }
)

_span: ContextVar[Span | None] = ContextVar("headrace_span", default=None)
_incoming: ContextVar[_Incoming | None] = ContextVar("headrace_incoming", default=None)


def accept_context(headers: Mapping[str, str]) -> None:
    """
    Take over the trace context of an incoming call for everything that runs in this context from now on.

    Forgets an earlier one when there is none in the headers: a connection serves many requests.
    """
    _incoming.set(_read(headers))


def propagation_headers() -> dict[str, str]:
    """Return `traceparent` and `tracestate` for an outgoing call; empty when there is no trace."""
    span = _span.get()
    if span is None:
        incoming = _incoming.get()
        if incoming is None:
            return {}
        parent, state = incoming
    else:
        context = span.get_span_context()
        parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        state = context.trace_state.to_header() if context.trace_state else ""
    return {TRACEPARENT: parent, TRACESTATE: state} if state else {TRACEPARENT: parent}


def current_trace_id() -> str | None:
    """Return the id of the trace that this code runs for, as 32 hexadecimal digits."""
    span = _span.get()
    if span is not None:
        return f"{span.get_span_context().trace_id:032x}"
    incoming = _incoming.get()
    return incoming[0][3:35] if incoming else None


def current_span() -> Span | None:
    """Return the span that this code runs in, to set attributes on; None when tracing is off."""
    return _span.get()


class Tracing:
    """
    The spans of one service.

    Args:
        service: The service's name; other services see it in its spans.
        tracer: What makes the spans; None when tracing is off.
    """

    __slots__ = ("_tracer", "enabled", "service")

    def __init__(self, service: str, tracer: Tracer | None = None) -> None:
        self.service = service
        self.enabled = tracer is not None
        self._tracer = tracer

    def span(
        self, name: str, kind: Kind = "internal", attributes: Attributes | None = None
    ) -> AbstractContextManager[Span | None]:
        """
        Run a block in a span of its own, a child of the current one.

        Gives the span, or None when tracing is off: work that only an attribute needs hangs on `if span`.
        """
        if self._tracer is None:
            return _NOTHING
        return _Scope(self._tracer, name, kind, attributes, fresh=False, incoming=None)

    def server_span(
        self, name: str, headers: Mapping[str, str], attributes: Attributes | None = None
    ) -> AbstractContextManager[Span | None]:
        """
        Run the handling of an incoming call in a span whose parent is the caller's.

        Args:
            name: Name of the span.
            headers: HTTP headers or gRPC metadata of the call, looked up in lower case.
            attributes: Attributes known at the start; samplers see them.
        """
        incoming = _read(headers)
        if self._tracer is None:
            if incoming is None and _incoming.get() is None:
                return _NOTHING
            return _Passing(incoming)
        return _Scope(self._tracer, name, "server", attributes, fresh=True, incoming=incoming)


_NOTHING: Final[AbstractContextManager[None]] = nullcontext()


def _read(headers: Mapping[str, str]) -> _Incoming | None:
    parent = headers.get(TRACEPARENT)
    if parent is None or len(parent) > _TRACEPARENT_MAX or not _TRACEPARENT.match(parent):
        return None
    if not parent.isascii() or not parent.isprintable():
        return None
    state = headers.get(TRACESTATE, "")
    return parent, state if _TRACESTATE.fullmatch(state) else ""


class _Passing:
    """Tracing is off: holds what came in, for what goes out meanwhile."""

    __slots__ = ("_before", "_mine")

    def __init__(self, incoming: _Incoming | None) -> None:
        self._mine = incoming
        self._before: _Incoming | None = None

    def __enter__(self) -> None:
        self._before = _incoming.get()
        _incoming.set(self._mine)

    def __exit__(self, *_: object) -> None:
        if _incoming.get() is self._mine:
            _incoming.set(self._before)


class _Scope:
    """A running span that is the current one meanwhile."""

    __slots__ = ("_attributes", "_before", "_fresh", "_incoming", "_kind", "_name", "_span", "_tracer")

    def __init__(
        self,
        tracer: Tracer,
        name: str,
        kind: Kind,
        attributes: Attributes | None,
        *,
        fresh: bool,
        incoming: _Incoming | None,
    ) -> None:
        self._tracer = tracer
        self._name = name
        self._kind = kind
        self._attributes = attributes
        self._fresh = fresh
        self._incoming = incoming
        self._span: Span | None = None
        self._before: Span | None = None

    def __enter__(self) -> Span:
        from opentelemetry.trace import SpanKind

        self._before = _span.get()
        self._span = self._tracer.start_span(
            self._name,
            context=_parent_context(
                None if self._fresh else self._before,
                self._incoming if self._fresh else _incoming.get(),
            ),
            kind=SpanKind[self._kind.upper()],
            attributes=self._attributes,
        )
        _span.set(self._span)
        return self._span

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        span = self._span
        if span is None:
            return
        # Another context may have resumed us (a generator that was closed late): leave its span alone.
        if _span.get() is span:
            _span.set(self._before)
        if error is not None:
            _mark(span, error, self._kind)
        span.end()


def _parent_context(current: Span | None, incoming: _Incoming | None) -> Context:
    from opentelemetry import trace
    from opentelemetry.context import Context

    if current is not None:
        return trace.set_span_in_context(current, Context())
    if incoming is None:
        return Context()
    parent, state = incoming
    remote = trace.SpanContext(
        trace_id=int(parent[3:35], 16),
        span_id=int(parent[36:52], 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(int(parent[53:55], 16)),
        trace_state=trace.TraceState.from_header([state]) if state else None,
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(remote), Context())


def _mark(span: Span, error: BaseException, kind: Kind) -> None:
    """Say on the span how it failed: the kind of error alone, as its text may hold what people wrote."""
    from opentelemetry.trace import Status, StatusCode

    if isinstance(error, GeneratorExit):  # the consumer has had enough
        return
    if isinstance(error, asyncio.CancelledError):
        span.set_attribute(ERROR_TYPE, Reason.CANCELLED.value)
        return
    if not isinstance(error, GatewayError):
        span.set_attribute(ERROR_TYPE, type(error).__qualname__)
        span.set_status(Status(StatusCode.ERROR))
        return
    span.set_attribute(ERROR_TYPE, error.reason.value)
    if kind != "server" or error.reason in _SERVER_FAULTS:
        span.set_status(Status(StatusCode.ERROR))
