"""
Runs one pod: its network and volumes, its containers in order, and its end.

`container_loop` runs each container.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import TYPE_CHECKING, Final

from deploy.rehearsal.container_loop import ContainerLoop, when_there
from deploy.rehearsal.environment import MissingReferenceError
from deploy.rehearsal.errors import RehearsalError
from deploy.rehearsal.pods import fill_volumes, release_volumes
from deploy.rehearsal.volumes import used_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.rehearsal.objects import Data
    from deploy.rehearsal.pod_spec import ContainerSpec
    from deploy.rehearsal.pods import PodRecord
    from deploy.rehearsal.surroundings import Surroundings

__all__ = ["Kubelet"]

_EVICTION_S: Final = 10.0
_LAST_WORDS_S: Final = 1.0


class Kubelet:
    """
    Runs one pod that has a node.

    Args:
        pod: The pod.
        around: What all pods share.
    """

    def __init__(self, pod: PodRecord, around: Surroundings) -> None:
        self._pod = pod
        self._around = around
        self._stopping = asyncio.Event()
        self._grace_s = float(pod.template.spec.grace_s)
        self._task: asyncio.Task[None] | None = None
        self._loops: dict[str, ContainerLoop] = {}

    def start(self) -> None:
        """Start it."""
        self._task = asyncio.create_task(self._run())

    async def stop(self, grace_s: float | None) -> None:
        """Stop it within its grace, and wait until it is gone."""
        if grace_s is not None:
            self._grace_s = min(self._grace_s, grace_s)
        self._stopping.set()
        if self._task is not None:
            await asyncio.shield(self._task)

    def signal(self, number: int) -> None:
        """Send the first process of every container a signal."""
        for state in self._pod.containers.values():
            if state.running is not None:
                state.running.signal(number)

    def refresh(self) -> bool:
        """Bring its files up to date; return whether any changed."""
        try:
            return fill_volumes(self._pod, self._find)
        except MissingReferenceError as error:
            self._event("FailedMount", str(error))
            return False

    async def execute(self, argv: tuple[str, ...], timeout_s: float) -> tuple[int, str]:
        """
        Run a command in its first container.

        Raises:
            RehearsalError: That does not run, or the command does not end in time.
        """
        name = self._pod.template.spec.containers[0].name
        if name not in self._loops:
            raise RehearsalError(f"{self._pod.name} has not begun with {name}")
        return await self._loops[name].execute(argv, timeout_s)

    async def _run(self) -> None:
        pod = self._pod
        stopping = asyncio.create_task(self._stopping.wait())
        living = asyncio.create_task(self._live())
        try:
            await asyncio.wait([stopping, living], return_when=asyncio.FIRST_COMPLETED)
            if not living.done():
                await self._terminate(living)
            elif (error := living.exception()) is not None:
                pod.phase, pod.reason = "Failed", str(error)
                self._event("Failed", str(error))
        finally:
            stopping.cancel()
            living.cancel()
            self._clean_up()

    async def _live(self) -> None:
        pod = self._pod
        assert pod.node is not None
        pod.attachment = self._around.network.attach_pod(pod.node.name)
        (pod.directory / "etc").mkdir(parents=True, exist_ok=True)
        pod.log.parent.mkdir(parents=True, exist_ok=True)
        self._around.files(pod)
        self._around.changed(pod)
        await when_there(lambda: fill_volumes(pod, self._find), pod, self._around)
        beside = await self._before()
        pod.phase = "Running"
        tasks = [asyncio.create_task(self._loop(spec).run()) for spec in pod.template.spec.containers]
        watch = asyncio.create_task(self._watch_sizes())
        try:
            statuses = await asyncio.gather(*tasks)
        finally:
            for task in (*tasks, *beside, watch):
                task.cancel()
        if not self._stopping.is_set():
            pod.phase = "Failed" if any(statuses) else "Succeeded"

    async def _before(self) -> list[asyncio.Task[int]]:
        """Run the init containers one after the other; return those that go on beside the pod's own."""
        policy = self._pod.template.spec.restart_policy
        beside = []
        for spec in self._pod.template.spec.init_containers:
            if spec.sidecar:
                loop = self._loop(spec, again=lambda _status: True)
                beside.append(asyncio.create_task(loop.run()))
                continue
            loop = self._loop(spec, again=lambda status: status != 0 and policy != "Never")
            if status := await loop.run():
                raise RehearsalError(f"init container {spec.name}: exit status {status}")
        return beside

    def _loop(self, spec: ContainerSpec, again: Callable[[int], bool] | None = None) -> ContainerLoop:
        policy = self._pod.template.spec.restart_policy
        usual = {"Always": lambda _status: True, "Never": lambda _status: False, "OnFailure": bool}[policy]
        loop = ContainerLoop(spec, self._pod, self._around, again=again or usual, main=again is None)
        self._loops[spec.name] = loop
        self._pod.containers[spec.name] = loop.state
        return loop

    async def _terminate(self, living: asyncio.Task[None]) -> None:
        """Stop all containers within the grace."""
        self._event("Killing", f"within {self._grace_s:g} s")
        end_s = time.monotonic() + self._grace_s
        await asyncio.gather(*(loop.stop(end_s) for loop in self._loops.values()))
        await asyncio.wait([living], timeout=_LAST_WORDS_S)
        living.cancel()
        with contextlib.suppress(asyncio.CancelledError, RehearsalError):
            await living
        self._event("Deleted", "")

    def _clean_up(self) -> None:
        pod = self._pod
        for loop in self._loops.values():
            if loop.state.running is not None:
                loop.state.running.signal(signal.SIGKILL)
                loop.state.running = None
            loop.state.ready = False
            self._around.limits.drop(loop.group)
        if pod.attachment is not None and pod.node is not None:
            self._around.network.detach_pod(pod.node.name, pod.attachment)
        pod.attachment = None
        release_volumes(pod)
        pod.ready = False
        if pod.phase in ("Pending", "Running"):
            pod.phase = "Gone"
        self._around.changed(pod)

    async def _watch_sizes(self) -> None:
        """Evict the pod when a volume takes more than it may, as the kubelet does for those on disk."""
        pod = self._pod
        limited = [each for each in pod.template.spec.volumes if each.kind == "empty" and each.size_bytes]
        while limited:
            await asyncio.sleep(_EVICTION_S)
            for volume in limited:
                assert volume.size_bytes is not None
                used = await asyncio.to_thread(used_bytes, pod.directory / "volumes" / volume.name)
                if used > volume.size_bytes and not volume.memory:
                    pod.phase, pod.reason = "Failed", f"Evicted: volume {volume.name} holds {used} bytes"
                    self._event("Evicted", pod.reason)
                    self._stopping.set()

    def _find(self, kind: str, name: str) -> Data | None:
        return self._around.find(self._pod.namespace, kind, name)

    def _event(self, kind: str, message: str) -> None:
        self._around.event(kind, f"pod/{self._pod.name}", message)
