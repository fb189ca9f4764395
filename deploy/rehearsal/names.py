"""
Which addresses stand behind which name, as Kubernetes' DNS answers; pure.

`Zone` is made again whenever a pod or a Service changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from deploy.rehearsal.selectors import of_labels, selects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploy.rehearsal.objects import Service

__all__ = ["DOMAIN", "PodAddress", "Zone", "backends", "make_zone", "search_path"]

DOMAIN: Final = "cluster.local"


@dataclass(frozen=True, kw_only=True, slots=True)
class PodAddress:
    """
    A pod as Services see it.

    Args:
        name: Its name.
        namespace: Its namespace.
        labels: Its labels.
        address: Its address.
        ready: Whether it takes requests.
        deleting: Whether it is about to go: it leaves every Service at once then.
        ports: Its named ports, as name, protocol and number.
        subdomain: The headless Service that gives it a name of its own; "" for none.
    """

    name: str
    namespace: str
    labels: Mapping[str, str]
    address: str
    ready: bool
    deleting: bool = False
    ports: tuple[tuple[str, str, int], ...] = ()
    subdomain: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Zone:
    """
    What DNS answers.

    Args:
        addresses: Addresses by full name, without the last dot, in lower case; empty for a name that exists.
        ports: Ports of SRV names, as port and target.
        aliases: Names that stand for other names.
    """

    addresses: Mapping[str, tuple[str, ...]]
    ports: Mapping[str, tuple[tuple[int, str], ...]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)


def search_path(namespace: str) -> tuple[str, ...]:
    """Return the domains that a pod's names are looked up in."""
    return (f"{namespace}.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN)


def backends(service: Service, pods: Sequence[PodAddress]) -> list[PodAddress]:
    """Return the pods that stand behind a Service now."""
    if not service.selector:
        return []
    selector = of_labels(dict(service.selector))
    return [
        pod
        for pod in pods
        if pod.namespace == service.namespace
        and selects(selector, pod.labels)
        and ((pod.ready and not pod.deleting) or service.publish_not_ready)
    ]


def make_zone(
    services: Sequence[Service],
    pods: Sequence[PodAddress],
    virtual: Mapping[tuple[str, str], str],
    external: Mapping[str, str],
) -> Zone:
    """
    Return what DNS answers now.

    Args:
        services: All Services.
        pods: All pods.
        virtual: Addresses of Services that have one, by namespace and name.
        external: Addresses of hosts outside, by name.
    """
    addresses: dict[str, tuple[str, ...]] = {name.lower(): (address,) for name, address in external.items()}
    ports: dict[str, tuple[tuple[int, str], ...]] = {}
    aliases: dict[str, str] = {}
    for service in services:
        name = f"{service.name}.{service.namespace}.svc.{DOMAIN}"
        if service.type == "ExternalName":
            aliases[name] = service.external_name
            continue
        behind = backends(service, pods)
        own = virtual.get((service.namespace, service.name))
        addresses[name] = (own,) if own else tuple(pod.address for pod in behind)
        for pod in behind:
            if pod.subdomain == service.name:
                addresses[f"{pod.name}.{name}"] = (pod.address,)
        for port in service.ports:
            if port.name:
                ports[f"_{port.name}._{port.protocol.lower()}.{name}"] = ((port.port, name),)
    return Zone(addresses=addresses, ports=ports, aliases=aliases)
