"""
The rehearsal as a scenario uses it: apply manifests, see what happens, break things.

`Cluster` is a thin client. The cluster itself is a process in namespaces of its own (`keeper`, `init`,
`engine`), so that it ends with whoever started it, and nothing is left on the machine.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import socket
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from deploy.rehearsal.errors import RehearsalError
from deploy.rehearsal.fields import Notes
from deploy.rehearsal.handles import Event, Host, HostSpec, Pod
from deploy.rehearsal.images import ROOT, Images
from deploy.rehearsal.read_objects import read_documents
from deploy.rehearsal.wire import LINE_BYTES, Caller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

__all__ = ["OUTSIDE", "Cluster"]

OUTSIDE: Final = HostSpec(name="outside", address="203.0.113.10")
"""The host that clients and fake providers are on."""

Document = dict[str, Any]


class Cluster:
    """
    A small Kubernetes on this machine, as an asynchronous context manager.

    Args:
        documents: The manifests, as `yaml.safe_load_all` gives them; applied on entering, without waiting.
        images: What stands for which image.
        nodes: How many hosts the pods spread over; their names are `node-1`, `node-2`, …
        outside: The host of clients and fake providers; its `names` are what DNS answers with its address.
        hosts: Further hosts outside the cluster, such as stores.
        work_dir: Where logs and volumes are; a new directory when it is None, which goes unless there is an
            error.
        propagation_s: How far what Services answer is behind what the pods are, as in a cluster.
        starts_at_once: How many containers may be starting at the same time, because 40 processes on two
            cores would all be too slow for their probes.
    """

    def __init__(
        self,
        documents: Sequence[Document],
        *,
        images: Images | None = None,
        nodes: int = 3,
        outside: HostSpec = OUTSIDE,
        hosts: Sequence[HostSpec] = (),
        work_dir: Path | None = None,
        propagation_s: float = 0.5,
        starts_at_once: int | None = None,
    ) -> None:
        self._documents = list(documents)
        self._images = images or Images.usual()
        self._specs = (outside, *hosts)
        self._starts_at_once = starts_at_once or max(2, os.cpu_count() or 2)
        self._propagation_s = propagation_s
        self._given_work_dir = work_dir
        self._pods: dict[str, Pod] = {}
        self._changed = asyncio.Event()
        self._caller: Caller | None = None
        self._keeper: asyncio.subprocess.Process | None = None
        self.nodes: tuple[str, ...] = tuple(f"node-{number}" for number in range(1, nodes + 1))
        self.events: list[Event] = []
        self.work_dir = Path()
        self.hosts: dict[str, Host] = {}

    async def __aenter__(self) -> Self:
        self.work_dir = self._given_work_dir or Path(tempfile.mkdtemp(prefix="rehearsal-"))
        self.work_dir.mkdir(parents=True, exist_ok=True)
        try:
            await self._start()
            await self.apply(self._documents)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_exc_info: object) -> None:
        with contextlib.suppress(RehearsalError, TimeoutError):
            await asyncio.wait_for(self._ask("stop"), 20)
        await self._stop()
        if self._given_work_dir is None and kind is None:
            shutil.rmtree(self.work_dir, ignore_errors=True)

    # What is asked of it as a whole

    async def apply(self, documents: Sequence[Document]) -> None:
        """
        Apply manifests as `kubectl apply` does: what changed is rolled out, what is not named stays.

        Raises:
            ManifestError: Something in them is not understood; nothing was applied then.
        """
        # Here as well, for the error's own type.
        read_documents(documents, Notes())
        await self._ask("apply", documents=list(documents))

    async def rolled_out(self, *names: str, timeout_s: float = 300.0) -> None:
        """
        Wait until all Deployments, StatefulSets and Jobs, or some by name, are as their manifests say.

        Raises:
            RehearsalError: One cannot get there, or not in this time; the message has the log of the failing
                pod.
        """
        await self._ask("rolled_out", names=list(names), timeout_s=timeout_s)

    async def restart(self, name: str) -> None:
        """
        Restart a Deployment or StatefulSet as `kubectl rollout restart` does; `rolled_out` waits for it.
        """
        await self._ask("restart", name=name)

    async def scale(self, name: str, replicas: int) -> None:
        """Set the number of replicas of a Deployment or StatefulSet."""
        await self._ask("scale", name=name, replicas=replicas)

    async def delete(self, kind: str, name: str) -> None:
        """Delete an object, with the pods that it owns."""
        await self._ask("delete", kind=kind, name=name)

    async def update_secret(self, name: str, data: Mapping[str, str | bytes]) -> None:
        """Give keys of a Secret new values; mounted files change as the kubelet changes them, all at once."""
        await self._update("Secret", name, data)

    async def update_config(self, name: str, data: Mapping[str, str | bytes]) -> None:
        """Give keys of a ConfigMap new values, likewise."""
        await self._update("ConfigMap", name, data)

    async def _update(self, kind: str, name: str, data: Mapping[str, str | bytes]) -> None:
        encoded = {
            key: base64.b64encode(value.encode() if isinstance(value, str) else value).decode()
            for key, value in data.items()
        }
        await self._ask("update", kind=kind, name=name, data=encoded)

    @asynccontextmanager
    async def cut(self, node: str) -> AsyncIterator[None]:
        """
        Cut a node from the other nodes and from all hosts, for as long as the block runs: packets vanish.
        """
        await self._ask("cut", node=node, cut=True)
        try:
            yield
        finally:
            await self._ask("cut", node=node, cut=False)

    async def scrape(self) -> dict[str, str]:
        """
        Fetch what the PodMonitors and ServiceMonitors of the manifests name, from where the Prometheus would
        be.

        Returns:
            The metrics as text, by `monitor/pod`.

        Raises:
            RehearsalError: A target does not answer, or a monitor has none.
        """
        return dict(await self._ask("scrape"))

    # What it is made of

    @property
    def outside(self) -> Host:
        """The host of clients and fake providers."""
        return self.hosts[self._specs[0].name]

    def host(self, name: str) -> Host:
        """Return a host outside the cluster."""
        return self.hosts[name]

    def pods(self, name: str | None = None) -> list[Pod]:
        """
        Return the pods of a workload or component, or all, without those that have ended; the oldest first.
        """
        return [
            pod for pod in self._pods.values() if not pod.gone and (name is None or self._is_of(pod, name))
        ]

    @staticmethod
    def _is_of(pod: Pod, name: str) -> bool:
        return name in (pod.workload, pod.labels.get("app.kubernetes.io/component"))

    async def address(self, service: str) -> str:
        """
        Return the virtual address of a Service, which hosts outside reach as well when it is a LoadBalancer.
        """
        return str(await self._ask("address", service=service))

    async def data(self, kind: str, name: str) -> dict[str, bytes]:
        """Return what a `Secret` or `ConfigMap` holds, such as a certificate that was issued."""
        found = await self._ask("data", kind=kind, name=name)
        return {key: base64.b64decode(value) for key, value in found.items()}

    async def renew(self, certificate: str) -> None:
        """Issue a Certificate again, with a new key, as cert-manager does in time; its Secret changes."""
        await self._ask("renew", name=certificate)

    async def resolve(self, name: str) -> list[str]:
        """Return what DNS answers a pod of the first namespace."""
        return list(await self._ask("resolve", name=name))

    async def rollouts(self) -> list[dict[str, Any]]:
        """Return how far each workload is: kind, name, wanted, updated, ready, and whether it is done."""
        return list(await self._ask("rollouts"))

    async def notes(self) -> list[str]:
        """Return what the manifests say that means nothing on one machine, with the reasons."""
        return list(await self._ask("notes"))

    def machine_pid(self, pod: Pod) -> int | None:
        """Return the number that the machine knows a pod's first process by, for `nsenter` and debuggers."""
        known = {number: pid for pid, numbers in _pids_below(self._keeper) for number in numbers[:1]}
        return next((known[number] for number in pod.pids if number in known), None)

    def log(self, pod: Pod) -> str:
        """Return all that a pod printed, also when it is gone."""
        return pod.log_path.read_text(errors="replace") if pod.log_path.exists() else ""

    async def until(self, holds: Callable[[], bool], *, timeout_s: float = 60.0, what: str = "") -> None:
        """
        Wait until something about pods or events holds; it is looked at after every change.

        Raises:
            RehearsalError: It does not in time.
        """
        end_s = time.monotonic() + timeout_s
        while not holds():
            self._changed.clear()
            left_s = end_s - time.monotonic()
            try:
                await asyncio.wait_for(self._changed.wait(), max(left_s, 0.001))
            except TimeoutError:
                raise RehearsalError(f"{what or 'what was waited for'}: not within {timeout_s:g} s") from None

    # The process behind it

    async def _start(self) -> None:
        from deploy.rehearsal.possible import reason_against

        if (reason := reason_against()) is not None:
            raise RehearsalError(reason)
        ours, theirs = socket.socketpair()
        with theirs:
            log = (self.work_dir / "engine.log").open("ab")
            with log:
                self._keeper = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "deploy.rehearsal.keeper", str(theirs.fileno()),
                    pass_fds=(theirs.fileno(),), cwd=ROOT, stdin=asyncio.subprocess.DEVNULL,
                    stdout=log, stderr=log,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "gen")))},
                )  # fmt: skip
        reader, writer = await asyncio.open_connection(sock=ours, limit=LINE_BYTES)
        self._caller = Caller(reader, writer, self._told)
        await self._ask(
            "begin",
            work_dir=str(self.work_dir.resolve()),
            nodes=list(self.nodes),
            hosts=[{name: getattr(spec, name) for name in HostSpec.__slots__} for spec in self._specs],
            images=self._images.encoded(),
            starts_at_once=self._starts_at_once,
            propagation_s=self._propagation_s,
        )
        self.hosts = {spec.name: Host(self._caller, spec.name, spec.address) for spec in self._specs}

    async def _stop(self) -> None:
        if self._caller is not None:
            await self._caller.close()
        if self._keeper is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._keeper.wait(), 10)
            if self._keeper.returncode is None:
                self._keeper.terminate()
                await self._keeper.wait()

    async def _ask(self, name: str, /, **arguments: Any) -> Any:
        if self._caller is None:
            raise RehearsalError("the rehearsal has not been started")
        try:
            return await self._caller.call(name, **arguments)
        except RehearsalError as error:
            if str(error) != "the rehearsal has ended":
                raise
            log = (self.work_dir / "engine.log").read_text(errors="replace")
            raise RehearsalError(f"{error}\n{log[-4000:]}") from None

    def _told(self, message: dict[str, Any]) -> None:
        if message["told"] == "event":
            self.events.append(Event(**message["event"]))
        elif message["told"] == "pod":
            self._take(message["pod"])
        self._changed.set()

    def _take(self, state: dict[str, Any]) -> None:
        pod = self._pods.get(state["uid"])
        if pod is None:
            assert self._caller is not None
            pod = self._pods[state["uid"]] = Pod(self._caller, state)
        pod.update(state)
        pod.gone = state["phase"] in ("Gone", "Succeeded", "Failed")


def _pids_below(keeper: asyncio.subprocess.Process | None) -> list[tuple[int, list[int]]]:
    """
    Return the processes of a rehearsal: the machine's number, and those in PID namespaces, the outermost
    first.
    """
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
            numbers = [int(part) for part in lines["NSpid"].split()]
            if keeper is not None and len(numbers) > 1 and _is_below(int(lines["Pid"]), keeper.pid):
                found.append((int(lines["Pid"]), numbers[1:]))
    return found


def _is_below(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return False
