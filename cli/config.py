"""
Settings of `headrace up`, of the front door that it starts, and of the commands that call it.

Services do not read them: they listen on sockets, and whoever starts them says where.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from kit.config import ConfigError, describe, load, setting, unknown
from kit.runtime_config import RuntimeConfig
from kit.telemetry.setup import exporter_names
from services.settings import CONFIGS, DYNAMIC_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kit.secret import Secret

__all__ = ["CliConfig", "problems", "service_environment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CliConfig:
    """Where `headrace up` listens and how its Envoy runs, and how other commands reach it."""

    PREFIX: ClassVar[str] = "HEADRACE_"

    host: str = setting(
        "127.0.0.1",
        "Address that the front door listens on. "
        "Other machines can connect only when it is changed, to `0.0.0.0` for all addresses of this one.",
    )
    port: int = setting(8080, "Port for HTTP/1.1 and HTTP/2.", at_least=1, at_most=65535)
    grpc_port: int = setting(9090, "Port for gRPC.", at_least=1, at_most=65535)
    workers: int = setting(1, "Edges that `headrace up` starts. One uses one core.", at_least=1, at_most=64)
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
    url: str | None = setting(
        None,
        "Where the `headrace` command finds the management API, such as `https://ai.example.com`. "
        "Default: HEADRACE_PORT on this machine.",
    )
    token: Secret | None = setting(
        None,
        "Token that the `headrace` command presents. "
        "Default: the one in the file `token` in the data directory, which the first start writes.",
        secret=True,
    )


# Settings that say what one process is. `up` starts several and decides them for each.
_DECIDED_BY_UP = ("HEADRACE_PROCESS", "HEADRACE_LISTEN", "HEADRACE_ADMIN_LISTEN", "HEADRACE_EDGE_LISTEN_HTTP")


def problems(env: Mapping[str, str], *, up: bool = False) -> list[str]:
    """
    Return what is wrong with the settings in an environment, one line each.

    Args:
        env: The environment.
        up: Whether `headrace up` is about to use it.
    """
    classes = [CliConfig, *(cls for group in CONFIGS.values() for cls in group if cls is not CliConfig)]
    found = unknown(env, classes, DYNAMIC_SETTINGS)
    for cls in classes:
        found += _problems_of(cls, env)
    try:
        exporter_names(env)
    except ConfigError as error:
        found += error.problems
    if up:
        found += [
            f"{name} is for a single process (`headrace serve`); `headrace up` sets it for each of its own."
            for name in _DECIDED_BY_UP
            if env.get(name, "").strip()
        ]
    return list(dict.fromkeys(found))


def _problems_of(cls: type, env: Mapping[str, str]) -> tuple[str, ...]:
    try:
        load(cls, env)
    except ConfigError as error:
        return error.problems
    return ()


def service_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without this module's settings: services refuse what they do not know."""
    known_to_services = {
        name
        for cls in (RuntimeConfig, *(cls for group in CONFIGS.values() for cls in group))
        if cls is not CliConfig
        for entry in describe(cls)
        for name in entry.names
    }
    ours = {name for entry in describe(CliConfig) for name in entry.names} - known_to_services
    return {name: value for name, value in env.items() if name not in ours}
