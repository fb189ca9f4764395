"""
The table of processes: what `headrace up` starts, with which environment, and in which order it stops them.

Two topologies, the same names and sockets in both: each service on its own, or all in one process that
listens where each would.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cli.config import service_environment
from kit.providers import LOCAL, SLUGS, operator_custom

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cli.config import CliConfig
    from kit.runtime_config import RuntimeConfig

__all__ = [
    "ENVOY",
    "PROVIDERS_LOCAL",
    "ProcessSpec",
    "StopStage",
    "Topology",
    "edge_sockets",
    "envoy_environment",
    "table",
]

ENVOY: Final = "envoy"
INLINE: Final = "headrace"
PROVIDERS_LOCAL: Final = "providers-local"
# A stop that a person waits for is over within five seconds: running requests get two of them, and what is
# left is for telling their clients, flushing, and the services behind.
_GRACE_S: Final = "2"
_ENVOY_GRACE_S: Final = "0.3"
_ROOT: Final = Path(__file__).resolve().parent.parent


class StopStage:
    """When a process is told to stop; a stage begins when the one before it has ended."""

    EDGE: Final = 0
    ENVOY: Final = 1
    BACK: Final = 2
    LEDGER: Final = 3  # last, so that nothing that was done goes unrecorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """
    What the operator asked for.

    Attributes:
        inline: All services in one process.
        workers: How many edges.
        envoy: Whether Envoy stands in front.
        local_model: Whether the local model is served.
    """

    inline: bool = False
    workers: int = 1
    envoy: bool = True
    local_model: bool = True

    def problem(self) -> str | None:
        """Say what does not go together; None when all does."""
        if not self.envoy and self.workers > 1:
            return (
                "--no-envoy goes with one worker only: without Envoy nothing spreads requests over several."
            )
        if self.inline and self.workers > 1:
            return "--inline goes with one worker only: it runs everything in one process."
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """
    One process of an installation.

    Attributes:
        name: As in its sockets and log lines.
        argv: Its command line.
        env: Its whole environment.
        stop_stage: When it is told to stop; see `StopStage`.
        admin_socket: Where it can be asked how it is.
        ready_path: What to ask there.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    stop_stage: int
    admin_socket: Path
    ready_path: str = "/readyz"


def edge_sockets(runtime: RuntimeConfig, index: int) -> tuple[Path, Path]:
    """Return the HTTP and the gRPC socket of an edge."""
    return runtime.socket(f"edge-{index}-http"), runtime.socket(f"edge-{index}-grpc")


def table(
    topology: Topology,
    *,
    config: CliConfig,
    runtime: RuntimeConfig,
    env: Mapping[str, str],
) -> tuple[ProcessSpec, ...]:
    """Return every process to run, in the order in which they are started."""
    rows = _Rows(topology, config, runtime, env)
    specs = [rows.inline()] if topology.inline else rows.split()
    if topology.local_model:
        specs.append(rows.service(PROVIDERS_LOCAL, "providers", "--only", LOCAL))
    if topology.envoy:
        specs.append(rows.envoy())
    return tuple(specs)


def envoy_environment(runtime: RuntimeConfig, workers: int) -> dict[str, str]:
    """Return what Envoy is told beyond the settings: where the edges are, and that they stop before it."""
    sockets = [edge_sockets(runtime, index) for index in range(workers)]
    return {
        "HEADRACE_ENVOY_EDGE_HTTP": ",".join(f"unix:{http}" for http, _ in sockets),
        "HEADRACE_ENVOY_EDGE_GRPC": ",".join(f"unix:{grpc}" for _, grpc in sockets),
        # Without an edge no request comes to an end: only answers that are on their way are waited for.
        "HEADRACE_GRACE_S": _ENVOY_GRACE_S,
        "HEADRACE_DRAIN_DELAY_S": "0",
    }


