"""Spans as they are exported, and when tracing is on."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kit.config import ConfigError
from kit.errors import GatewayError, Reason
from kit.telemetry.metrics import LoopStall, new_registry
from kit.telemetry.setup import Telemetry, exporter_names
from kit.telemetry.tracing import current_span, propagation_headers

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = PARENT[:-1] + "0"


class Recorded:
    """Tracing whose spans stay in memory."""

    def __init__(self, env: dict[str, str] | None = None, *, shared: bool = False) -> None:
        self.exporter = InMemorySpanExporter()
        self.telemetry = Telemetry(
            env or {}, process="edge-0", shared=shared, processor=SimpleSpanProcessor(self.exporter)
        )

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


ASKED: list[tuple[dict[str, str], tuple[str, ...]]] = [
    ({}, ()),
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317"}, ("otlp",)),
    ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4317"}, ("otlp",)),
    ({"OTEL_TRACES_EXPORTER": "otlp"}, ("otlp",)),
    ({"OTEL_TRACES_EXPORTER": "otlp,console"}, ("otlp", "console")),
    ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317"}, ()),
    ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "TRUE"}, ()),
    ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ("otlp",)),
]


@pytest.mark.parametrize(("env", "expected"), ASKED)
def test_tracing_is_on_when_asked_for(env: dict[str, str], expected: tuple[str, ...]) -> None:
    """Spans are exported only when the standard variables say so."""
    assert expected == exporter_names(env)


@pytest.mark.parametrize(
    "env",
    [
        {"OTEL_TRACES_EXPORTER": "jaeger"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
    ],
)
def test_exporter_that_is_not_there_is_refused(env: dict[str, str]) -> None:
    """An exporter or protocol that is not installed is a settings problem."""
    with pytest.raises(ConfigError):
        exporter_names(env)


def test_spans_form_a_tree() -> None:
    """A span is a child of the one around it, and the outermost of the remote caller's."""
    recorded = Recorded()
    tracing = recorded.telemetry.tracing("edge")
    with (
        tracing.server_span("POST /v1", {"traceparent": PARENT}, {"http.route": "/v1"}),
        tracing.span("auth", "client") as client,
    ):
        assert client is current_span()
        outgoing = propagation_headers()["traceparent"]
    server, child = recorded.spans()["POST /v1"], recorded.spans()["auth"]
    assert server.context is not None
    assert server.parent is not None
    assert child.parent is not None
    assert child.context is not None

    assert PARENT[3:35] == f"{server.context.trace_id:032x}"
    assert PARENT[36:52] == f"{server.parent.span_id:016x}"
    assert server.context.span_id == child.parent.span_id
    assert f"00-{PARENT[3:35]}-{child.context.span_id:016x}-01" == outgoing
    assert "/v1" == (server.attributes or {})["http.route"]
    assert ("SERVER", "CLIENT") == (server.kind.name, child.kind.name)
    assert current_span() is None


def test_server_span_does_not_inherit() -> None:
    """A call without a trace begins its own, whatever ran before in the same task."""
    recorded = Recorded()
    tracing = recorded.telemetry.tracing("edge")
    with tracing.span("outer"), tracing.server_span("call", {}):
        pass

    assert recorded.spans()["call"].parent is None


def test_unsampled_trace_stays_unsampled() -> None:
    """The caller's decision not to record holds, and goes on to the next hop."""
    recorded = Recorded()
    tracing = recorded.telemetry.tracing("edge")
    with tracing.server_span("POST /v1", {"traceparent": UNSAMPLED}):
        outgoing = propagation_headers()["traceparent"]

    assert {} == recorded.spans()
    assert PARENT[3:35] == outgoing[3:35]
    assert outgoing.endswith("-00")


