"""
What NetworkPolicies allow each pod, as rules about addresses; pure.

A pod that no policy selects for a direction may do anything in that direction. One that is selected may do
what any of its policies allows. Selectors are turned into the addresses of the pods that they select now, so
rules are made again whenever pods come or go.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.rehearsal.selectors import selects

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from deploy.rehearsal.objects import Peer, Policy, PolicyPort, PolicyRule

__all__ = ["Allow", "Endpoint", "allowed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """
    A pod as policies see it.

    Args:
        name: Its name, unique.
        namespace: Its namespace.
        labels: Its labels.
        address: Its address.
        ports: Its named ports, as name, protocol and number.
    """

    name: str
    namespace: str
    labels: Mapping[str, str]
    address: str
    ports: tuple[tuple[str, str, int], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Allow:
    """
    What may pass.

    Args:
        network: The other side's addresses, such as `10.42.0.7/32`.
        excluded: Networks within, which may not.
        protocol: `TCP` or `UDP`; "" for all.
        first: The first port of whoever is called; None for all.
        last: The last one.
    """

    network: str
    excluded: tuple[str, ...] = ()
    protocol: str = ""
    first: int | None = None
    last: int | None = None


def allowed(
    pod: Endpoint,
    policies: Sequence[Policy],
    pods: Sequence[Endpoint],
    namespaces: Mapping[str, Mapping[str, str]],
) -> tuple[tuple[Allow, ...] | None, tuple[Allow, ...] | None]:
    """
    Return what may come in to a pod and go out of it; None for a direction that nothing restricts.

    Args:
        pod: The pod.
        policies: All policies.
        pods: All pods.
        namespaces: Labels of namespaces.
    """
    own = [policy for policy in policies if policy.namespace == pod.namespace]
    own = [policy for policy in own if selects(policy.selector, pod.labels)]
    ingress = [policy.ingress for policy in own if policy.ingress is not None]
    egress = [policy.egress for policy in own if policy.egress is not None]

    def collected(directions: list[tuple[PolicyRule, ...]], *, inwards: bool) -> tuple[Allow, ...] | None:
        if not directions:
            return None
        rules = [rule for rules in directions for rule in rules]
        found = {allow for rule in rules for allow in _of_rule(rule, pod, pods, namespaces, inwards=inwards)}
        return tuple(sorted(found, key=_order))

    return collected(ingress, inwards=True), collected(egress, inwards=False)


def _order(allow: Allow) -> tuple[str, str, int, tuple[str, ...]]:
    return allow.network, allow.protocol, allow.first or 0, allow.excluded


def _of_rule(
    rule: PolicyRule,
    pod: Endpoint,
    pods: Sequence[Endpoint],
    namespaces: Mapping[str, Mapping[str, str]],
    *,
    inwards: bool,
) -> Iterator[Allow]:
    if not rule.peers:
        yield from _to_ports("0.0.0.0/0", (), rule.ports, pod if inwards else None, pods)
    for peer in rule.peers:
        if peer.block:
            if ipaddress.ip_network(peer.block).version == 4:
                yield from _to_ports(peer.block, peer.excluded, rule.ports, pod if inwards else None, pods)
            continue
        for other in pods:
            if _is_peer(peer, other, pod.namespace, namespaces):
                called = pod if inwards else other
                yield from _to_ports(f"{other.address}/32", (), rule.ports, called, pods)


def _is_peer(
    peer: Peer, other: Endpoint, namespace: str, namespaces: Mapping[str, Mapping[str, str]]
) -> bool:
    if peer.namespaces is None:
        in_place = other.namespace == namespace
    else:
        in_place = selects(peer.namespaces, namespaces.get(other.namespace, {}))
    return in_place and (peer.pods is None or selects(peer.pods, other.labels))


def _to_ports(
    network: str,
    excluded: tuple[str, ...],
    ports: tuple[PolicyPort, ...],
    called: Endpoint | None,
    pods: Sequence[Endpoint],
) -> Iterator[Allow]:
    """
    Yield what is allowed of a network; a port by name is that of the pod that is called, or of each in turn.
    """
    if not ports:
        yield Allow(network=network, excluded=excluded)
    for port in ports:
        if port.port is None:
            yield Allow(network=network, excluded=excluded, protocol=port.protocol)
        elif isinstance(port.port, int):
            last = port.end or port.port
            yield Allow(
                network=network, excluded=excluded, protocol=port.protocol, first=port.port, last=last
            )
        else:
            yield from _by_name(network, excluded, port, called, pods)


def _by_name(
    network: str,
    excluded: tuple[str, ...],
    port: PolicyPort,
    called: Endpoint | None,
    pods: Sequence[Endpoint],
) -> Iterator[Allow]:
    block = ipaddress.ip_network(network)
    for pod in (
        [called]
        if called is not None
        else [pod for pod in pods if ipaddress.ip_address(pod.address) in block]
    ):
        for name, protocol, number in pod.ports:
            if (name, protocol) == (port.port, port.protocol):
                to = network if called is not None else f"{pod.address}/32"
                yield Allow(network=to, excluded=excluded, protocol=protocol, first=number, last=number)
