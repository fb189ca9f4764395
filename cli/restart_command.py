"""`headrace restart-envoy`: a new Envoy in the place of the one that runs, without a refused connection."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Final

import typer

from cli.rpc import fail, runtime_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["restart_envoy"]

_WAIT_S: Final = 60.0
_POLL_S: Final = 0.1


def restart_envoy() -> None:
    """
    Restart Envoy under `headrace up` without cutting a stream, such as after an upgrade of it.

    The new Envoy takes over at once; the old one goes on with what it has, for
    HEADRACE_ENVOY_RESTART_GRACE_S at most.
    """
    from cli.runlock import holder
    from cli.up import RESTART_ENVOY

    runtime = runtime_of(os.environ)
    socket = runtime.socket("envoy-admin")
    pid = holder(runtime.data_dir)
    before = asyncio.run(_epoch(socket))
    if not pid or before is None:
        fail(f"No Envoy runs under `headrace up` on {runtime.data_dir}.")
    os.kill(pid, RESTART_ENVOY)
    until_s = time.monotonic() + _WAIT_S
    while time.monotonic() < until_s:
        time.sleep(_POLL_S)
        after = asyncio.run(_epoch(socket))
        if after is not None and after > before:
            typer.echo("A new Envoy takes requests; the old one finishes what it has.")
            return
    fail("The new Envoy did not come up; the output of `headrace up` says why.")


async def _epoch(socket: Path) -> int | None:
    from deploy.envoy.admin import Admin

    return await Admin(socket).epoch()
