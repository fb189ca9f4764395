"""
Settings of the front door: where Envoy listens, what it finds behind it, and what it allows.

Read by `python -m services envoy` and by `headrace up`, which runs the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from kit.config import setting

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["EnvoyConfig"]

# Labels of letters, digits and hyphens, as in a certificate.
_HOST_NAME = re.compile(r"[0-9A-Za-z]([0-9A-Za-z-]*[0-9A-Za-z])?(\.[0-9A-Za-z]([0-9A-Za-z-]*[0-9A-Za-z])?)*")
_HOST_PORT = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^:\s]+):([0-9]{1,5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyConfig:
    """Where the front door listens, what is behind it, and how Envoy runs."""

    PREFIX: ClassVar[str] = "HEADRACE_"

    host: str = setting(
        "127.0.0.1",
        "Address that the front door listens on. "
        "Other machines can connect only when it is changed, to `0.0.0.0` for all addresses of this one.",
    )
    port: int = setting(8080, "Port for HTTP/1.1 and HTTP/2.", at_least=1, at_most=65535)
    grpc_port: int = setting(9090, "Port for gRPC.", at_least=1, at_most=65535)
    envoy_edge_http: tuple[str, ...] = setting(
        (),
        "HTTP addresses of the edges, `unix:/path` or `host:port`, separated by commas. "
        "Every address that a host name has is an edge. Default: the first edge's socket.",
    )
    envoy_edge_grpc: tuple[str, ...] = setting(
        (), "gRPC addresses of the edges, as for HTTP. Default: the first edge's socket."
    )
    envoy_tls_dir: Path | None = setting(
        None,
        "Directory with the front door's public certificate: `tls.crt`, with its chain, and `tls.key`. "
        "Set, Envoy also speaks TLS on ports of its own. "
        "A certificate that is replaced is used from then on.",
    )
    envoy_tls_port: int = setting(
        8443, "Port for TLS: HTTP/1.1 and HTTP/2 over TCP.", at_least=1, at_most=65535
    )
    envoy_http3_port: int = setting(
        0, "Port for HTTP/3, over UDP. 0: the number of the port for TLS.", at_least=0, at_most=65535
    )
    envoy_grpc_tls_port: int = setting(
        9443,
        "Port for gRPC with TLS. With HEADRACE_TLS_DIR, a client may show a certificate of that CA there.",
        at_least=1,
        at_most=65535,
    )
    envoy_alt_svc_port: int = setting(
        0,
        "Port that clients are told for HTTP/3, when a load balancer offers it under another number. "
        "0: the port for HTTP/3.",
        at_least=0,
        at_most=65535,
    )
    envoy_alt_svc_host: str | None = setting(
        None,
        "Name that clients are told for HTTP/3, when a load balancer offers it at another address. "
        "Its certificate is the front door's. Default: the name that they asked.",
    )
    envoy_metrics_listen: str | None = setting(
        None,
        "`host:port` for `/live`, `/ready` and `/stats/prometheus` of Envoy, and nothing else of its "
        "admin interface. Default: none; that interface is a socket in the run directory.",
    )
    envoy_concurrency: int = setting(
        1, "Envoy's worker threads. One carries more requests than a dozen edges.", at_least=1, at_most=128
    )
    envoy_log_level: Literal["trace", "debug", "info", "warning", "error", "critical", "off"] = setting(
        "warning", "Least severe level that Envoy logs."
    )
    envoy_access_log: str = setting(
        "stdout", "Where Envoy writes one line of JSON for each request: `stdout`, a file, or `off`."
    )
    envoy_stream_idle_timeout_s: float = setting(
        900.0,
        "How long a request may move in neither direction. "
        "Models that think before they answer are silent for minutes.",
        at_least=1,
    )
    envoy_restart_grace_s: float = setting(
        900.0,
        "How long the old Envoy keeps its requests in a hot restart; what is still running then is cut.",
        at_least=1,
        at_most=86400,
    )
    envoy_trusted_proxies: int = setting(
        0,
        "How many proxies of yours, such as a load balancer, every request passes before it reaches Envoy. "
        "Each must add the address that it sees to `x-forwarded-for`; with too high a number, clients "
        "can pretend to be anywhere.",
        at_least=0,
        at_most=16,
    )
    envoy_max_connections: int = setting(
        10_000, "Most connections from clients at once; further ones are refused.", at_least=1
    )
    envoy_max_heap_bytes: int = setting(
        1 << 30,
        "Memory at which Envoy turns new requests away; from 85 % of it on it gives memory back.",
        at_least=64 << 20,
    )

    def __post_init__(self) -> None:
        """Check what one field alone cannot show."""
        match = _HOST_PORT.fullmatch(self.envoy_metrics_listen or "h:1")
        if match is None or int(match[2]) > 65535:
            raise ValueError(
                "HEADRACE_ENVOY_METRICS_LISTEN must be host:port, such as 127.0.0.1:9100, "
                f"but is {str(self.envoy_metrics_listen)[:80]!r}"
            )
        if _HOST_NAME.fullmatch(self.envoy_alt_svc_host or "h") is None:
            raise ValueError(
                "HEADRACE_ENVOY_ALT_SVC_HOST must be a host name, such as h3.example.com, "
                f"but is {str(self.envoy_alt_svc_host)[:80]!r}"
            )
        if bool(self.envoy_edge_http) != bool(self.envoy_edge_grpc):
            raise ValueError("HEADRACE_ENVOY_EDGE_HTTP and HEADRACE_ENVOY_EDGE_GRPC must be set together")
