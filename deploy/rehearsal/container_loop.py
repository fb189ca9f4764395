"""
Runs one container of a pod: starts it, asks it how it is, starts it again with back-off, and stops it.

Times are the kubelet's own: a container that dies is noticed with the next look at all containers, once a
second; the first restart is at once, the next ones after 10 s, 20 s and so on up to five minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import TYPE_CHECKING, Final, TypeVar

from deploy.rehearsal.container import Container
from deploy.rehearsal.environment import MissingReferenceError
from deploy.rehearsal.errors import RehearsalError
from deploy.rehearsal.pods import ContainerState, build
from deploy.rehearsal.prober import Prober

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.rehearsal.objects import Data
    from deploy.rehearsal.pod_spec import ContainerSpec, Handler, Probe
    from deploy.rehearsal.pods import PodRecord
    from deploy.rehearsal.starter import Running
    from deploy.rehearsal.surroundings import Surroundings

__all__ = ["ContainerLoop", "when_there"]

T = TypeVar("T")

_NOTICE_S: Final = 1.0  # how often the kubelet looks at all containers
_BACK_OFF_S: Final = (0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)
_FORGIVEN_S: Final = 600.0  # after so long without a crash, the next one is the first again
_MISSING_S: Final = 0.5
_SLOT_S: Final = 15.0  # the longest that one container's start holds up others
_CANNOT_START: Final = 128  # the status that container runtimes give one that never ran
_OUT_OF_MEMORY: Final = -signal.SIGKILL


async def when_there(make: Callable[[], T], pod: PodRecord, around: Surroundings) -> T:
    """Return what a function makes, once all that it refers to is there."""
    while True:
        try:
            return make()
        except MissingReferenceError as error:
            if pod.reason != str(error):
                pod.reason = str(error)
                around.event("FailedMount", f"pod/{pod.name}", str(error))
                around.changed(pod)
            await asyncio.sleep(_MISSING_S)


class ContainerLoop:
    """
    One container, from its first start to its last end.

    Args:
        spec: The container.
        pod: Its pod.
        around: What all pods share.
        again: Whether it is started again after this status.
        main: Whether it is one of the pod's own, and not one that goes before or beside them.
    """

    def __init__(
        self,
        spec: ContainerSpec,
        pod: PodRecord,
        around: Surroundings,
        *,
        again: Callable[[int], bool],
        main: bool,
    ) -> None:
        self._spec = spec
        self._pod = pod
        self._around = around
        self._again = again
        self._main = main
        self._stopping = False
        self._dead = ""
        self.state = ContainerState(spec=spec)

    @property
    def group(self) -> str:
        """The name of its control group."""
        return f"{self._pod.name}.{self._spec.name}"

    async def run(self) -> int:
        """Run it, again and again if it is to; return its last status."""
        crashes, begun_s = 0, time.monotonic()
        while True:
            status = await self._once()
            if self._stopping or not self._again(status):
                return status
            if time.monotonic() - begun_s > _FORGIVEN_S:
                crashes = 0
            delay_s = _BACK_OFF_S[min(crashes, len(_BACK_OFF_S) - 1)]
            crashes += 1
            if delay_s:
                self._pod.reason = f"CrashLoopBackOff: container {self._spec.name}: exit status {status}"
                self._event("BackOff", f"again in {delay_s:g} s")
                self._around.changed(self._pod)
            await asyncio.sleep(delay_s)
            self.state.restarts += 1
            begun_s = time.monotonic()

    async def stop(self, end_s: float) -> None:
        """Stop it for good: first its hook, then the signal, and SIGKILL at that time of `time.monotonic`."""
        self._stopping = True
        running = self.state.running
        if running is None:
            return
        if self._spec.pre_stop is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(end_s - time.monotonic(), 0.0)):
                    await self._pre_stop(self._spec.pre_stop, end_s)
        if await _stop(running, self._stop_signal, max(end_s - time.monotonic(), 0.0)):
            self._event("GraceExceeded", "had to be killed")
        await running.wait()

    async def execute(self, argv: tuple[str, ...], timeout_s: float) -> tuple[int, str]:
        """
        Run a command in it; return status and output.

        Raises:
            RehearsalError: It does not run, or the command does not end in time.
        """
        if self.state.running is None:
            raise RehearsalError(f"container {self.group} does not run")
        made = self._build()
        log = self._pod.directory / f"execute-{time.monotonic_ns()}.log"
        inside = Container(
            argv=argv,
            env=made.env,
            log=str(log),
            cwd=made.cwd,
            uid=made.uid,
            gid=made.gid,
            groups=made.groups,
            capabilities=made.capabilities,
            no_new_privileges=made.no_new_privileges,
            join=self.state.running.pid,
        )
        running = await self._around.starter.start(inside)
        try:
            async with asyncio.timeout(timeout_s):
                status = await running.wait()
        except TimeoutError:
            running.signal(signal.SIGKILL)
            raise RehearsalError(f"{argv[0]}: not within {timeout_s:g} s") from None
        output = log.read_text(errors="replace")
        log.unlink()
        return status, output

    # One start

    async def _once(self) -> int:
        """Start it, keep it until it ends, and return its status."""
        # What is to run once does not wait for others: they may wait for it.
        limited = self._main and self._pod.template.spec.restart_policy == "Always"
        if limited:
            await self._around.starting.acquire()
        settled = asyncio.Event()
        release = asyncio.create_task(self._release(settled, limited=limited))
        try:
            running = await self._start()
            if running is None:
                return _CANNOT_START
            status = await self._keep(running, settled)
        finally:
            settled.set()
            await asyncio.shield(release)
        self.state.running, self.state.ready, self.state.started = None, False, False
        self._ended(status)
        return status

    async def _release(self, settled: asyncio.Event, *, limited: bool) -> None:
        """Let the next container start when this one has, or has had its time."""
        if not limited:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(settled.wait(), _SLOT_S)
        self._around.starting.release()

    async def _start(self) -> Running | None:
        pod = self._pod
        try:
            container = await when_there(self._build, pod, self._around)
            self.state.running = await self._around.starter.start(container)
        except RehearsalError as error:
            pod.reason = f"container {self._spec.name} cannot be started: {error}"
            self._event("FailedToStart", str(error))
            self._around.changed(pod)
            return None
        pod.reason = ""
        self._event("Started", "")
        self._around.changed(pod)
        return self.state.running

    async def _keep(self, running: Running, settled: asyncio.Event) -> int:
        """Ask a running container how it is until it ends; return its status."""
        killing: set[asyncio.Task[bool]] = set()

        def started() -> None:
            self.state.started = True
            if self._spec.readiness is None:
                settled.set()

        def ready(is_ready: bool, reason: str) -> None:  # noqa: FBT001 - whether it is
            self.state.ready = is_ready
            if is_ready:
                settled.set()
            else:
                self._event("ProbeFailed", f"readiness: {reason}")
            self._readiness()

        def dead(probe: Probe, reason: str) -> None:
            self._dead = reason
            self._event("Unhealthy", reason)
            grace_s = self._pod.template.spec.grace_s if probe.grace_s is None else probe.grace_s
            killing.add(asyncio.create_task(_stop(running, self._stop_signal, float(grace_s))))

        prober = Prober(
            self._spec,
            self._pod.address,
            execute=self._probe,
            on_started=started,
            on_ready=ready,
            on_dead=dead,
        )
        asking = asyncio.create_task(prober.run())
        try:
            status = await running.wait()
        finally:
            asking.cancel()
            for task in killing:
                task.cancel()
        if self._main and not self._stopping:
            await asyncio.sleep(_NOTICE_S)
        return status

    async def _probe(self, argv: tuple[str, ...], timeout_s: float) -> str | None:
        try:
            status, output = await self.execute(argv, timeout_s)
        except RehearsalError as error:
            return str(error)
        return None if status == 0 else f"exit status {status}: {output[-200:].strip()}"

    async def _pre_stop(self, handler: Handler, end_s: float) -> None:
        if handler.kind == "sleep":
            await asyncio.sleep(handler.seconds)
        elif handler.kind == "exec":
            with contextlib.suppress(RehearsalError):
                await self.execute(handler.argv, end_s - time.monotonic())

    def _ended(self, status: int) -> None:
        told = f"signal {-status}" if status < 0 else f"exit status {status}"
        limit = self._spec.memory_limit_bytes
        peak = self._around.limits.peak_bytes(self.group) if status == _OUT_OF_MEMORY else None
        if peak is not None and limit and peak >= limit:
            told = f"OOMKilled: {told}"
        told, self._dead = f"{told}; {self._dead}" if self._dead else told, ""
        self._event("Exited", told)
        if status:
            self._pod.reason = f"container {self._spec.name}: {told}"
        self._readiness()

    def _readiness(self) -> None:
        pod = self._pod
        states = [pod.containers.get(spec.name) for spec in pod.template.spec.containers]
        ready = all(state is not None and state.ready for state in states)
        if ready != pod.ready:
            pod.ready = ready
            pod.ready_since_s = time.monotonic() if ready else None
            if ready:
                pod.reason = ""
            self._around.event("Ready" if ready else "Unready", f"pod/{pod.name}", "")
        self._around.changed(pod)

    # What it needs

    def _build(self) -> Container:
        group = None
        if self._spec.memory_limit_bytes:
            group = self._around.limits.group(self.group, self._spec.memory_limit_bytes)
        image = self._around.images.find(self._spec.image)
        return build(self._pod, self._spec, image, self._find, (group,) if group else ())

    def _find(self, kind: str, name: str) -> Data | None:
        return self._around.find(self._pod.namespace, kind, name)

    @property
    def _stop_signal(self) -> int:
        return self._around.images.find(self._spec.image).stop_signal

    def _event(self, kind: str, message: str) -> None:
        name = self._spec.name
        self._around.event(kind, f"pod/{self._pod.name}", f"{name}: {message}" if message else name)


async def _stop(running: Running, number: int, grace_s: float) -> bool:
    """Ask a process to stop, and kill it when the grace is over; return whether that was needed."""
    running.signal(number)
    try:
        await asyncio.wait_for(running.wait(), grace_s)
    except TimeoutError:
        running.signal(signal.SIGKILL)
        return True
    return False
