"""Network policies let through what ARCHITECTURE.md's call graph has, and nothing else."""

from __future__ import annotations

from functools import cache

import pytest

from tests.repo.k8s import Policies, containers, of_kind, pods
from tests.repo.test_call_graph import arrows
from tests.repo.tree import SERVICES

pytestmark = pytest.mark.xdist_group("k8s")  # rendered once

EVERYTHING = "tests/all-components"
FRONT_DOOR = "envoy"
SHARED, LOCAL = "providers-openai", "providers-local"
PORTS = (5432, 6379, 8080, 9000, 9090, 9100, 9101)
METADATA, PRIVATE, LOOPBACK, PUBLIC = "169.254.169.254", "10.1.2.3", "127.0.0.1", "93.184.215.14"
TABLES = ("auth", "router", "ledger", "migrate")
VALKEY = ("router", "cache")


@cache
def policies() -> Policies:
    """Return all policies."""
    return Policies(of_kind(EVERYTHING, "NetworkPolicy"))


@cache
def labels() -> dict[str, dict[str, str]]:
    """Return the labels of every pod by component; the adapters are alike."""
    return {pod.component: dict(pod.labels) for pod in pods(EVERYTHING)}


def documented() -> set[tuple[str, str, int]]:
    """Return who calls whom at which port: the table's rows, and Envoy, stores and the model."""
    found = {
        (caller, arrow.callee, 9000)
        for arrow in arrows()
        for caller in arrow.callers
        if caller in SERVICES and caller != arrow.callee
    }
    found |= {(FRONT_DOOR, service, 9000) for service in SERVICES}
    found |= {(FRONT_DOOR, "edge", 8080), ("edge", "providers-local", 9000)}
    found |= {(name, "postgres", 5432) for name in TABLES}
    found |= {(name, "valkey", 6379) for name in VALKEY}
    return found


def named(component: str) -> str:
    """Return the service that a component is: all adapters are `providers`."""
    return "providers" if component.startswith("providers-") and component != LOCAL else component


def test_the_call_graph_and_nothing_else() -> None:
    """Between pods, what the table has is open, and everything else is closed."""
    components = [name for name in labels() if name != "otel-collector"]
    # From outside, everybody may connect to Envoy's own ports, and so may pods.
    front = {8080, 9090}
    opened = {
        (named(source), named(target), port)
        for source in components
        for target in components
        for port in PORTS
        if source != target
        and not (target == FRONT_DOOR and port in front)
        and policies().between(labels()[source], labels()[target], port)
    }

    assert documented() == opened


def test_every_adapter_is_like_the_others() -> None:
    """What holds for one providers Deployment holds for all."""
    adapters = [name for name in labels() if named(name) == "providers"]

    assert len(adapters) > 1
    for name in adapters:
        assert policies().between(labels()["edge"], labels()[name], 9000)
        assert policies().between(labels()[name], labels()["auth"], 9000)
        assert policies().out(labels()[name], PUBLIC, 443)


@pytest.mark.parametrize("port", [80, 443, 11434])
def test_only_providers_leave_the_cluster(port: int) -> None:
    """To a public address, providers connect and nobody else does; the collector is allowed its own ports."""
    leaving = {
        named(name)
        for name, found in labels().items()
        if name != "otel-collector" and policies().out(found, PUBLIC, port)
    }

    assert {"providers"} == leaving


@pytest.mark.parametrize("address", [METADATA, PRIVATE, LOOPBACK, "172.20.0.1", "192.168.1.1", "100.64.0.1"])
def test_providers_reach_no_private_address(address: str) -> None:
    """An address that is not public is closed to providers, whatever a custom provider's name leads to."""
    assert not policies().out(labels()[SHARED], address, 443)
    assert not policies().out(labels()[SHARED], address, 80)


@pytest.mark.parametrize(
    "component", ["edge", "envoy", "cache", "router", "auth", "ledger", "migrate", LOCAL]
)
def test_metadata_of_the_cloud_is_closed(component: str) -> None:
    """Nobody asks a cloud for the node's credentials."""
    assert not policies().out(labels()[component], METADATA, 80)


def test_only_the_front_door_is_open() -> None:
    """From outside, Envoy takes connections on its five ports for clients, and nobody else takes any."""
    opened = {
        (name, port, protocol)
        for name, found in labels().items()
        for port in (*PORTS, 8443, 8444, 9443)
        for protocol in ("TCP", "UDP")
        if policies().into(found, port, protocol=protocol)
    }

    assert {(FRONT_DOOR, port, "TCP") for port in (8080, 8443, 9090, 9443)} | {
        (FRONT_DOOR, 8444, "UDP")
    } == opened


def test_http3_has_a_service_of_its_own() -> None:
    """A load balancer that knows one protocol takes each of the two, and they can share one address."""
    services = {each["metadata"]["name"]: each["spec"] for each in of_kind("overlays/production", "Service")}
    (envoy,) = (each for each in containers("overlays/production") if each.spec["name"] == FRONT_DOOR)
    configuration = {
        each["metadata"]["name"]: each["data"] for each in of_kind("overlays/production", "ConfigMap")
    }
    settings = envoy.env(configuration)
    numbers = {
        each["name"]: (each["containerPort"], each.get("protocol", "TCP")) for each in envoy.spec["ports"]
    }
    tcp, udp = services["front-door"], services["front-door-http3"]
    offered = [
        (each["port"], each.get("protocol", "TCP"), *numbers[each["targetPort"]])
        for each in (*tcp["ports"], *udp["ports"])
    ]

    assert [
        (443, "TCP", 8443, "TCP"),
        (9443, "TCP", 9443, "TCP"),
        (443, "UDP", 8444, "UDP"),
    ] == offered
    assert ("8444", "443") == (settings["HEADRACE_ENVOY_HTTP3_PORT"], settings["HEADRACE_ENVOY_ALT_SVC_PORT"])
    assert {**tcp, "ports": None} == {**udp, "ports": None}


def test_spans_go_to_the_collector() -> None:
    """Every service of ours, and Envoy, reaches a collector's pod."""
    collector = {"app.kubernetes.io/part-of": "headrace", "app.kubernetes.io/component": "otel-collector"}
    senders = [name for name in labels() if named(name) in {*SERVICES, FRONT_DOOR, LOCAL}]

    assert [] == [name for name in senders if not policies().between(labels()[name], collector, 4317)]


def test_prometheus_fetches_metrics() -> None:
    """Prometheus, wherever it runs, reaches the admin port of every service, and no other port."""
    prometheus = {"app.kubernetes.io/name": "prometheus"}
    serving = [name for name in labels() if named(name) in {*SERVICES, FRONT_DOOR, LOCAL}]
    ports = {port for name in serving for port in PORTS if policies().into(labels()[name], port, prometheus)}

    # Envoy's are open to everybody.
    assert {9100, 8080, 9090} == ports
    assert [] == [name for name in serving if not policies().into(labels()[name], 9100, prometheus)]
    assert [] == [name for name in serving if policies().into(labels()[name], 9100)]
