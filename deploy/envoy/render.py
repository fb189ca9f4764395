"""
Fill in Envoy's configuration.

The configuration itself is `envoy.yaml`; this module owns how its placeholders and conditions are read and
nothing about what they mean. It reads no environment and starts nothing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit

from deploy.envoy import tls
from deploy.envoy.tls import Identity, PublicTls

__all__ = ["FrontDoor", "Identity", "Otlp", "PublicTls", "TemplateError", "endpoints", "files", "render"]

TEMPLATE_PATH = Path(__file__).with_name("envoy.yaml")

_CONDITION = re.compile(r"^\s*#(if|end) ([A-Z_]+)\s*$")
_EACH = re.compile(r"^ *#each SERVICE\n(.*?)^ *#end SERVICE\n", re.DOTALL | re.MULTILINE)
_GRPC_CLUSTERS = ("edge_grpc", "auth", "router", "cache", "ledger", "providers")
_CLUSTERS = ("edge_http", *_GRPC_CLUSTERS)

# A host that is cut off from us is given up after half a minute, with what it was asked. Level and name of a
# socket option as Linux numbers them: TCP, and how long what was sent may stay unanswered, in milliseconds.
_KEEPALIVE = {"tcp_keepalive": {"keepalive_time": 15, "keepalive_interval": 5, "keepalive_probes": 3}}
_GIVE_UP = {
    "socket_options": [
        {
            "description": "TCP_USER_TIMEOUT",
            "level": 6,
            "name": 18,
            "int_value": 30_000,
            "state": "STATE_PREBIND",
        }
    ]
}


class TemplateError(ValueError):
    """The template and what it is filled with do not fit together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Otlp:
    """
    Where spans go.

    Attributes:
        endpoint: As in `OTEL_EXPORTER_OTLP_ENDPOINT`: `http://host:4317`, or `https://…` for TLS.
        ca_file: Certificates that the collector's is checked against, when TLS is used.
        sampling_percent: Share of the requests that come without a trace to be traced.
    """

    endpoint: str
    ca_file: Path = Path("/etc/ssl/certs/ca-certificates.crt")
    sampling_percent: float = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontDoor:
    """
    Everything that differs from one Envoy to another.

    Addresses are gRPC targets: `unix:/path` or `host:port` (`dns:host:port` means the same). A service may
    have several.

    Attributes:
        host: Address that both listeners bind.
        http_port: Port for HTTP/1.1 and HTTP/2 in the clear.
        grpc_port: Port for gRPC.
        edge_http: HTTP addresses of the edges.
        edge_grpc: gRPC addresses of the edges, in the same order.
        auth: Addresses of auth.
        router: Addresses of router.
        cache: Addresses of cache.
        ledger: Addresses of ledger.
        providers: Addresses of providers.
        admin_socket: Path of the admin socket; there is no admin port.
        run_dir: Where the files that name certificates are.
        public_tls: What clients are shown. None: no port speaks TLS.
        identity: What our own services are shown. None: they are reached in the clear.
        metrics_listen: `host:port` for whoever watches. None: nobody does over the network.
        access_log_path: File to write access logs to. None: none are written.
        otlp: Where spans go. None: nowhere, and `traceparent` is passed on as it came.
        connect_retries: How often a request that no service has seen is tried again; twenty times are about
            five seconds.
        headers_timeout_s: How long a client may take to send its headers.
        stream_idle_timeout_s: How long a request may move in neither direction.
        trusted_proxies: How many proxies of the operator's own a request passes before it is here, each of
            which adds the address it sees to `x-forwarded-for`.
        max_connections: Connections from clients at once.
        max_heap_bytes: Memory at which new requests are turned away.
    """

    host: str
    http_port: int
    grpc_port: int
    edge_http: tuple[str, ...]
    edge_grpc: tuple[str, ...]
    auth: tuple[str, ...]
    router: tuple[str, ...]
    cache: tuple[str, ...]
    ledger: tuple[str, ...]
    providers: tuple[str, ...]
    admin_socket: Path
    run_dir: Path
    public_tls: PublicTls | None = None
    identity: Identity | None = None
    metrics_listen: str | None = None
    access_log_path: str | None = "/dev/stdout"
    otlp: Otlp | None = None
    connect_retries: int = 20
    headers_timeout_s: float = 10.0
    stream_idle_timeout_s: float = 900.0
    trusted_proxies: int = 0
    max_connections: int = 10_000
    max_heap_bytes: int = 1024 * 1024 * 1024