class _Rows:
    def __init__(
        self, topology: Topology, config: CliConfig, runtime: RuntimeConfig, env: Mapping[str, str]
    ) -> None:
        self._topology = topology
        self._config = config
        self._runtime = runtime
        self._outer = env
        self._common = {
            "HEADRACE_GRACE_S": _GRACE_S,
            **service_environment(env),
            "HEADRACE_DATA_DIR": str(runtime.data_dir),
            "HEADRACE_RUN_DIR": str(runtime.run_dir),
            "HEADRACE_LOCAL_ENABLED": "true" if topology.local_model else "false",
            "PYTHONPATH": _python_path(env.get("PYTHONPATH", "")),
            "PYTHONUNBUFFERED": "1",
        }

    def split(self) -> list[ProcessSpec]:
        return [
            self.service("auth"),
            self.service("router"),
            self.service("cache"),
            self.service("ledger", stage=StopStage.LEDGER),
            self.service("providers", "providers", *self._providers()),
            *(self._edge(index) for index in range(self._topology.workers)),
        ]

    def inline(self) -> ProcessSpec:
        # Where each service would listen by itself, so that Envoy, the command line and the local model's
        # process find them in either topology.
        names = ("auth", "router", "cache", "ledger", "providers")
        own = [f"unix:{self._runtime.socket(name)}" for name in names]
        env = {
            **self._edge_env(0, [*own, f"unix:{edge_sockets(self._runtime, 0)[1]}"]),
            "HEADRACE_PROVIDERS_LOCAL_ADDRESS": f"unix:{self._runtime.socket(PROVIDERS_LOCAL)}",
        }
        return self.service(INLINE, "all", *self._providers(), stage=StopStage.EDGE, env=env)

    def service(
        self,
        name: str,
        target: str = "",
        *arguments: str,
        stage: int = StopStage.BACK,
        env: Mapping[str, str] | None = None,
    ) -> ProcessSpec:
        return ProcessSpec(
            name=name,
            argv=(sys.executable, "-m", "services", target or name, *arguments),
            env={**self._common, **(env or {}), "HEADRACE_PROCESS": name},
            stop_stage=stage,
            admin_socket=self._runtime.socket(f"{name}-admin"),
        )

    def envoy(self) -> ProcessSpec:
        return ProcessSpec(
            name=ENVOY,
            argv=(sys.executable, "-m", "services", "envoy"),
            env={
                **self._common,
                **envoy_environment(self._runtime, self._topology.workers),
                "HEADRACE_PROCESS": ENVOY,
            },
            stop_stage=StopStage.ENVOY,
            admin_socket=self._runtime.socket("envoy-admin"),
            ready_path="/ready",
        )

    def _edge(self, index: int) -> ProcessSpec:
        env = self._edge_env(index, [f"unix:{edge_sockets(self._runtime, index)[1]}"])
        if not self._topology.envoy:
            env["HEADRACE_LISTEN"] += f",{self._config.host}:{self._config.grpc_port}"
        return self.service(f"edge-{index}", "edge", stage=StopStage.EDGE, env=env)

    def _edge_env(self, index: int, grpc: list[str]) -> dict[str, str]:
        http = [f"unix:{edge_sockets(self._runtime, index)[0]}"]
        if not self._topology.envoy:
            http.append(f"{self._config.host}:{self._config.port}")
        return {"HEADRACE_LISTEN": ",".join(grpc), "HEADRACE_EDGE_LISTEN_HTTP": ",".join(http)}

    def _providers(self) -> tuple[str, ...]:
        # The local model has a process of its own, or is not wanted.
        if self._outer.get("HEADRACE_PROVIDERS_ONLY", "").strip():
            return ()
        return ("--only", *(slug for slug in (*SLUGS, *operator_custom(self._outer)) if slug != LOCAL))


def _python_path(inherited: str) -> str:
    # Children find the code where we found it, whatever directory they run in and however it is installed.
    ours = [str(_ROOT), *([str(_ROOT / "gen")] if (_ROOT / "gen").is_dir() else [])]
    rest = [part for part in inherited.split(os.pathsep) if part and part not in ours]
    return os.pathsep.join([*ours, *rest])
