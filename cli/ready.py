"""Finds out which processes are ready, and whether the whole is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kit.probe import ask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cli.processes import ProcessSpec

__all__ = ["ProcessState", "Readiness", "connectable"]

_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "::1"}  # noqa: S104  # compared, not bound


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    """
    How a process is.

    Attributes:
        is_up: Whether it answers.
        is_ready: Whether it says that it can do its work.
        trouble: What it says is missing; empty when nothing is, or when it says nothing.
    """

    is_up: bool = False
    is_ready: bool = False
    trouble: str = ""


def connectable(host: str) -> str:
    """Return the address to connect to for an address that was listened on."""
    return _ANYWHERE.get(host, host)


class Readiness:
    """
    Asks processes and the public port how they are.

    Args:
        specs: The processes.
        host: Address that the front door listens on.
        port: Its HTTP port.
    """

    def __init__(self, specs: Iterable[ProcessSpec], host: str, port: int) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._public = (connectable(host), port)

    async def processes(self) -> dict[str, ProcessState]:
        """Ask every process."""
        states = await asyncio.gather(*(self._state(spec) for spec in self._specs.values()))
        return dict(zip(self._specs, states, strict=True))

    async def whole(self) -> ProcessState:
        """Ask the public port: what it says is what clients will find."""
        answer = await ask(self._public, "/readyz", timeout_s=3)
        return ProcessState(
            is_up=answer.status != 0, is_ready=answer.status == 200, trouble=_trouble(answer.json())
        )

    async def _state(self, spec: ProcessSpec) -> ProcessState:
        if not spec.admin_socket.exists():
            return ProcessState()
        answer = await ask(spec.admin_socket, spec.ready_path, timeout_s=2)
        return ProcessState(
            is_up=answer.status != 0, is_ready=answer.status == 200, trouble=_trouble(answer.json())
        )


def _trouble(body: object) -> str:
    failures = body.get("failures") if isinstance(body, dict) else None
    if not isinstance(failures, dict):
        return ""
    return "; ".join(f"{name}: {text}" for name, text in failures.items())
