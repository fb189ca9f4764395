"""How the front door's configuration is filled in."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.envoy.render import FrontDoor, Otlp, TemplateError, endpoints, render

FRONT = FrontDoor(
    host="127.0.0.1",
    http_port=8080,
    grpc_port=9090,
    edge_http=("unix:/r/edge-0-http.sock",),
    edge_grpc=("unix:/r/edge-0-grpc.sock",),
    auth=("unix:/r/auth.sock",),
    router=("unix:/r/router.sock",),
    cache=("unix:/r/cache.sock",),
    ledger=("unix:/r/ledger.sock",),
    providers=("unix:/r/providers.sock",),
    admin_socket=Path("/r/envoy-admin.sock"),
    run_dir=Path("/r"),
)


def test_sockets_are_static() -> None:
    """Unix sockets become pipes of a static cluster."""
    expected = ("STATIC", [{"endpoint": {"address": {"pipe": {"path": "/a b.sock"}}}}])

    assert expected == endpoints(("unix:/a b.sock",))


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [("auth:9000", "auth", 9000), ("dns:///auth.ns:80", "auth.ns", 80), ("[::1]:443", "::1", 443)],
)
def test_names_are_resolved(target: str, host: str, port: int) -> None:
    """Host names become socket addresses of a cluster that is resolved again and again."""
    discovery, found = endpoints((target,))

    assert discovery == "STRICT_DNS"
    assert {"address": host, "port_value": port} == found[0]["endpoint"]["address"]["socket_address"]


@pytest.mark.parametrize("targets", [(), ("auth",), ("auth:http",), (":80",), ("unix:/a", "b:1")])
def test_bad_addresses(targets: tuple[str, ...]) -> None:
    """No address, a malformed one, and a mixture are refused."""
    with pytest.raises(TemplateError):
        endpoints(targets)


def test_every_edge_is_there() -> None:
    """Each worker's two sockets stand in the configuration."""
    sockets = tuple(f"unix:/r/edge-{index}-http.sock" for index in range(4))
    text = render(replace(FRONT, edge_http=sockets))

    assert [f"edge-{index}-http.sock" in text for index in range(4)] == [True] * 4


@pytest.mark.parametrize(
    ("changes", "present", "absent"),
    [
        ({}, "access_loggers.file", "tracers.opentelemetry"),
        ({"access_log_path": None}, "static_resources", "access_loggers.file"),
        ({"otlp": Otlp(endpoint="http://c:4317")}, "tracers.opentelemetry", "transport_sockets.tls"),
        ({"otlp": Otlp(endpoint="c:4317")}, "tracers.opentelemetry", "transport_sockets.tls"),
        ({"otlp": Otlp(endpoint="https://c")}, "transport_sockets.tls", "nothing of the kind"),
    ],
)
def test_conditions(changes: dict[str, Any], present: str, absent: str) -> None:
    """Parts that were not asked for are left out, and nothing of the conditions stays."""
    text = render(replace(FRONT, **changes))

    assert present in text
    assert absent not in text
    assert [line for line in text.splitlines() if line.strip().startswith(("#if ", "#end "))] == []
    assert "${" not in text


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("a: ${NOBODY}", "NOBODY"),
        ("a: $", "placeholder"),
        ("#if NOBODY\n#end NOBODY", "condition NOBODY is unknown"),
        ("#if TRACING\n", "condition TRACING is not closed"),
        ("#end TRACING\n", "does not close"),
        ("#if TRACING\n#if ACCESS_LOG\n#end TRACING\n#end ACCESS_LOG", "does not close"),
    ],
)
def test_broken_template(template: str, complaint: str) -> None:
    """A template that does not fit what it is filled with says where."""
    with pytest.raises(TemplateError, match=complaint):
        render(FRONT, template)


@pytest.mark.parametrize("endpoint", ["ftp://c:1", "http://", "http://c:x"])
def test_bad_collector(endpoint: str) -> None:
    """A collector's address that cannot be used is refused."""
    with pytest.raises((TemplateError, ValueError)):
        render(replace(FRONT, otlp=Otlp(endpoint=endpoint)))


def test_a_slow_reader_is_given_time() -> None:
    """The end of an answer, a MiB at most, gets as long as it takes at 4 KiB/s: the limit is on all of it."""
    limits = re.findall(r"stream_flush_timeout: ([0-9]+)s", render(FRONT))

    assert limits
    assert all(int(limit) * 4096 >= 1 << 20 for limit in limits)
