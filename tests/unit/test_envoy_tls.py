"""What the front door's configuration says about certificates, and which settings lead to it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.envoy.config import EnvoyConfig
from deploy.envoy.front import front_door
from deploy.envoy.render import FrontDoor, Identity, PublicTls, files, render
from deploy.envoy.tls import caller_script
from kit.config import ConfigError, load
from kit.runtime_config import RuntimeConfig

CLUSTERS = ("edge_http", "edge_grpc", "auth", "router", "cache", "ledger", "providers")
KUBERNETES = {
    "HEADRACE_RUN_DIR": "/r",
    "HEADRACE_DATA_DIR": "/d",
    "HEADRACE_HOST": "0.0.0.0",
    "HEADRACE_ENVOY_EDGE_HTTP": "edge:8080",
    "HEADRACE_ENVOY_EDGE_GRPC": "dns:///edge:9000",
    "HEADRACE_AUTH_ADDRESS": "dns:///auth:9000",
    "HEADRACE_ROUTER_ADDRESS": "dns:///router:9000",
    "HEADRACE_CACHE_ADDRESS": "dns:///cache:9000",
    "HEADRACE_LEDGER_ADDRESS": "dns:///ledger:9000",
    "HEADRACE_PROVIDERS_ADDRESS": "dns:///providers-openai:9000",
    "HEADRACE_TLS_DIR": "/etc/headrace/tls",
    "HEADRACE_ENVOY_TLS_DIR": "/etc/headrace/front-door",
    "HEADRACE_ENVOY_METRICS_LISTEN": "0.0.0.0:9100",
}


def described(env: dict[str, str]) -> FrontDoor:
    """Describe the front door that settings lead to."""
    return front_door(load(EnvoyConfig, env), load(RuntimeConfig, env), env)


def parsed(front: FrontDoor) -> dict[str, Any]:
    """Give the configuration as Envoy reads it."""
    found: dict[str, dict[str, Any]] = yaml.load(render(front), Loader=yaml.CSafeLoader)
    return found["static_resources"]


def cluster_sockets(front: FrontDoor) -> dict[str, Any]:
    """Give what each service's cluster connects with."""
    return {each["name"]: each.get("transport_socket") for each in parsed(front)["clusters"]}


def test_services_are_known_by_their_name() -> None:
    """Over the network every service must have the name of its own, and Envoy shows the one it has."""
    sockets = cluster_sockets(described(KUBERNETES))
    names = {}
    for cluster in CLUSTERS:
        common = sockets[cluster]["typed_config"]["common_tls_context"]
        checks = common["combined_validation_context"]
        (name,) = checks["default_validation_context"]["match_typed_subject_alt_names"]
        assert name["san_type"] == "URI"
        assert checks["validation_context_sds_secret_config"]["name"] == "internal-ca"
        assert [each["name"] for each in common["tls_certificate_sds_secret_configs"]] == ["own-certificate"]
        names[cluster] = name["matcher"]["exact"]

    expected = {cluster: f"spiffe://headrace/{cluster.partition('_')[0]}" for cluster in CLUSTERS}
    assert expected == names


@pytest.mark.parametrize(
    "env",
    [
        {name: value for name, value in KUBERNETES.items() if name != "HEADRACE_TLS_DIR"},
        {"HEADRACE_RUN_DIR": "/r", "HEADRACE_DATA_DIR": "/d", "HEADRACE_TLS_DIR": "/t"},
    ],
    ids=["no identity", "sockets"],
)
def test_no_tls_where_none_is_meant(env: dict[str, str]) -> None:
    """Without an identity, and on sockets of this machine, services are reached in the clear."""
    sockets = cluster_sockets(described(env))

    assert {"envoy.transport_sockets.raw_buffer"} == {sockets[name]["name"] for name in CLUSTERS}


@pytest.mark.parametrize(
    ("without", "listeners"),
    [
        ((), ["http", "https", "http3", "grpc", "grpcs", "metrics"]),
        (("HEADRACE_ENVOY_TLS_DIR",), ["http", "grpc", "metrics"]),
        (("HEADRACE_ENVOY_TLS_DIR", "HEADRACE_ENVOY_METRICS_LISTEN"), ["http", "grpc"]),
    ],
)
def test_listeners(without: tuple[str, ...], listeners: list[str]) -> None:
    """There are ports for TLS when there is a certificate, and one for metrics when it is asked for."""
    env = {name: value for name, value in KUBERNETES.items() if name not in without}

    assert listeners == [each["name"] for each in parsed(described(env))["listeners"]]


def test_a_drain_leaves_metrics() -> None:
    """Every listener for clients is one that a drain closes; the one for metrics is not."""
    found = {
        each["name"]: each.get("traffic_direction") for each in parsed(described(KUBERNETES))["listeners"]
    }

    assert {"metrics"} == {name for name, direction in found.items() if direction != "INBOUND"}


