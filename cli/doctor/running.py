"""Checks of an installation that runs: each process, and the front door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cli.doctor.finding import Finding, broken, fine, note
from cli.ready import connectable
from cli.runlock import holder
from kit.probe import Answer, ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cli.config import CliConfig
    from kit.runtime_config import RuntimeConfig

__all__ = ["check_running"]

_SUFFIX: Final = "-admin.sock"
_SEE_LOG: Final = "Look at its lines in the output of `headrace up`; it is started again by itself."


async def check_running(config: CliConfig, runtime: RuntimeConfig) -> AsyncIterator[Finding]:
    """Ask whatever runs how it is."""
    sockets = sorted(runtime.run_dir.glob(f"*{_SUFFIX}")) if runtime.run_dir.is_dir() else []
    if holder(runtime.data_dir) is None and not sockets:
        yield note("running", "Headrace does not run.", "Start it with `headrace up`.")
        return
    for socket in sockets:
        name = socket.name.removesuffix(_SUFFIX)
        answer = await ask(socket, "/ready" if name == "envoy" else "/readyz", timeout_s=3)
        yield _judge(name, answer)
    host = connectable(config.host)
    answer = await ask((host, config.port), "/readyz", timeout_s=3)
    yield _judge("front door", answer)


def _judge(name: str, answer: Answer) -> Finding:
    if answer.status == 200:
        return fine(name, "ready")
    if answer.status == 0:
        return broken(name, "Does not answer.", _SEE_LOG)
    body = answer.json()
    failures = body.get("failures") if isinstance(body, dict) else None
    if isinstance(failures, dict) and failures:
        what = "; ".join(f"{service}: {text}" for service, text in failures.items())
    else:
        what = f"answered {answer.status}"
    return broken(name, f"Not ready: {what}.", _SEE_LOG)
