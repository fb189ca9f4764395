"""
An OpenTelemetry collector within the tests: takes spans over OTLP/gRPC and gives traces as trees.

A server of threads, not of `grpc.aio`: it lives as long as the test session while event loops come and go
with the tests, and `grpc.aio` wants one loop.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from opentelemetry.proto.common.v1 import common_pb2

_KIND_PREFIX = "SPAN_KIND_"


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedSpan:
    """A span as it was exported."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    service: str
    attributes: dict[str, Any]
    events: tuple[tuple[str, dict[str, Any]], ...]
    status: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A span with the spans below it, in the order in which they began."""

    span: CollectedSpan
    children: tuple[Node, ...]

    def walk(self) -> Iterator[Node]:
        """Give this node and all below it, depth first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def find(self, **wanted: str) -> list[Node]:
        """Give the nodes whose span's fields have these values."""
        return [
            node
            for node in self.walk()
            if all(getattr(node.span, name) == value for name, value in wanted.items())
        ]

    def sketch(self, depth: int = 0) -> str:
        """Draw the tree, for the message of a failed test."""
        line = f"{'  ' * depth}{self.span.service}: {self.span.name} [{self.span.kind}]"
        return "\n".join([line, *(child.sketch(depth + 1) for child in self.children)])


def forest(spans: Sequence[CollectedSpan]) -> tuple[Node, ...]:
    """Make the trees of some spans; a span whose parent is not among them is a root."""
    known = {span.span_id for span in spans}
    below: dict[str, list[CollectedSpan]] = {}
    for span in sorted(spans, key=lambda span: span.start_ns):
        below.setdefault(span.parent_id if span.parent_id in known else "", []).append(span)

    def nodes(parent_id: str) -> tuple[Node, ...]:
        return tuple(Node(span=span, children=nodes(span.span_id)) for span in below.get(parent_id, ()))

    return nodes("")


class OtlpCollector(trace_service_pb2_grpc.TraceServiceServicer):
    """Listens on a loopback port of its own, or where it is told to."""

    def __init__(self, *, listen: str = "127.0.0.1:0") -> None:
        self._spans: list[CollectedSpan] = []
        self._changed = threading.Condition()
        self._server = grpc.server(ThreadPoolExecutor(max_workers=4, thread_name_prefix="otlp"))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(  # type: ignore[no-untyped-call]  # generated
            self, self._server
        )
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port(listen)}"

    def __enter__(self) -> Self:
        """Listen."""
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        self._server.stop(grace=0).wait(timeout=5)

    def Export(  # the name of the RPC
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """Take spans."""
        with self._changed:
            self._spans.extend(_collected(request))
            self._changed.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    def spans(self, trace_id: str | None = None) -> list[CollectedSpan]:
        """Give the spans so far, of one trace or of all."""
        with self._changed:
            return [span for span in self._spans if trace_id in {None, span.trace_id}]

    def wait_for(
        self, trace_id: str, complete: Callable[[tuple[Node, ...]], bool], *, timeout_s: float = 15
    ) -> tuple[Node, ...]:
        """
        Give the trees of a trace as soon as they are complete.

        Exporters send in batches, so a trace comes in parts. When time runs out the trees are given as they
        are, for the test to say what is missing.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            trees = forest(self.spans(trace_id))
            left_s = deadline - time.monotonic()
            if complete(trees) or left_s <= 0:
                return trees
            with self._changed:
                self._changed.wait(min(left_s, 0.5))


def _collected(request: trace_service_pb2.ExportTraceServiceRequest) -> Iterator[CollectedSpan]:
    for resource_spans in request.resource_spans:
        service = _attributes(resource_spans.resource.attributes).get("service.name", "")
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield CollectedSpan(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    name=span.name,
                    kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix(_KIND_PREFIX),
                    service=service,
                    attributes=_attributes(span.attributes),
                    events=tuple((event.name, _attributes(event.attributes)) for event in span.events),
                    status=trace_pb2.Status.StatusCode.Name(span.status.code),
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                )


def _attributes(pairs: Sequence[common_pb2.KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: common_pb2.AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, kind) if kind else None
