"""
Settings of `headrace up` and of the commands that call what it starts.

Services do not read them: they listen on sockets, and whoever starts them says where.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.envoy.config import EnvoyConfig
from kit.config import ConfigError, describe, load, setting, unknown
from kit.runtime_config import RuntimeConfig
from kit.telemetry.setup import exporter_names
from services.settings import CONFIGS, DYNAMIC_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kit.secret import Secret

__all__ = ["CliConfig", "problems", "service_environment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CliConfig(EnvoyConfig):
    """How `headrace up` starts things, and how other commands reach them; with the front door's settings."""

    workers: int = setting(1, "Edges that `headrace up` starts. One uses one core.", at_least=1, at_most=64)
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
_DECIDED_BY_UP = (
    "HEADRACE_PROCESS",
    "HEADRACE_LISTEN",
    "HEADRACE_ADMIN_LISTEN",
    "HEADRACE_EDGE_LISTEN_HTTP",
    "HEADRACE_ENVOY_EDGE_HTTP",
    "HEADRACE_ENVOY_EDGE_GRPC",
)


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
