"""The probes of one container: startup first, then liveness and readiness, each in its own rhythm."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from deploy.rehearsal import probes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from deploy.rehearsal.pod_spec import ContainerSpec, Handler, Probe

__all__ = ["Prober"]


class Prober:
    """
    Asks one container, for as long as it runs.

    Args:
        spec: The container.
        address: The pod's address.
        execute: Runs a command in the container within a time, and returns None or what is wrong.
        on_started: Called once the startup probe has passed, or at once when there is none.
        on_ready: Called with whether it is ready, and why not, whenever that changes.
        on_dead: Called with the probe and the reason when it is to be killed.
    """

    def __init__(
        self,
        spec: ContainerSpec,
        address: str,
        *,
        execute: Callable[[tuple[str, ...], float], Awaitable[str | None]],
        on_started: Callable[[], None],
        on_ready: Callable[[bool, str], None],
        on_dead: Callable[[Probe, str], None],
    ) -> None:
        self._spec = spec
        self._address = address
        self._execute = execute
        self._on_started = on_started
        self._on_ready = on_ready
        self._on_dead = on_dead

    async def run(self) -> None:
        """Ask until it is cancelled, or the container is to be killed."""
        spec = self._spec
        if spec.startup is not None and not await self._start(spec.startup):
            return
        self._on_started()
        tasks = []
        if spec.readiness is None:
            self._on_ready(True, "")  # noqa: FBT003 - whether it is
        else:
            tasks.append(asyncio.create_task(self._readiness(spec.readiness)))
        if spec.liveness is not None:
            tasks.append(asyncio.create_task(self._liveness(spec.liveness)))
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _start(self, probe: Probe) -> bool:
        await asyncio.sleep(probe.initial_delay_s)
        failures = 0
        while (problem := await self._ask(probe)) is not None:
            failures += 1
            if failures >= probe.failures:
                self._on_dead(probe, f"startup probe failed {failures} times: {problem}")
                return False
            await asyncio.sleep(probe.period_s)
        return True

    async def _readiness(self, probe: Probe) -> None:
        await asyncio.sleep(probe.initial_delay_s)
        ready, successes, failures = False, 0, 0
        while True:
            problem = await self._ask(probe)
            successes, failures = (successes + 1, 0) if problem is None else (0, failures + 1)
            if not ready and successes >= probe.successes:
                ready = True
                self._on_ready(True, "")  # noqa: FBT003 - whether it is
            elif ready and failures >= probe.failures:
                ready = False
                self._on_ready(False, problem or "")  # noqa: FBT003 - whether it is
            await asyncio.sleep(probe.period_s)

    async def _liveness(self, probe: Probe) -> None:
        await asyncio.sleep(probe.initial_delay_s)
        failures = 0
        while True:
            problem = await self._ask(probe)
            failures = 0 if problem is None else failures + 1
            if failures >= probe.failures:
                self._on_dead(probe, f"liveness probe failed {failures} times: {problem}")
                return
            await asyncio.sleep(probe.period_s)

    async def _ask(self, probe: Probe) -> str | None:
        handler = probe.handler
        if handler.kind == "exec":
            return await self._execute(handler.argv, probe.timeout_s)
        return await probes.ask(handler, self._address, self._port(handler), probe.timeout_s)

    def _port(self, handler: Handler) -> int:
        if isinstance(handler.port, int):
            return handler.port
        numbers = {port.name: port.number for port in self._spec.ports}
        return numbers.get(handler.port, 0)
