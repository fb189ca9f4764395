"""
The packet filter of each pod: its policies, and the addresses of Services; and the one that cuts nodes off.

A pod's rules are in its own network namespace, which it has no right to change. `rules` makes them, pure;
`Filter` tells the kernel, in one step, and only when they changed.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from deploy.rehearsal import links
from deploy.rehearsal import nftables as nft
from deploy.rehearsal.netlink import NETFILTER, Netlink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.rehearsal.policies import Allow

__all__ = ["Filter", "NodeFilter", "Virtual", "Wanted", "rules"]

_INPUT: Final = nft.Chain(name="input", kind="filter", hook=1, priority=0)
_FORWARD: Final = nft.Chain(name="forward", kind="filter", hook=2, priority=0)
_OUTPUT: Final = nft.Chain(name="output", kind="filter", hook=3, priority=0)
# Before `output`, so that policies see the pod that a call goes to, as they do in a cluster.
_SERVICES: Final = nft.Chain(name="services", kind="nat", hook=3, priority=-100)

VIRTUAL_NETWORKS: Final = ("10.96.0.0/16", "192.0.2.0/24")
"""Where addresses of Services are from: inside the cluster, and of load balancers."""

Rules = dict[str, list[nft.Rule]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Virtual:
    """
    An address and port that stands for pods.

    Args:
        address: The address.
        port: The port.
        protocol: `TCP` or `UDP`.
        targets: Addresses and ports of the pods, in order.
    """

    address: str
    port: int
    protocol: str
    targets: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """
    What the rules of a pod or host are made of.

    Args:
        node: The address of the node that it runs on, which may always call it and be called; None for hosts.
        ingress: What may come in; None for everything.
        egress: What may go out.
        virtual: Addresses of Services.
    """

    node: str | None = None
    ingress: tuple[Allow, ...] | None = None
    egress: tuple[Allow, ...] | None = None
    virtual: tuple[Virtual, ...] = ()


def rules(wanted: Wanted) -> Rules:
    """Return the rules of each chain."""
    node = wanted.node
    services = [rule for each in wanted.virtual for rule in _spread(each)]
    nobody = [(*nft.destination(network), *nft.refuse()) for network in VIRTUAL_NETWORKS]
    always = [nft.established()] if node is None else [nft.established(), nft.source(f"{node}/32")]
    out = [nft.established()] if node is None else [nft.established(), nft.destination(f"{node}/32")]
    return {
        "services": services,
        "input": _direction(wanted.ingress, [nft.comes_in("lo"), *always], inwards=True),
        "output": [*nobody, *_direction(wanted.egress, [nft.goes_out("lo"), *out], inwards=False)],
    }


def _direction(allows: Sequence[Allow] | None, always: list[nft.Rule], *, inwards: bool) -> list[nft.Rule]:
    if allows is None:
        return []
    passed = [*always, *(_match(allow, inwards=inwards) for allow in allows)]
    return [*((*match, *nft.verdict(nft.ACCEPT)) for match in passed), nft.verdict(nft.DROP)]


@functools.lru_cache(maxsize=16384)
def _match(allow: Allow, *, inwards: bool) -> nft.Rule:
    address = nft.source if inwards else nft.destination
    match: nft.Rule = address(allow.network)
    for network in allow.excluded:
        match = (*match, *address(network, negate=True))
    if allow.protocol:
        match = (*match, *nft.protocol(allow.protocol))
    if allow.first is not None:
        match = (*match, *nft.port(allow.first, allow.last))
    return match


@functools.lru_cache(maxsize=4096)
def _spread(virtual: Virtual) -> tuple[nft.Rule, ...]:
    """Return one rule for each target: of n that are left, the first gets one connection in n."""
    match = (
        *nft.destination(f"{virtual.address}/32"), *nft.protocol(virtual.protocol), *nft.port(virtual.port),
    )  # fmt: skip
    left = len(virtual.targets)
    made = []
    for number, (address, port) in enumerate(virtual.targets):
        chance = nft.every(left - number) if left - number > 1 else ()
        made.append((*match, *chance, *nft.dnat(address, port)))
    return tuple(made)


class Filter:
    """
    The rules of one network namespace.

    Args:
        network: Its descriptor.
    """

    def __init__(self, network: int) -> None:
        self._netlink = links.open_netfilter(network)
        self._wanted: Wanted | None = None
        nft.install(self._netlink, [_INPUT, _OUTPUT, _SERVICES])

    def set(self, wanted: Wanted) -> None:
        """Have these rules from now on; connections that are there go on."""
        if wanted != self._wanted:
            nft.replace(self._netlink, rules(wanted))
            self._wanted = wanted

    def close(self) -> None:
        """Close the socket; the rules go with the namespace."""
        self._netlink.close()


class NodeFilter:
    """Cuts nodes off, in the network namespace that they are all in."""

    def __init__(self) -> None:
        self._netlink = Netlink(NETFILTER)
        nft.install(self._netlink, [_FORWARD])

    def cut(self, bridges: Sequence[str]) -> None:
        """
        Let nothing pass between these bridges and others, nor between them; what stays on one bridge does.
        """
        drop = nft.verdict(nft.DROP)
        wanted: list[nft.Rule] = []
        for bridge in bridges:
            wanted.append((*nft.comes_in(bridge), *nft.goes_out(bridge, negate=True), *drop))
            wanted.append((*nft.goes_out(bridge), *nft.comes_in(bridge, negate=True), *drop))
        nft.replace(self._netlink, {"forward": wanted})