def test_every_listener_has_the_same_limits() -> None:
    """What a client is allowed does not depend on the port that it comes in by."""
    limits = (
        "max_request_headers_kb",
        "common_http_protocol_options",
        "request_headers_timeout",
        "stream_idle_timeout",
        "stream_flush_timeout",
        "early_header_mutation_extensions",
        "normalize_path",
        "merge_slashes",
        "path_with_escaped_slashes_action",
        "use_remote_address",
        "access_log",
    )
    managers = {
        each["name"]: each["filter_chains"][0]["filters"][0]["typed_config"]
        for each in parsed(described(KUBERNETES))["listeners"]
        if each["name"] != "metrics"
    }
    expected = {name: managers["http"][name] for name in limits}

    for manager in managers.values():
        assert expected == {name: manager[name] for name in limits}
    assert {"http", "https", "http3"} == {
        name for name, manager in managers.items() if "local_reply_config" in manager
    }


def test_hosts_are_asked_for_every_second() -> None:
    """Names are resolved often, and a new address is asked for its health before it is used."""
    found = {each["name"]: each for each in parsed(described(KUBERNETES))["clusters"]}
    for name in CLUSTERS:
        assert found[name]["cluster_type"]["typed_config"]["dns_refresh_rate"] == "1s"
        assert found[name]["common_lb_config"]["ignore_new_hosts_until_first_hc"] is True
        assert found[name]["lb_policy"] == "LEAST_REQUEST"
        # It would cut the streams of a host that is stopping in good order.
        assert "close_connections_on_host_health_failure" not in found[name]


def test_secret_files_watch_their_directory() -> None:
    """Envoy finds certificates where Kubernetes mounts them, and takes new ones."""
    found = {path.name: json.loads(text)["resources"] for path, text in files(described(KUBERNETES)).items()}
    watched = {
        name: next(kind for key, kind in resource.items() if key in {"tls_certificate", "validation_context"})
        for name, (resource,) in found.items()
    }

    assert {
        "envoy-public-certificate.json": "/etc/headrace/front-door",
        "envoy-own-certificate.json": "/etc/headrace/tls",
        "envoy-internal-ca.json": "/etc/headrace/tls",
    } == {name: secret["watched_directory"]["path"] for name, secret in watched.items()}


def test_no_certificates_no_files() -> None:
    """Without TLS nothing is written."""
    front = replace(described(KUBERNETES), public_tls=None, identity=None)

    assert {} == files(front)


def test_callers_are_checked_only_with_an_authority() -> None:
    """Where services have no identity no client's certificate is asked for, and everybody is external."""
    public = PublicTls(directory=Path("/p"), port=1, http3_port=4, grpc_port=2, alt_svc=":3")
    front = replace(described(KUBERNETES), public_tls=public)
    with_ca = render(replace(front, identity=Identity(directory=Path("/t"), trust_domain="a.b")))
    without = render(replace(front, identity=None))

    assert ("validation_context_sds_secret_config: {" in with_ca, "internal-ca" in without) == (True, False)
    assert "spiffe://a%.b/caller/" in caller_script("a.b")
    assert "a%.b" in with_ca
    assert "a%.b" not in without


@pytest.mark.parametrize(
    ("settings", "port", "told"),
    [
        ({}, 8443, ":8443"),
        ({"TLS_PORT": "9"}, 9, ":9"),
        ({"HTTP3_PORT": "8444"}, 8444, ":8444"),
        ({"HTTP3_PORT": "8444", "ALT_SVC_PORT": "443"}, 8444, ":443"),
        ({"ALT_SVC_HOST": "h3.example.com", "ALT_SVC_PORT": "443"}, 8443, "h3.example.com:443"),
    ],
)
def test_where_http3_is(settings: dict[str, str], port: int, told: str) -> None:
    """HTTP/3 has the number of TLS or one of its own, and is offered as the load balancer offers it."""
    env = KUBERNETES | {f"HEADRACE_ENVOY_{name}": value for name, value in settings.items()}
    found = {each["name"]: each for each in parsed(described(env))["listeners"]}
    manager = found["https"]["filter_chains"][0]["filters"][0]["typed_config"]
    (added,) = manager["route_config"]["response_headers_to_add"]

    assert {"protocol": "UDP", "address": "0.0.0.0", "port_value": port} == found["http3"]["address"][
        "socket_address"
    ]
    assert {"key": "alt-svc", "value": f'h3="{told}"; ma=86400'} == added["header"]


@pytest.mark.parametrize("value", ["h3.example.com:443", 'a"', "a b", "[::1]", "-a.example"])
def test_bad_host_for_http3(value: str) -> None:
    """What is told to clients is a name and nothing that ends the header or the quotation."""
    with pytest.raises(ConfigError, match="HEADRACE_ENVOY_ALT_SVC_HOST must be a host name"):
        load(EnvoyConfig, {"HEADRACE_ENVOY_ALT_SVC_HOST": value})


@pytest.mark.parametrize("value", ["9100", ":9100", "host:", "host:70000", "a:b:9100"])
def test_bad_metrics_address(value: str) -> None:
    """An address that is none is refused."""
    with pytest.raises(ConfigError, match="HEADRACE_ENVOY_METRICS_LISTEN must be host:port"):
        load(EnvoyConfig, {"HEADRACE_ENVOY_METRICS_LISTEN": value})