def render(front: FrontDoor, template: str | None = None) -> str:
    """
    Give Envoy's configuration as YAML.

    Args:
        front: What to fill in.
        template: The template; by default the one beside this module.

    Raises:
        TemplateError: A condition is unknown or unbalanced, a placeholder has no value, or an address is
            malformed.
    """
    text = TEMPLATE_PATH.read_text(encoding="utf-8") if template is None else template
    conditions = {
        "ACCESS_LOG": front.access_log_path is not None,
        "TRACING": front.otlp is not None,
        "PROXIES": front.trusted_proxies > 0,
        "NO_PROXIES": front.trusted_proxies == 0,
        "OTEL_TLS": front.otlp is not None and urlsplit(front.otlp.endpoint).scheme == "https",
        "PUBLIC_TLS": front.public_tls is not None,
        "IDENTITY": front.identity is not None,
        "METRICS": front.metrics_listen is not None,
        **{f"{name.upper()}_SOCKETS": _on_sockets(getattr(front, name)) for name in _CLUSTERS},
        **{f"{name.upper()}_DNS": not _on_sockets(getattr(front, name)) for name in _CLUSTERS},
    }
    values = {name: json.dumps(value) for name, value in _values(front).items()}
    try:
        return Template(_choose(_repeat(text), conditions)).substitute(values)
    except (KeyError, ValueError) as error:
        raise TemplateError(f"envoy.yaml: placeholder {error}") from error


def files(front: FrontDoor) -> dict[Path, str]:
    """Return the further files that the configuration needs, by path."""
    return tls.secret_files(front.public_tls, front.identity, front.run_dir)


def endpoints(addresses: tuple[str, ...]) -> tuple[str, list[dict[str, Any]]]:
    """
    Turn gRPC targets into Envoy's discovery type and endpoints.

    Raises:
        TemplateError: There is no address, one is malformed, or sockets and host names are mixed.
    """
    if not addresses:
        raise TemplateError("a service has no address")
    sockets = [address for address in addresses if address.startswith("unix:")]
    if sockets and len(sockets) != len(addresses):
        raise TemplateError(f"sockets and host names cannot be mixed: {', '.join(addresses)}")
    found = [{"endpoint": {"address": _address(address)}} for address in addresses]
    return ("STATIC" if sockets else "STRICT_DNS"), found


def _address(target: str) -> dict[str, Any]:
    if target.startswith("unix:"):
        return {"pipe": {"path": target.removeprefix("unix:")}}
    host, _, port = target.removeprefix("dns:").lstrip("/").rpartition(":")
    if not host or not port.isdecimal():
        raise TemplateError(f"not an address: {target!r} (expected unix:/path or host:port)")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}


def _values(front: FrontDoor) -> dict[str, Any]:
    values: dict[str, Any] = {
        "ADMIN_ADDRESS": {"pipe": {"path": str(front.admin_socket), "mode": 0o600}},
        "HTTP_HOST": front.host,
        "HTTP_PORT": front.http_port,
        "GRPC_PORT": front.grpc_port,
        "ACCESS_LOG_PATH": front.access_log_path,
        "CONNECT_RETRIES": front.connect_retries,
        "HEADERS_TIMEOUT": f"{front.headers_timeout_s:g}s",
        "STREAM_IDLE_TIMEOUT": f"{front.stream_idle_timeout_s:g}s",
        "PROXIES": front.trusted_proxies,
        "MAX_CONNECTIONS": front.max_connections,
        "MAX_HEAP_BYTES": front.max_heap_bytes,
        "UPSTREAM_KEEPALIVE": _KEEPALIVE,
        "UPSTREAM_GIVE_UP": _GIVE_UP,
    }
    for name in _CLUSTERS:
        values |= _cluster_values(front, name)
    if front.otlp is not None:
        values |= _otlp_values(front.otlp)
    if front.metrics_listen is not None:
        host, _, port = front.metrics_listen.rpartition(":")
        values |= {"METRICS_HOST": host.strip("[]"), "METRICS_PORT": int(port)}
    return values | _tls_values(front)


