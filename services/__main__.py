"""
Runs services: `python -m services {edge|auth|router|providers|cache|ledger|all} [--only slug …]`.

And what stands in front of them: `python -m services envoy`; and what brings their tables up to date:
`python -m services migrate`.

A process imports only the services that it runs.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
from typing import TYPE_CHECKING, Final, cast

if __name__ == "__main__":
    # What imports make stays: to look through it again and again meanwhile is a tenth of a start's CPU time.
    # Ended by `_imported`.
    gc.disable()

# gRPC's newer I/O engine hands every message over between threads of its own; for many small messages over
# one socket, which is what tokens are, the older one takes a fifth less CPU. gRPC reads this when imported.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")

from services.settings import configs_of, unknown_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kit.service import Build

# In the order in which `all` builds them: a service comes after those that it calls.
TARGETS: Final = ("auth", "router", "cache", "ledger", "providers", "edge")
# One process that serves all providers also serves the one that otherwise has a process of its own.
ALIASES: Final[Mapping[str, str]] = {"providers-local": "providers"}
FRONT_DOOR: Final = "envoy"
MIGRATE: Final = "migrate"
# Process names where they are not the target's own: they name the sockets that peers look for.
PROCESSES: Final[Mapping[str, str]] = {"edge": "edge-0", "all": "headrace"}


def main(arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Run what the arguments name, until a signal; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m services", description="Run services of Headrace.")
    parser.add_argument(
        "target",
        choices=(*TARGETS, "all", FRONT_DOOR, MIGRATE),
        help="the service to run, or all in one process; what is in front of them; or the change of tables",
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="slug", help="providers to serve (HEADRACE_PROVIDERS_ONLY)"
    )
    given = parser.parse_args(arguments)
    if given.only and given.target not in {"providers", "all"}:
        parser.error("--only goes with providers")
    if given.target == FRONT_DOOR:
        from deploy.envoy.run import run as run_front_door

        _imported()
        return run_front_door(process_env(env, FRONT_DOOR, ()), unknown_settings)
    if given.target == MIGRATE:
        from services.migrate import run as run_migrate

        _imported()
        return run_migrate(process_env(env, MIGRATE, ()))
    from kit.lifecycle import run

    names = TARGETS if given.target == "all" else (given.target,)
    builds = [(name, _build(name)) for name in names]
    _imported()
    return run(
        builds,
        process_env(env, given.target, given.only),
        configs=configs_of(names),
        unknown=unknown_settings,
        aliases=ALIASES,
    )


def process_env(env: Mapping[str, str], target: str, only: Sequence[str]) -> dict[str, str]:
    """Return the environment with what the arguments say put into it; variables that are set win."""
    name = PROCESSES.get(target, target)
    if list(only) == ["local"] and target == "providers":
        name = "providers-local"
    filled = {"HEADRACE_PROCESS": name, **{key: value for key, value in env.items() if value}}
    if only:
        filled["HEADRACE_PROVIDERS_ONLY"] = ",".join(only)
    return filled


def _imported() -> None:
    """Collect garbage from here on, and never look for it among what the imports made."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _build(name: str) -> Build:
    return cast("Build", importlib.import_module(f"services.{name}.app").build)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
