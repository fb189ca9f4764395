"""How `headrace up` runs Envoy: what it is configured with, its command line, and how it drains."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cli.probe import ask
from cli.processes import edge_sockets
from deploy.envoy.binary import envoy_path
from deploy.envoy.render import FrontDoor, Otlp, render
from kit.telemetry.setup import exporter_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cli.config import CliConfig
    from kit.runtime_config import RuntimeConfig

__all__ = ["command", "config_path", "drain", "front_door", "otlp", "write_config"]

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_CERTIFICATES: Final = ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE")
_DEFAULT_COLLECTOR: Final = "http://localhost:4317"


def front_door(
    config: CliConfig, runtime: RuntimeConfig, *, workers: int, env: Mapping[str, str]
) -> FrontDoor:
    """Describe the front door of an installation on this machine."""
    sockets = [edge_sockets(runtime, index) for index in range(workers)]
    log = config.envoy_access_log
    return FrontDoor(
        host=config.host,
        http_port=config.port,
        grpc_port=config.grpc_port,
        edge_http=tuple(f"unix:{http}" for http, _ in sockets),
        edge_grpc=tuple(f"unix:{grpc}" for _, grpc in sockets),
        auth=(runtime.target("auth"),),
        router=(runtime.target("router"),),
        cache=(runtime.target("cache"),),
        ledger=(runtime.target("ledger"),),
        providers=(runtime.target("providers"),),
        admin_socket=runtime.socket("envoy-admin"),
        access_log_path={"off": None, "stdout": "/dev/stdout"}.get(log, log),
        otlp=otlp(env),
        stream_idle_timeout_s=config.envoy_stream_idle_timeout_s,
        trusted_proxies=config.envoy_trusted_proxies,
        max_connections=config.envoy_max_connections,
        max_heap_bytes=config.envoy_max_heap_bytes,
    )


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


def config_path(runtime: RuntimeConfig) -> Path:
    """Return where the configuration that is filled in goes."""
    return runtime.run_dir / "envoy.yaml"


def write_config(front: FrontDoor, path: Path) -> None:
    """Write the configuration for Envoy to read."""
    text = render(front)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def command(config: CliConfig, path: Path) -> tuple[str, ...]:
    """Return Envoy's command line."""
    return (
        str(envoy_path()),
        "--config-path",
        str(path),
        # A restart is a new start here; the shared memory that a hot one needs would tie installations
        # on one machine together.
        "--disable-hot-restart",
        "--concurrency",
        str(config.envoy_concurrency),
        "--log-level",
        config.envoy_log_level,
        "--log-format",
        "envoy [%l] %n: %v",
        "--file-flush-interval-msec",
        "1000",
    )


async def drain(admin_socket: Path) -> bool:
    """Have Envoy refuse new connections while what runs goes on. Returns whether it heard."""
    answer = await ask(admin_socket, "/drain_listeners", method="POST", timeout_s=0.5)
    return answer.status == 200