def _cluster_values(front: FrontDoor, name: str) -> dict[str, Any]:
    addresses = getattr(front, name)
    _, found = endpoints(addresses)
    host_names = not _on_sockets(addresses)
    transport = tls.transport(
        front.identity,
        name.partition("_")[0],
        alpn="http/1.1" if name == "edge_http" else "h2",
        host_names=host_names,
        run_dir=front.run_dir,
    )
    cluster = {
        "NAME": name,
        "ENDPOINTS": found,
        "TRANSPORT": transport,
        "CHECKED_FIRST": host_names,
    }
    return {f"{name.upper()}_{key}": value for key, value in cluster.items()}


def _tls_values(front: FrontDoor) -> dict[str, Any]:
    # Without a CA no certificate is asked for, so that everybody is external whatever the domain.
    values: dict[str, Any] = {"CALLER_SCRIPT": tls.caller_script("none")}
    if front.public_tls is not None:
        values |= {
            "TLS_PORT": front.public_tls.port,
            "GRPC_TLS_PORT": front.public_tls.grpc_port,
            "HTTP3_PORT": front.public_tls.http3_port,
            "ALT_SVC": f'h3="{front.public_tls.alt_svc}"; ma=86400',
            "PUBLIC_CERTIFICATE": tls.secret_source(tls.PUBLIC, front.run_dir),
        }
    if front.identity is not None:
        values |= {
            "INTERNAL_CA": tls.secret_source(tls.CA, front.run_dir),
            "CALLER_SCRIPT": tls.caller_script(front.identity.trust_domain),
        }
    return values


def _on_sockets(addresses: tuple[str, ...]) -> bool:
    return any(address.startswith("unix:") for address in addresses)


def _repeat(text: str) -> str:
    """Write what stands between `#each SERVICE` and `#end SERVICE` once for each service."""

    def written(match: re.Match[str]) -> str:
        return "".join(
            re.sub(r"(?<=\$\{)SERVICE|(?<=#if )SERVICE|(?<=#end )SERVICE", name.upper(), match[1])
            for name in _GRPC_CLUSTERS
        )

    return _EACH.sub(written, text)


def _otlp_values(otlp: Otlp) -> dict[str, Any]:
    url = urlsplit(otlp.endpoint if "://" in otlp.endpoint else f"http://{otlp.endpoint}")
    if url.hostname is None or url.scheme not in {"http", "https"}:
        raise TemplateError(f"not an OTLP endpoint: {otlp.endpoint!r} (expected http://host:4317)")
    discovery, found = endpoints((f"{url.hostname}:{url.port or 4317}",))
    return {
        "OTEL_DISCOVERY": discovery,
        "OTEL_ENDPOINTS": found,
        "OTEL_SNI": url.hostname,
        "OTEL_CA_FILE": str(otlp.ca_file),
        "SAMPLING_PERCENT": otlp.sampling_percent,
    }


def _choose(text: str, conditions: dict[str, bool]) -> str:
    kept: list[str] = []
    open_conditions: list[str] = []
    for line in text.splitlines():
        marker = _CONDITION.match(line)
        if marker is None:
            if all(conditions[name] for name in open_conditions):
                kept.append(line)
            continue
        keyword, name = marker.groups()
        if name not in conditions:
            raise TemplateError(f"envoy.yaml: condition {name} is unknown")
        if keyword == "if":
            open_conditions.append(name)
        elif not open_conditions or open_conditions.pop() != name:
            raise TemplateError(f"envoy.yaml: `#end {name}` does not close the condition that is open")
    if open_conditions:
        raise TemplateError(f"envoy.yaml: condition {open_conditions[-1]} is not closed")
    return "\n".join(kept) + "\n"
