"""
What each node knows of Services and pods: names, virtual addresses, and the packet filter of its pods.

What Services answer follows what pods are a little later, as in a cluster. A node that is cut off keeps what
it knew, and others keep what they knew of its pods, until it is back, or is given up.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from deploy.rehearsal.filters import Virtual, Wanted
from deploy.rehearsal.names import PodAddress, Zone, backends, make_zone
from deploy.rehearsal.policies import Endpoint, allowed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from deploy.rehearsal.hosts import OutsideHost
    from deploy.rehearsal.network import Network
    from deploy.rehearsal.objects import Namespace, Policy, Service
    from deploy.rehearsal.pods import PodRecord

__all__ = ["GIVEN_UP_S", "OUTSIDE", "Views"]

OUTSIDE: Final = ""
"""What hosts outside know; named as no node is."""

GIVEN_UP_S: Final = 50.0
"""How long a node may be silent before its pods count as not ready, as Kubernetes has it."""

_NOBODY: Final = Zone(addresses={})


class Views:
    """
    All of it.

    Args:
        network: The network.
        system: Pods that are part of the cluster itself, as policies see them: DNS, Prometheus.
    """

    def __init__(self, network: Network, system: Sequence[Endpoint]) -> None:
        self._network = network
        self._system = list(system)
        self._zones: dict[str, Zone] = {}
        self._virtual_of: dict[str, tuple[Virtual, ...]] = {}
        self.door: tuple[Virtual, ...] = ()
        self._addresses: dict[tuple[str, str], str] = {}
        self._doors: dict[tuple[str, str], str] = {}
        self._cut_since_s: dict[str, float] = {}
        self._external: dict[str, str] = {}
        self.services: dict[tuple[str, str], Service] = {}
        self.policies: dict[tuple[str, str], Policy] = {}
        self.namespaces: dict[str, Namespace] = {}

    def zone(self, node: str) -> Zone:
        """Return what DNS answers on a node."""
        return self._zones.get(node, _NOBODY)

    def know_hosts(self, hosts: Iterable[OutsideHost]) -> None:
        """Have DNS know hosts outside."""
        for host in hosts:
            for name in (host.name, *host.names):
                self._external[name] = host.attachment.address

    def address(self, namespace: str, name: str) -> str:
        """Return a Service's address: of its load balancer, or in the cluster; "" when it has none."""
        key = (namespace, name)
        return self._doors.get(key) or self._addresses.get(key, "")

    def cut(self, node: str, *, cut: bool) -> None:
        """Remember since when a node is cut off."""
        if cut:
            self._cut_since_s.setdefault(node, time.monotonic())
        else:
            self._cut_since_s.pop(node, None)

    def snapshot(self, pods: Iterable[PodRecord]) -> list[PodAddress]:
        """Return the pods as the cluster sees them now."""
        found = []
        for pod in pods:
            if pod.node is None or pod.attachment is None or pod.phase not in ("Pending", "Running"):
                continue
            since_s = self._cut_since_s.get(pod.node.name)
            if since_s is None:
                pod.seen_ready = pod.ready
            elif time.monotonic() - since_s > GIVEN_UP_S:
                pod.seen_ready = False
            found.append(
                PodAddress(
                    name=pod.hostname or pod.name,
                    namespace=pod.namespace,
                    labels=pod.labels,
                    address=pod.address,
                    ready=pod.seen_ready,
                    deleting=pod.deleting,
                    ports=pod.ports,
                    subdomain=pod.subdomain,
                )
            )  # fmt: skip
        return found

    def publish(self, pods: Sequence[PodAddress]) -> None:
        """Have all nodes that can hear it know these pods from now on."""
        for number, (key, service) in enumerate(sorted(self.services.items()), start=2):
            if service.headless or service.type == "ExternalName" or key in self._addresses:
                continue
            self._addresses[key] = f"10.96.{number // 250}.{number % 250}"
            if service.type == "LoadBalancer":
                self._doors[key] = f"192.0.2.{len(self._doors) + 1}"
        zone = make_zone(list(self.services.values()), pods, self._addresses, self._external)
        door = self._virtual(pods, self._doors)
        virtual = self._virtual(pods, self._addresses) + door
        self.door = door
        for node in (OUTSIDE, *self._network.nodes):
            if node not in self._cut_since_s:
                self._zones[node], self._virtual_of[node] = zone, virtual

    def _virtual(
        self, pods: Sequence[PodAddress], addresses: Mapping[tuple[str, str], str]
    ) -> tuple[Virtual, ...]:
        made = []
        for key, address in sorted(addresses.items()):
            service = self.services.get(key)
            if service is None:
                continue
            for port in service.ports:
                behind = [(pod, _port(pod, port.target, port.protocol)) for pod in backends(service, pods)]
                targets = tuple(sorted((pod.address, number) for pod, number in behind if number))
                made.append(Virtual(address=address, port=port.port, protocol=port.protocol, targets=targets))
        return tuple(made)

    def filter(self, pods: Iterable[PodRecord], hosts: Iterable[OutsideHost]) -> None:
        """Bring the packet filters of all pods and hosts up to date."""
        attached = [pod for pod in pods if pod.attachment is not None and pod.node is not None]
        endpoints = {
            pod.uid: Endpoint(
                name=pod.name,
                namespace=pod.namespace,
                labels=pod.labels,
                address=pod.address,
                ports=pod.ports,
            )
            for pod in attached
        }
        everyone = [*endpoints.values(), *self._system]
        labels = {name: dict(namespace.labels) for name, namespace in self.namespaces.items()}
        labels |= {
            name: {"kubernetes.io/metadata.name": name}
            for name in {each.namespace for each in everyone} - set(labels)
        }
        policies = list(self.policies.values())
        for pod in attached:
            assert pod.attachment is not None
            assert pod.node is not None
            ingress, egress = allowed(endpoints[pod.uid], policies, everyone, labels)
            virtual = self._virtual_of.get(pod.node.name, ())
            pod.attachment.filter.set(
                Wanted(node=pod.node.address, ingress=ingress, egress=egress, virtual=virtual)
            )
        for host in hosts:
            host.attachment.filter.set(Wanted(virtual=self.door))


def _port(pod: PodAddress, target: int | str, protocol: str) -> int | None:
    if isinstance(target, int):
        return target
    return next((number for name, of, number in pod.ports if (name, of) == (target, protocol)), None)
