"""The stand-ins themselves: what other tests rely on when they see nothing wrong."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2

from scripts.node_setup import NODE_DIR
from tests.e2e.calls import call, chat_body
from tests.e2e.upstreams import OPENAI_KEY
from tests.fakes.otlp_collector import OtlpCollector

if TYPE_CHECKING:
    import aiohttp

    from tests.e2e.upstreams import Upstreams


def span(trace_id: bytes, span_id: bytes, parent_id: bytes, name: str, start: int) -> trace_pb2.Span:
    """Make a span."""
    return trace_pb2.Span(
        trace_id=trace_id, span_id=span_id, parent_span_id=parent_id, name=name, start_time_unix_nano=start
    )


def test_the_collector_makes_trees() -> None:
    """Spans that come in any order and in several exports become one tree, children by their start."""
    trace_id = b"\x01" * 16
    root, first, second = b"\x0a" * 8, b"\x0b" * 8, b"\x0c" * 8
    exports = [
        [span(trace_id, second, root, "second", 3)],
        [span(trace_id, first, root, "first", 2), span(trace_id, root, b"\xff" * 8, "root", 1)],
    ]
    with OtlpCollector() as collector:
        with grpc.insecure_channel(collector.endpoint.removeprefix("http://")) as channel:
            stub = trace_service_pb2_grpc.TraceServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
            for spans in exports:
                scope = trace_pb2.ScopeSpans(spans=spans)
                stub.Export(
                    trace_service_pb2.ExportTraceServiceRequest(
                        resource_spans=[trace_pb2.ResourceSpans(scope_spans=[scope])]
                    )
                )
        [tree] = collector.wait_for(trace_id.hex(), bool)

    assert tree.span.name == "root"
    assert [child.span.name for child in tree.children] == ["first", "second"]


async def test_aimock_takes_no_key_but_the_ones_it_knows(
    upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """A request with any other key is refused, so an answer proves that the right key went upstream."""
    url = f"{upstreams.front.url}/v1/chat/completions"
    known = await call(session, url, chat_body("gpt-4o-mini", "hi"), token=OPENAI_KEY)
    unknown = await call(session, url, chat_body("gpt-4o-mini", "hi"), token="hr_any_token")

    assert (known.status, unknown.status) == (200, 401)


async def test_the_front_tells_steered_from_relayed(
    upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """Only a model with directives is answered by the steerable fake; both are remembered."""
    marker = uuid.uuid4().hex
    url = f"{upstreams.front.url}/v1/chat/completions"
    steered = await call(session, url, chat_body("gpt-4o-mini+echo", marker), token=OPENAI_KEY)
    relayed = await call(session, url, chat_body("gpt-4o-mini", marker), token=OPENAI_KEY)

    assert steered.text == marker
    assert relayed.text == "The stand-in answers."
    assert len(upstreams.received(marker)) == 2
    assert len(upstreams.aimock.asked_with(marker)) == 1


def test_the_lock_file_names_versions_and_no_addresses() -> None:
    """Node packages are locked by version and hash, wherever they are downloaded from."""
    text = (NODE_DIR / "package-lock.json").read_text()
    packages = {name: entry for name, entry in json.loads(text)["packages"].items() if name}

    assert "://" not in text
    assert packages
    assert all(entry["version"] and entry["integrity"].startswith("sha512-") for entry in packages.values())
