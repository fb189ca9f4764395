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

__all__ = ["FrontDoor", "Otlp", "TemplateError", "endpoints", "render"]

TEMPLATE_PATH = Path(__file__).with_name("envoy.yaml")

_CONDITION = re.compile(r"^\s*#(if|end) ([A-Z_]+)\s*$")


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
        access_log_path: File to write access logs to. None: none are written.
        otlp: Where spans go. None: nowhere, and `traceparent` is passed on as it came.
        connect_retries: How often a request that no service has seen is tried again; twenty times are about
            five seconds.
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
    access_log_path: str | None = "/dev/stdout"
    otlp: Otlp | None = None
    connect_retries: int = 20
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
    }
    values = {name: json.dumps(value) for name, value in _values(front).items()}
    try:
        return Template(_choose(text, conditions)).substitute(values)
    except (KeyError, ValueError) as error:
        raise TemplateError(f"envoy.yaml: placeholder {error}") from error


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
        "STREAM_IDLE_TIMEOUT": f"{front.stream_idle_timeout_s:g}s",
        "PROXIES": front.trusted_proxies,
        "MAX_CONNECTIONS": front.max_connections,
        "MAX_HEAP_BYTES": front.max_heap_bytes,
    }
    for name in ("edge_http", "edge_grpc", "auth", "router", "cache", "ledger", "providers"):
        discovery, found = endpoints(getattr(front, name))
        values[f"{name.upper()}_DISCOVERY"] = discovery
        values[f"{name.upper()}_ENDPOINTS"] = found
    if front.otlp is not None:
        values |= _otlp_values(front.otlp)
    return values


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
