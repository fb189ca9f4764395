"""What a scenario holds of the rehearsal: pods, hosts, and processes that it started in their networks."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from deploy.rehearsal.wire import Caller

__all__ = ["Event", "Host", "HostSpec", "Pod", "Process"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """
    Something that happened.

    Args:
        time_s: When, in seconds since the epoch.
        kind: One word, such as `Started`, `Ready`, `Unready`, `Killing`, `Exited`, `BackOff`, `Cut`.
        subject: What it happened to, such as `pod/edge-7d9f-x2`.
        message: The rest.
    """

    time_s: float
    kind: str
    subject: str
    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class HostSpec:
    """
    A host that is not part of the cluster, such as a store that production brings by itself.

    Args:
        name: Its name here.
        address: Its address; of any network that the pods' policies are to see.
        names: Names that DNS answers with the address.
        image: A reference that `Images` knows, started at once; "" for a host that runs nothing by itself.
        args: Arguments of the image.
        env: Environment of the image.
    """

    name: str
    address: str
    names: tuple[str, ...] = ()
    image: str = ""
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()


class Process:
    """
    A process in the network of a pod or a host, which runs as root and sees the machine's files.

    Its output goes to a file.
    """

    def __init__(self, caller: Caller, pid: int, log: Path) -> None:
        self._caller = caller
        self.pid = pid
        self.log = log

    async def wait(self) -> int:
        """Return its exit status once it has ended; negative for a signal."""
        return int(await self._caller.call("process_wait", pid=self.pid))

    async def send_signal(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal; nothing happens when it has ended."""
        await self._caller.call("process_signal", pid=self.pid, number=int(number))

    def output(self) -> str:
        """Return what it has printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    async def lines(self) -> AsyncIterator[str]:
        """Yield its lines as it prints them, until it ends."""
        waiting = asyncio.create_task(self.wait())
        try:
            seen = 0
            while True:
                ended = waiting.done()
                text = self.output()
                *whole, rest = text[seen:].split("\n")
                for line in whole:
                    yield line
                seen = len(text) - len(rest)
                if ended:
                    if rest:
                        yield rest
                    return
                await asyncio.wait([waiting], timeout=0.05)
        finally:
            waiting.cancel()


class Host:
    """A host outside the cluster."""

    def __init__(self, caller: Caller, name: str, address: str) -> None:
        self._caller = caller
        self.name = name
        self.address = address

    async def run(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Process:
        """Start a process in its network; `env` goes over the engine's own environment."""
        return await _run(self._caller, f"host/{self.name}", argv, env, cwd)

    async def kill(self) -> None:
        """Kill its image's process; it stays down until `start`."""
        await self._caller.call("host_kill", name=self.name)

    async def stop(self) -> None:
        """Ask its image's process to stop, and wait until it has."""
        await self._caller.call("host_stop", name=self.name)

    async def start(self) -> None:
        """Start its image's process on the data that it had."""
        await self._caller.call("host_start", name=self.name)

    async def restart(self) -> None:
        """Stop it in order, and start it."""
        await self.stop()
        await self.start()

    async def freeze(self) -> None:
        """Let its processes answer nobody, with their connections open."""
        await self._caller.call("host_freeze", name=self.name, frozen=True)

    async def thaw(self) -> None:
        """Let them go on."""
        await self._caller.call("host_freeze", name=self.name, frozen=False)


class Pod:
    """
    A pod; what it says of itself follows what happens to the pod.

    Its attributes keep their last values when the pod is gone: `gone` says so.
    """

    def __init__(self, caller: Caller, state: dict[str, Any]) -> None:
        self._caller = caller
        self._state = state
        self.gone = False

    def __repr__(self) -> str:
        return f"Pod({self.name}, {self.phase}{', ready' if self.ready else ''}, restarts={self.restarts})"

    def update(self, state: dict[str, Any]) -> None:
        """Take over what the engine tells."""
        self._state = state

    @property
    def name(self) -> str:
        """Its name, such as `edge-5d8c9-k2`."""
        return str(self._state["name"])

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self._state["namespace"])

    @property
    def workload(self) -> str:
        """The name of its Deployment, StatefulSet or Job."""
        return str(self._state["workload"])

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return dict(self._state["labels"])

    @property
    def node(self) -> str:
        """The node that it runs on."""
        return str(self._state["node"])

    @property
    def address(self) -> str:
        """Its address."""
        return str(self._state["address"])

    @property
    def phase(self) -> str:
        """`Pending`, `Running`, `Succeeded`, `Failed` or `Terminating`."""
        return str(self._state["phase"])

    @property
    def ready(self) -> bool:
        """Whether its readiness probe has passed."""
        return bool(self._state["ready"])

    @property
    def restarts(self) -> int:
        """How often its containers were started again."""
        return int(self._state["restarts"])

    @property
    def template(self) -> str:
        """The hash of the pod template that it was made from."""
        return str(self._state["template"])

    @property
    def reason(self) -> str:
        """Why it waits or failed, such as `CrashLoopBackOff: exit status 2`; "" when all is well."""
        return str(self._state["reason"])

    @property
    def log_path(self) -> Path:
        """The file with all that its containers printed."""
        return Path(self._state["log"])

    @property
    def pids(self) -> tuple[int, ...]:
        """The first processes of its containers, as the rehearsal numbers them."""
        return tuple(self._state["pids"])

    async def kill(self) -> None:
        """Kill its containers with SIGKILL; the kubelet starts them again in place."""
        await self._caller.call("pod_kill", name=self.name)

    async def send_signal(self, number: int) -> None:
        """Send the first process of its containers a signal, such as SIGHUP, SIGSTOP or SIGCONT."""
        await self._caller.call("pod_signal", name=self.name, number=int(number))

    async def delete(self, *, grace_s: float | None = None) -> None:
        """
        Delete it as `kubectl delete pod` does, and wait until it is gone.

        Args:
            grace_s: How long it may take to stop, instead of what its manifest says; 0 kills it.
        """
        await self._caller.call("pod_delete", name=self.name, grace_s=grace_s)

    async def run(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Process:
        """Start a process in its network, under its policies; it sees the machine's files, not the pod's."""
        return await _run(self._caller, f"pod/{self.name}", argv, env, cwd)

    async def execute(self, argv: Sequence[str]) -> tuple[int, str]:
        """Run a command in its first container, as `kubectl exec` does; return exit status and output."""
        status, output = await self._caller.call("pod_execute", name=self.name, argv=list(argv))
        return int(status), str(output)

    async def memory_peak_bytes(self) -> int | None:
        """Return the most memory that its containers have used, or None where that is not counted."""
        peak = await self._caller.call("pod_memory", name=self.name)
        return None if peak is None else int(peak)


async def _run(
    caller: Caller, where: str, argv: Sequence[str], env: Mapping[str, str] | None, cwd: Path | None
) -> Process:
    answer = await caller.call(
        "run", where=where, argv=[str(part) for part in argv], env=dict(env or {}), cwd=str(cwd or Path.cwd())
    )
    return Process(caller, int(answer["pid"]), Path(answer["log"]))
