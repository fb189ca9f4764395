"""What the settings of an installation mean for its front door."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from deploy.envoy.render import FrontDoor, Identity, Otlp, PublicTls
from kit.telemetry.setup import exporter_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.envoy.config import EnvoyConfig
    from kit.runtime_config import RuntimeConfig

__all__ = ["front_door", "otlp"]

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_CERTIFICATES: Final = ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE")
_DEFAULT_COLLECTOR: Final = "http://localhost:4317"


def front_door(config: EnvoyConfig, runtime: RuntimeConfig, env: Mapping[str, str]) -> FrontDoor:
    """
    Describe the front door.

    Args:
        config: Where Envoy listens and how it runs.
        runtime: Where the run directory and the services are.
        env: The environment, for the standard variables of OpenTelemetry.

    Raises:
        ConfigError: The environment asks for a span exporter that there is not.
    """
    log = config.envoy_access_log
    return FrontDoor(
        host=config.host,
        http_port=config.port,
        grpc_port=config.grpc_port,
        edge_http=config.envoy_edge_http or (f"unix:{runtime.socket('edge-0-http')}",),
        edge_grpc=config.envoy_edge_grpc or (f"unix:{runtime.socket('edge-0-grpc')}",),
        auth=(runtime.target("auth"),),
        router=(runtime.target("router"),),
        cache=(runtime.target("cache"),),
        ledger=(runtime.target("ledger"),),
        providers=(runtime.target("providers"),),
        admin_socket=runtime.socket("envoy-admin"),
        run_dir=runtime.run_dir,
        public_tls=_public_tls(config),
        identity=_identity(runtime),
        metrics_listen=config.envoy_metrics_listen,
        access_log_path={"off": None, "stdout": "/dev/stdout"}.get(log, log),
        otlp=otlp(env),
        stream_idle_timeout_s=config.envoy_stream_idle_timeout_s,
        trusted_proxies=config.envoy_trusted_proxies,
        max_connections=config.envoy_max_connections,
        max_heap_bytes=config.envoy_max_heap_bytes,
    )


def _public_tls(config: EnvoyConfig) -> PublicTls | None:
    if config.envoy_tls_dir is None:
        return None
    http3_port = config.envoy_http3_port or config.envoy_tls_port
    return PublicTls(
        directory=config.envoy_tls_dir.absolute(),
        port=config.envoy_tls_port,
        http3_port=http3_port,
        grpc_port=config.envoy_grpc_tls_port,
        alt_svc=f"{config.envoy_alt_svc_host or ''}:{config.envoy_alt_svc_port or http3_port}",
    )


def _identity(runtime: RuntimeConfig) -> Identity | None:
    if runtime.tls_dir is None:
        return None
    return Identity(directory=runtime.tls_dir, trust_domain=runtime.tls_trust_domain)


def otlp(env: Mapping[str, str]) -> Otlp | None:
    """
    Say where Envoy's spans go: where the services' go, or nowhere.

    Raises:
        ConfigError: The environment asks for an exporter that there is not.
    """
    if "otlp" not in exporter_names(env):
        return None
    endpoint = _first(env, _ENDPOINTS) or _DEFAULT_COLLECTOR
    ca_file = _first(env, _CERTIFICATES)
    percent = _sampling_percent(env)
    if ca_file is None:
        return Otlp(endpoint=endpoint, sampling_percent=percent)
    return Otlp(endpoint=endpoint, sampling_percent=percent, ca_file=Path(ca_file))


def _first(env: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((value for name in names if (value := env.get(name, "").strip())), None)


def _sampling_percent(env: Mapping[str, str]) -> float:
    # Envoy is where most traces begin, so the share is decided here and the services follow it.
    sampler = env.get("OTEL_TRACES_SAMPLER", "").strip().removeprefix("parentbased_")
    if sampler == "always_off":
        return 0.0
    if sampler != "traceidratio":
        return 100.0
    try:
        return min(1.0, max(0.0, float(env.get("OTEL_TRACES_SAMPLER_ARG", "1")))) * 100
    except ValueError:
        return 100.0
