"""
The machine's network as it would be in a data centre: nodes, hosts, pods, and a router between them.

Each node is a bridge with the node's address, each network of hosts likewise, and the namespace that all
bridges are in is the router. It has no way to the machine's own network, so nothing of a rehearsal gets out.
"""

from __future__ import annotations

import ipaddress
import itertools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from deploy.rehearsal import links
from deploy.rehearsal.errors import RehearsalError
from deploy.rehearsal.filters import Filter, NodeFilter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Attachment", "Network", "Node"]

_NODE_BITS: Final = 20
_HOST_BITS: Final = 24
_FIRST_POD: Final = 10  # the node and its DNS server come before


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """
    A node.

    Args:
        name: Its name.
        bridge: Its bridge.
        address: Its address, which the kubelet asks probes from.
        dns: The address of the DNS server that its pods ask.
    """

    name: str
    bridge: str
    address: str
    dns: str


class Attachment:
    """
    What a pod or host has of the network.

    Args:
        address: Its address.
        network: A descriptor of its network namespace.
        link: The router's end of its cable.
    """

    def __init__(self, address: str, network: int, link: str) -> None:
        self.address = address
        self.network = network
        self.link = link
        self.filter = Filter(network)

    @property
    def path(self) -> str:
        """A file that stands for the network namespace, for other processes."""
        return f"/proc/{os.getpid()}/fd/{self.network}"

    def close(self) -> None:
        """Let go of it: it is gone when no process is in it any more."""
        self.filter.close()
        os.close(self.network)


class Network:
    """
    All of it, made in the network namespace of the calling thread.

    Args:
        nodes: Names of nodes.
        hosts: Addresses of hosts outside.
    """

    def __init__(self, nodes: Sequence[str], hosts: Sequence[str]) -> None:
        self._wires = links.Wires()
        self._numbers = itertools.count()
        self._wires.up("lo")
        links.set_parameter("ipv4/ip_forward", "1")
        self.nodes = {name: self._node(number, name) for number, name in enumerate(nodes)}
        self._in_use: dict[str, set[str]] = {name: set() for name in nodes}
        self._addresses = {node.name: self._cycle(node) for node in self.nodes.values()}
        self._host_bridges = self._make_host_bridges(hosts)
        self._node_filter = NodeFilter()
        self._cut: set[str] = set()

    def _node(self, number: int, name: str) -> Node:
        first = ipaddress.ip_address("10.42.0.0") + (number << (32 - _NODE_BITS))
        node = Node(name=name, bridge=f"node{number + 1}", address=str(first + 1), dns=str(first + 2))
        self._wires.bridge(node.bridge)
        self._wires.address(node.bridge, node.address, _NODE_BITS)
        self._wires.address(node.bridge, node.dns, _NODE_BITS)
        return node

    def _make_host_bridges(self, hosts: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Make a bridge for each network of hosts; return bridge and router's address by network."""
        found: dict[str, tuple[str, str]] = {}
        for address in hosts:
            network = ipaddress.ip_network(f"{address}/{_HOST_BITS}", strict=False)
            if str(network) not in found:
                bridge, router = f"hosts{len(found) + 1}", str(network.broadcast_address - 1)
                self._wires.bridge(bridge)
                self._wires.address(bridge, router, _HOST_BITS)
                found[str(network)] = (bridge, router)
        return found

    @property
    def resolvers(self) -> list[str]:
        """The addresses of the DNS servers that hosts ask."""
        return [router for _, router in self._host_bridges.values()]

    def resolver(self, address: str) -> str:
        """Return the address of the DNS server that a host asks."""
        return self._host_bridges[str(ipaddress.ip_network(f"{address}/{_HOST_BITS}", strict=False))][1]

    def _cycle(self, node: Node) -> Iterator[str]:
        network = ipaddress.ip_network(f"{node.address}/{_NODE_BITS}", strict=False)
        for number in itertools.cycle(range(_FIRST_POD, network.num_addresses - 1)):
            yield str(network.network_address + number)

    def attach_pod(self, node: str) -> Attachment:
        """Plug a new pod into a node; its address is not that of one that has just gone."""
        place = self.nodes[node]
        used = self._in_use[node]
        address = next(address for address in self._addresses[node] if address not in used)
        attachment = self._attach(address, place.bridge, place.address, _NODE_BITS)
        used.add(address)
        return attachment

    def detach_pod(self, node: str, attachment: Attachment) -> None:
        """Unplug a pod that has ended."""
        self._in_use[node].discard(attachment.address)
        self._wires.remove(attachment.link)
        attachment.close()

    def attach_host(self, address: str) -> Attachment:
        """Plug in a host."""
        network = ipaddress.ip_network(f"{address}/{_HOST_BITS}", strict=False)
        bridge, router = self._host_bridges[str(network)]
        return self._attach(address, bridge, router, _HOST_BITS)

    def _attach(self, address: str, bridge: str, router: str, bits: int) -> Attachment:
        link = f"cable{next(self._numbers)}"
        network = links.new_network()
        self._wires.pair(link, bridge, network)

        def inside() -> None:
            with links.wires() as wires:
                wires.up("lo")
                wires.address("eth0", address, bits)
                wires.up("eth0")
                wires.default_route(router)
            # As container runtimes do: any user may listen on any port of a pod.
            links.set_parameter("ipv4/ip_unprivileged_port_start", "0")

        links.in_network(network, inside)
        return Attachment(address, network, link)

    def cut(self, node: str, *, cut: bool) -> None:
        """Cut a node off from everything else, or connect it again."""
        if node not in self.nodes:
            raise RehearsalError(f"there is no node {node}; there are {', '.join(self.nodes)}")
        (self._cut.add if cut else self._cut.discard)(node)
        self._node_filter.cut([self.nodes[name].bridge for name in sorted(self._cut)])

    def is_cut(self, node: str) -> bool:
        """Return whether a node is cut off."""
        return node in self._cut