FAILURES: list[tuple[BaseException, str, str, str]] = [
    (GatewayError(Reason.INTERNAL, "x"), "server", "INTERNAL", "ERROR"),
    (GatewayError(Reason.UNAUTHENTICATED, "x"), "server", "UNAUTHENTICATED", "UNSET"),
    (GatewayError(Reason.UNAUTHENTICATED, "x"), "client", "UNAUTHENTICATED", "ERROR"),
    (ValueError("sk-abcdefghijklmnopqrst"), "server", "ValueError", "ERROR"),
    (asyncio.CancelledError(), "server", "CANCELLED", "UNSET"),
]


@pytest.mark.parametrize(("error", "kind", "error_type", "status"), FAILURES)
def test_failure_is_marked(error: BaseException, kind: Any, error_type: str, status: str) -> None:
    """A failed span says what kind of failure it was, and never repeats the message."""
    recorded = Recorded()
    tracing = recorded.telemetry.tracing("edge")
    scope = tracing.server_span("x", {}) if kind == "server" else tracing.span("x", kind)
    with pytest.raises(type(error)), scope:
        raise error
    span = recorded.spans()["x"]

    assert error_type == (span.attributes or {})["error.type"]
    assert status == span.status.status_code.name
    assert span.status.description is None
    assert () == tuple(span.events)


def test_each_service_of_a_process_has_its_name() -> None:
    """Services that share a process are told apart in a trace, and share one exporter."""
    recorded = Recorded(shared=True)
    for service in ("edge", "auth"):
        with recorded.telemetry.tracing(service).span(service):
            pass
    found = {name: span.resource.attributes for name, span in recorded.spans().items()}

    assert {"edge": "headrace-edge", "auth": "headrace-auth"} == {
        name: attributes["service.name"] for name, attributes in found.items()
    }
    assert all(str(each["service.instance.id"]).startswith("edge-0@") for each in found.values())


@pytest.mark.parametrize(("shared", "expected"), [(False, "mine"), (True, "mine-auth")])
def test_operator_names_the_service(
    monkeypatch: pytest.MonkeyPatch,
    shared: bool,  # noqa: FBT001 - a case
    expected: str,
) -> None:
    """OTEL_SERVICE_NAME wins; services that share a process stay distinct."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    recorded = Recorded({"OTEL_SERVICE_NAME": "mine"}, shared=shared)
    with recorded.telemetry.tracing("auth").span("x"):
        pass

    assert expected == recorded.spans()["x"].resource.attributes["service.name"]


async def test_collector_that_is_down_does_not_hold_the_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing to a collector that does not answer ends with its time limit."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    telemetry = Telemetry({"OTEL_TRACES_EXPORTER": "otlp"}, process="auth")
    with telemetry.tracing("auth").span("x"):
        pass
    began_s = time.monotonic()
    done = await telemetry.shutdown(0.3)

    assert not done
    assert time.monotonic() - began_s < 2.0


async def test_off_costs_no_opentelemetry() -> None:
    """With tracing off the shutdown has nothing to do and spans are None."""
    telemetry = Telemetry({}, process="auth")
    tracing = telemetry.tracing("auth")
    with tracing.span("x") as span:
        pass

    assert (False, False, None) == (telemetry.enabled, tracing.enabled, span)
    assert await telemetry.shutdown(0.1)


async def test_stall_of_the_loop_is_measured() -> None:
    """Code that holds the loop for longer than a gap shows in the longest stall and in the histogram."""
    registry = new_registry("auth")
    stall = LoopStall(registry)
    stall.start()
    await asyncio.sleep(0.2)
    calm_s = stall.longest_s
    time.sleep(0.25)  # noqa: ASYNC251 - the very thing
    await asyncio.sleep(0.1)
    stall.stop()

    assert stall.longest_s >= 0.19
    assert calm_s < stall.longest_s
    assert stall.longest_s == registry.get_sample_value("headrace_event_loop_stall_max_seconds")
    above = registry.get_sample_value("headrace_event_loop_stall_seconds_count")
    below = registry.get_sample_value("headrace_event_loop_stall_seconds_bucket", {"le": "0.1"})
    assert (above or 0) > (below or 0)
