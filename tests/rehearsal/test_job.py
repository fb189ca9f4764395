"""The main job, from the rendered overlay: requests, traces, metrics, and calls that must not be."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING

import pytest

from tests.fakes.otlp_collector import forest
from tests.rehearsal.asking import MODEL, Question
from tests.rehearsal.judging import demand_nothing_failed, demand_right_books
from tests.rehearsal.system import EVERYTHING, PROVIDER

if TYPE_CHECKING:
    from tests.fakes.otlp_collector import CollectedSpan
    from tests.rehearsal.conftest import Figure
    from tests.rehearsal.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Who may connect to whose gRPC port; what is not here must fail.
CALLS = {
    "envoy": {"edge", "auth", "router", "cache", "ledger", "providers-openai"},
    "edge": {"auth", "router", "cache", "ledger", "providers-openai"},
    "providers-openai": {"auth", "the internet"},
    "auth": set(),
    "router": set(),
    "cache": set(),
    "ledger": set(),
}


async def test_everybody_is_answered_and_the_books_are_right(system: System, figure: Figure) -> None:
    """
    Streams and plain requests come whole over TLS, HTTP/2 and gRPC, and each is logged, priced and counted
    once.
    """
    load = await system.load(*EVERYTHING, words=10, pace_ms=30)
    await load.goes_on(count=30)
    outcomes = await load.stop()

    demand_nothing_failed(outcomes)
    [books] = await demand_right_books(system, load)
    figure("requests, entries, nano-dollars", (len(outcomes), books.entries, books.logged_nano_usd))
    assert {one.partition(":")[0] for one in EVERYTHING} == {one.client.partition("-")[0] for one in outcomes}


async def test_a_trace_spans_the_pods(system: System, figure: Figure) -> None:
    """
    One request is one tree of spans: Envoy, an edge, auth, router, and an adapter that asks the provider.
    """
    if not system.cluster.pods("otel-collector"):
        pytest.skip("the overlay has no collector")
    trace_id = secrets.token_hex(16)
    question = Question(marker=f"trace-{trace_id[:6]}", words=3, pace_ms=0)
    body = {"model": MODEL, "messages": [{"role": "user", "content": str(question)}]}
    parent = f"00-{trace_id}-{secrets.token_hex(8)}-01"
    answer = await system.call("/v1/chat/completions", method="POST", body=body, traceparent=parent)
    assert 200 == answer["status"], answer
    services: set[str] = set()
    spans: list[CollectedSpan] = []
    wanted = {"headrace-envoy", "headrace-edge", "headrace-providers"}
    end_s = time.monotonic() + 30
    while not wanted <= services and time.monotonic() < end_s:
        spans = await system.spans(trace_id)
        services = {span.service for span in spans}
        await asyncio.sleep(0.5)
    trees = forest(spans)
    figure("spans of one request, services", (len(spans), sorted(services)))

    assert set() == wanted - services
    assert 1 == len(trees), "\n".join(tree.sketch() for tree in trees)


async def test_every_pod_has_metrics(system: System, figure: Figure) -> None:
    """What the monitors name answers, from where Prometheus is, for every pod of ours that serves."""
    found = await system.cluster.scrape()
    figure("scraped", len(found))
    names = {name.rpartition("/")[2] for name in found}
    ours = {
        pod.name for pod in system.cluster.pods() if pod.labels.get("app.kubernetes.io/name") == "headrace"
    }

    assert set() == ours - names
    assert [] == [name for name, text in found.items() if "# TYPE" not in text]


async def test_pods_reach_whom_the_call_graph_names_and_nobody_else(system: System) -> None:
    """
    Every pod tries every service's port; only what the call graph has, and only providers to the outside,
    opens.
    """
    addresses = {
        # Envoy has no port 9000 itself.
        **{name: f"{system.cluster.pods(name)[0].address}:9000" for name in CALLS if name != "envoy"},
        "the internet": PROVIDER,
    }

    async def reached(caller: str) -> set[str]:
        [pod, *_] = system.cluster.pods(caller)
        found = await system.probe(pod, "tcp", *addresses.values(), "--timeout-s", "2")
        return {name for name, address in addresses.items() if name != caller and found[address] == "open"}

    found = await asyncio.gather(*map(reached, CALLS))

    assert CALLS == dict(zip(CALLS, found, strict=True))


async def test_from_outside_only_the_front_door_opens(system: System) -> None:
    """Ports of services, of health and of metrics are shut, even for who knows a pod's address."""
    wanted = {("edge", 8080), ("edge", 9000), ("auth", 9000), ("auth", 9100), ("auth", 9101), ("envoy", 9100)}
    shut = [f"{system.cluster.pods(name)[0].address}:{port}" for name, port in sorted(wanted)]
    door = f"{system.address}:443"
    found = await system.probe(system.cluster.outside, "tcp", *shut, door, "--timeout-s", "2")

    assert {door} == {address for address, one in found.items() if one == "open"}
