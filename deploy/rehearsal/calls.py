"""
What a scenario can ask the engine for: one method for each call of `Cluster`.

Arguments and results are what JSON has.
"""

from __future__ import annotations

import asyncio
import base64
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import TYPE_CHECKING, Any, Final

from deploy.rehearsal import rollout_waiting, scraping
from deploy.rehearsal.controllers import described
from deploy.rehearsal.errors import RehearsalError
from deploy.rehearsal.names import search_path
from deploy.rehearsal.objects import Monitor, Workload
from deploy.rehearsal.views import OUTSIDE

if TYPE_CHECKING:
    from deploy.rehearsal.engine import Engine
    from deploy.rehearsal.pods import PodRecord

__all__ = ["Calls"]

_EXECUTE_S: Final = 60.0


class Calls:
    """
    The calls, once the engine has begun.

    Args:
        engine: What they are about.
    """

    def __init__(self, engine: Engine) -> None:
        self._in = engine

    async def call_stop(self) -> None:
        """Stop all pods."""
        await self._in.stop()

    # Objects

    async def call_apply(self, documents: list[dict[str, Any]]) -> None:
        """Apply manifests: all of them, or none when one is not understood."""
        self._in.apply(documents)

    async def call_update(self, kind: str, name: str, data: dict[str, str]) -> None:
        """Give keys of a ConfigMap or Secret new values."""
        self._in.store.change(kind, name, {key: base64.b64decode(value) for key, value in data.items()})
        self._in.refresh()

    async def call_renew(self, name: str) -> None:
        """Issue a Certificate again."""
        self._in.store.renew(name)
        self._in.refresh()

    async def call_data(self, kind: str, name: str) -> dict[str, str]:
        """Return what a ConfigMap or Secret holds."""
        found = self._in.store.named_data(kind, name)
        return {key: base64.b64encode(value).decode() for key, value in found.data.items()}

    async def call_delete(self, kind: str, name: str) -> None:
        """Delete an object."""
        found = self._in.store.find(kind, name)
        if isinstance(found, Workload):
            self._in.controllers.remove(kind, name)
        self._in.store.remove(found)
        self._in.take_over()

    # Workloads and pods

    async def call_rolled_out(self, names: list[str], timeout_s: float) -> None:
        """Wait for workloads."""
        await rollout_waiting.wait(self._in.controllers, names, timeout_s)
        # What is ready is to be found, too.
        await asyncio.sleep(self._in.propagation_s + 0.1)

    async def call_rollouts(self) -> list[dict[str, Any]]:
        """Return how far each workload is."""
        return [described(each) for each in self._in.controllers.rollouts()]

    async def call_restart(self, name: str) -> None:
        """Restart a workload."""
        self._in.controllers.restart(name)

    async def call_scale(self, name: str, replicas: int) -> None:
        """Scale a workload."""
        self._in.controllers.scale(name, replicas)

    async def call_pod_kill(self, name: str) -> None:
        """Kill a pod's containers."""
        self._in.event("Killed", f"pod/{name}", "by the scenario")
        self._in.controllers.kubelet(name).signal(SIGKILL)

    async def call_pod_signal(self, name: str, number: int) -> None:
        """Send a pod's containers a signal."""
        self._in.controllers.kubelet(name).signal(number)

    async def call_pod_delete(self, name: str, grace_s: float | None) -> None:
        """Delete a pod, and wait until it is gone."""
        if name not in self._in.controllers.pods:
            raise RehearsalError(f"there is no pod {name}")
        await asyncio.shield(self._in.controllers.delete(name, grace_s))

    async def call_pod_execute(self, name: str, argv: list[str]) -> tuple[int, str]:
        """Run a command in a pod's first container."""
        return await self._in.controllers.kubelet(name).execute(tuple(argv), _EXECUTE_S)

    async def call_pod_memory(self, name: str) -> int | None:
        """Return the most memory that a pod has used."""
        peaks = [self._in.limits.peak_bytes(f"{name}.{each}") for each in self._pod(name).containers]
        known = [peak for peak in peaks if peak is not None]
        return sum(known) if known else None

    def _pod(self, name: str) -> PodRecord:
        if name not in self._in.controllers.pods:
            raise RehearsalError(f"there is no pod {name}")
        return self._in.controllers.pods[name]

    # Hosts, nodes, processes

    async def call_host_start(self, name: str) -> None:
        """Start a host's process."""
        self._in.event("Started", f"host/{name}", "")
        await self._in.hosts[name].start(self._in.images, self._in.starter)

    async def call_host_stop(self, name: str) -> None:
        """Stop a host's process."""
        self._in.event("Stopping", f"host/{name}", "")
        await self._in.hosts[name].stop()

    async def call_host_kill(self, name: str) -> None:
        """Kill a host's process."""
        self._in.event("Killed", f"host/{name}", "")
        await self._in.hosts[name].stop(SIGKILL)

    async def call_host_freeze(self, name: str, frozen: bool) -> None:  # noqa: FBT001 - from JSON
        """Stop or continue a host's process."""
        self._in.hosts[name].signal(SIGSTOP if frozen else SIGCONT)

    async def call_cut(self, node: str, cut: bool) -> None:  # noqa: FBT001 - from JSON
        """Cut a node off, or connect it again."""
        self._in.network.cut(node, cut=cut)
        self._in.views.cut(node, cut=cut)
        self._in.event("Cut" if cut else "Healed", f"node/{node}", "")
        self._in.changed(None)

    async def call_run(self, where: str, argv: list[str], env: dict[str, str], cwd: str) -> dict[str, Any]:
        """Start a process in the network of a pod or a host."""
        kind, _, name = where.partition("/")
        if kind == "host":
            host = self._in.hosts[name]
            return await self._in.processes.run(host.attachment, host.files, argv, env, cwd)
        pod = self._pod(name)
        if pod.attachment is None:
            raise RehearsalError(f"pod {name} is not running")
        files = {f"/etc/{each}": pod.directory / "etc" / each for each in ("hosts", "resolv.conf")}
        return await self._in.processes.run(pod.attachment, files, argv, env, cwd)

    async def call_process_wait(self, pid: int) -> int:
        """Wait for a process."""
        return await self._in.processes.get(pid).wait()

    async def call_process_signal(self, pid: int, number: int) -> None:
        """Send a process a signal."""
        self._in.processes.get(pid).signal(number)

    # Questions

    async def call_address(self, service: str) -> str:
        """Return the address of a Service."""
        found = self._in.store.find("Service", service)
        return self._in.views.address(found.namespace, found.name)

    async def call_resolve(self, name: str) -> list[str]:
        """Return what DNS answers a pod."""
        zone = self._in.views.zone(OUTSIDE)
        namespaces = [each.namespace for each in self._in.store.all_of(Workload)]
        for suffix in ("", *(f".{each}" for each in search_path((namespaces or ["default"])[0]))):
            if (name + suffix).lower() in zone.addresses:
                return sorted(zone.addresses[(name + suffix).lower()])
        return []

    async def call_notes(self) -> list[str]:
        """Return what means nothing here."""
        lines = self._in.store.notes.lines()
        if not self._in.limits.available:
            lines.append("limits of memory: this machine has no memory controller that may be used")
        return lines

    async def call_scrape(self) -> dict[str, str]:
        """Fetch what monitors name."""
        monitors = self._in.store.all_of(Monitor)
        services = list(self._in.views.services.values())
        targets = scraping.targets(monitors, services, list(self._in.controllers.pods.values()))
        return await scraping.fetch_all(targets, self._in.prometheus)
