"""
The cluster itself: one process, in the namespaces that `keeper` and `init` made for it.

It puts the parts together: the store of objects, controllers, kubelets, views, network. `calls` is what
scenarios ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from deploy.rehearsal import control_groups
from deploy.rehearsal.calls import Calls
from deploy.rehearsal.controllers import Controllers
from deploy.rehearsal.dns import DnsServer
from deploy.rehearsal.errors import RehearsalError
from deploy.rehearsal.hosts import OutsideHost, Processes
from deploy.rehearsal.images import Images
from deploy.rehearsal.names import search_path
from deploy.rehearsal.network import Network
from deploy.rehearsal.objects import Namespace, Policy, Service
from deploy.rehearsal.policies import Endpoint
from deploy.rehearsal.starter import Starter
from deploy.rehearsal.store import ObjectStore
from deploy.rehearsal.surroundings import Surroundings
from deploy.rehearsal.views import OUTSIDE, Views
from deploy.rehearsal.wire import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deploy.rehearsal.objects import Workload
    from deploy.rehearsal.pods import PodRecord

__all__ = ["Engine"]

_PRIORITY: Final = -10
_STOP_GRACE_S: Final = 5.0  # the end of a rehearsal is not one of its subjects


class Engine:
    """
    The cluster, made in the namespaces of the calling process.

    Args:
        starter: The socket to `init`.
        tell: Tells the scenario something.
        work_dir: Where everything is kept.
        nodes: Names of nodes.
        hosts: Hosts outside, as `HostSpec`s in JSON.
        images: What stands for images.
        starts_at_once: How many containers may be starting.
        propagation_s: How far Services are behind pods.
    """

    def __init__(
        self,
        starter: socket.socket,
        tell: Callable[[dict[str, Any]], None],
        *,
        work_dir: str,
        nodes: Sequence[str],
        hosts: Sequence[dict[str, Any]],
        images: Sequence[Sequence[Any]],
        starts_at_once: int,
        propagation_s: float,
    ) -> None:
        directory = Path(work_dir)
        self._tell = tell
        self._tasks: list[asyncio.Task[None]] = []
        self._dirty = asyncio.Event()
        self.propagation_s = propagation_s
        self.store = ObjectStore()
        self.images = Images.decoded(images)
        self.limits = control_groups.Limits(os.environ[control_groups.VARIABLE])
        self.starter = Starter(starter, directory / "starting")
        self.processes = Processes(self.starter, directory / "processes")
        self.network = Network(nodes, [host["address"] for host in hosts])
        prometheus = self.network.attach_pod(nodes[0])
        self.prometheus = prometheus.network
        self.views = Views(self.network, _system_pods(self.network, prometheus.address))
        self.hosts = {host["name"]: OutsideHost(host, self.network, directory / "hosts") for host in hosts}
        around = Surroundings(
            starter=self.starter,
            network=self.network,
            images=self.images,
            limits=self.limits,
            find=self.store.data,
            files=_lay_out_etc,
            starting=asyncio.Semaphore(starts_at_once),
            event=self.event,
            changed=self.changed,
        )
        self.controllers = Controllers(around, directory, self._usable)

    async def begin(self) -> None:
        """Start DNS, hosts, and controllers."""
        self._tasks += [asyncio.create_task(each) for each in (self.starter.run(), self._follow())]
        for node in self.network.nodes.values():
            await DnsServer(functools.partial(self.views.zone, node.name)).start(node.dns)
        for resolver in self.network.resolvers:
            await DnsServer(functools.partial(self.views.zone, OUTSIDE)).start(resolver)
        for host in self.hosts.values():
            await host.start(self.images, self.starter)
        self.views.know_hosts(self.hosts.values())
        self._publish()
        self._controlling = asyncio.create_task(self.controllers.run())

    async def stop(self) -> None:
        """Stop all pods, so that their last words are in their logs; the rest is killed with the engine."""
        self._controlling.cancel()
        tasks = [self.controllers.delete(name, _STOP_GRACE_S) for name in list(self.controllers.pods)]
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_GRACE_S + 2)

    # Objects

    def apply(self, documents: list[dict[str, Any]]) -> None:
        """
        Apply manifests.

        Raises:
            RehearsalError: Something in them is not understood; nothing was applied then.
        """
        workloads = self.store.apply(documents, self._check)
        for workload in workloads:
            self.controllers.apply(workload, self.store.autoscaler(workload))
        self.take_over()
        self.refresh()

    def _check(self, workload: Workload) -> None:
        self.controllers.check(workload)
        for container in (*workload.template.spec.containers, *workload.template.spec.init_containers):
            self.images.find(container.image)

    def take_over(self) -> None:
        """Have Services and policies be as they were applied."""
        views, store = self.views, self.store
        views.services = {(each.namespace, each.name): each for each in store.all_of(Service)}
        views.policies = {(each.namespace, each.name): each for each in store.all_of(Policy)}
        views.namespaces = {each.name: each for each in store.all_of(Namespace)}
        self._publish()

    def refresh(self) -> None:
        """Bring the mounted files of all pods up to date."""
        for kubelet in self.controllers.kubelets:
            kubelet.refresh()

    # What follows changes

    def _usable(self) -> list[str]:
        return [name for name in self.network.nodes if not self.network.is_cut(name)]

    def event(self, kind: str, subject: str, message: str) -> None:
        """Tell what happened."""
        self._tell(
            {
                "told": "event",
                "event": {"time_s": time.time(), "kind": kind, "subject": subject, "message": message},
            }
        )

    def changed(self, pod: PodRecord | None) -> None:
        """Follow a change of a pod, or of a node."""
        if pod is not None:
            self._tell({"told": "pod", "pod": pod.described()})
        self.controllers.wake()
        self._dirty.set()

    async def _follow(self) -> None:
        """Bring filters up to date at once, and Services a little later."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            self._filter()
            snapshot = self.views.snapshot(self.controllers.pods.values())
            asyncio.get_running_loop().call_later(self.propagation_s, self._publish_these, snapshot)
            await asyncio.sleep(0.02)

    def _publish(self) -> None:
        self._publish_these(self.views.snapshot(self.controllers.pods.values()))

    def _publish_these(self, pods: Any) -> None:
        self.views.publish(pods)
        self._filter()

    def _filter(self) -> None:
        self.views.filter(self.controllers.pods.values(), self.hosts.values())


def _lay_out_etc(pod: PodRecord) -> None:
    """Write a pod's `/etc/hosts` and `/etc/resolv.conf`."""
    assert pod.node is not None
    directory = pod.directory / "etc"
    lines = ["127.0.0.1 localhost", f"{pod.address} {pod.hostname or pod.name}"]
    lines += [f"{address} {' '.join(names)}" for address, names in pod.template.spec.host_aliases]
    (directory / "hosts").write_text("\n".join([*lines, ""]))
    search = " ".join(search_path(pod.namespace))
    options = " ".join(("ndots:5", *pod.template.spec.dns_options))
    (directory / "resolv.conf").write_text(f"search {search}\nnameserver {pod.node.dns}\noptions {options}\n")


def _system_pods(network: Network, prometheus: str) -> list[Endpoint]:
    """Return the pods that policies may name and no manifest makes: DNS on each node, and Prometheus."""
    ports = (("dns", "UDP", 53), ("dns-tcp", "TCP", 53))
    named = {"k8s-app": "kube-dns"}
    dns = [
        Endpoint(
            name=f"dns-{node.name}", namespace="kube-system", labels=named, address=node.dns, ports=ports
        )
        for node in network.nodes.values()
    ]
    labels = {"app.kubernetes.io/name": "prometheus"}
    return [*dns, Endpoint(name="prometheus", namespace="monitoring", labels=labels, address=prometheus)]


class _Session:
    """What the other side says, from its first word on."""

    def __init__(self, starter: socket.socket) -> None:
        self._starter = starter
        self._tell: Callable[[dict[str, Any]], None] = lambda _message: None
        self._engine: Engine | None = None
        self._calls: Calls | None = None

    def connected(self, tell: Callable[[dict[str, Any]], None]) -> None:
        """Take the function that tells the scenario something."""
        self._tell = tell

    async def answer(self, name: str, arguments: dict[str, Any]) -> Any:
        """Answer a call."""
        if name == "begin":
            self._engine = Engine(self._starter, self._tell, **arguments)
            self._calls = Calls(self._engine)
            return await self._engine.begin()
        method = getattr(self._calls, f"call_{name}", None)
        if self._engine is None or method is None:
            raise RehearsalError(f"there is no call {name} now")
        return await method(**arguments)


def main() -> None:
    """Run the engine until whoever drives it is gone."""
    control, starter = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    for each in (control, starter):
        each.setblocking(False)  # noqa: FBT003 - the name says what
        each.set_inheritable(False)

    async def run() -> None:
        session = _Session(starter)
        await serve(control, session.answer, session.connected)

    # It stands for the kubelets and the DNS of a whole cluster: starved on a busy machine, it would look to
    # pods as if DNS were away. Containers are started by `init`, and do not inherit this.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
    asyncio.run(run())


if __name__ == "__main__":
    main()
    os._exit(0)  # whatever still runs goes with the first process
