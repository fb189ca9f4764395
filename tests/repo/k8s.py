"""Rendered manifests, as the tests of this directory see them, and what their policies let through."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from scripts.k8s_render import K8S, render

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["RENDERED", "Container", "Pod", "Policies", "containers", "documents", "of_kind", "pods"]

RENDERED = (
    "overlays/dev",
    "overlays/minimal",
    "overlays/production",
    "tests/all-components",
    "tests/valkey-cluster",
)
# An address that nobody has.
OUTSIDE = "203.0.113.9"
WORKLOADS = ("Deployment", "StatefulSet", "Job")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod that a workload makes."""

    kind: str
    name: str
    selector: Mapping[str, str]
    labels: Mapping[str, str]
    spec: Mapping[str, Any]

    @property
    def component(self) -> str:
        """What part of Headrace it is."""
        return self.labels["app.kubernetes.io/component"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container of a pod."""

    pod: Pod
    spec: Mapping[str, Any]

    @property
    def name(self) -> str:
        """How a test names it."""
        return f"{self.pod.name}:{self.spec['name']}"

    @property
    def is_ours(self) -> bool:
        """Tell whether it runs Headrace's image."""
        return str(self.spec["image"]).partition(":")[0] == "headrace"

    def env(self, configuration: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """Return its environment, given what ConfigMaps hold, without what is in Secrets."""
        found: dict[str, str] = {}
        for source in self.spec.get("envFrom", ()):
            if "configMapRef" in source:
                found |= configuration[source["configMapRef"]["name"]]
        return found | {each["name"]: each["value"] for each in self.spec.get("env", ()) if "value" in each}


@cache
def documents(name: str) -> tuple[dict[str, Any], ...]:
    """Return what a directory of `deploy/k8s` renders to."""
    return tuple(render(K8S / name))


def of_kind(name: str, *kinds: str) -> list[dict[str, Any]]:
    """Return the objects of some kinds."""
    return [document for document in documents(name) if document["kind"] in kinds]


def pods(name: str) -> list[Pod]:
    """Return the pods of a rendering, one for each workload."""
    return [
        Pod(
            kind=each["kind"],
            name=each["metadata"]["name"],
            selector=each["spec"].get("selector", {}).get("matchLabels", {}),
            labels=each["spec"]["template"]["metadata"]["labels"],
            spec=each["spec"]["template"]["spec"],
        )
        for each in of_kind(name, *WORKLOADS)
    ]


def containers(name: str) -> Iterator[Container]:
    """Yield every container of a rendering."""
    for pod in pods(name):
        for spec in (*pod.spec["containers"], *pod.spec.get("initContainers", ())):
            yield Container(pod=pod, spec=spec)


class Policies:
    """
    What NetworkPolicies let through.

    Args:
        policies: The objects.
    """

    def __init__(self, policies: list[dict[str, Any]]) -> None:
        self._specs = [policy["spec"] for policy in policies]

    def between(self, source: Mapping[str, str], target: Mapping[str, str], port: int) -> bool:
        """Tell whether a pod with some labels may connect to a TCP port of another in the same namespace."""
        return self._passes("Egress", source, "to", target, port) and self._passes(
            "Ingress", target, "from", source, port
        )

    def out(self, source: Mapping[str, str], address: str, port: int) -> bool:
        """Tell whether a pod may connect to an address outside of the cluster."""
        return self._passes("Egress", source, "to", address, port)

    def into(
        self,
        target: Mapping[str, str],
        port: int,
        by: Mapping[str, str] | str = OUTSIDE,
        *,
        protocol: str = "TCP",
    ) -> bool:
        """Tell whether a pod takes a connection of some address, or of a pod in any namespace."""
        return self._passes("Ingress", target, "from", by, port, protocol)

    def _passes(
        self,
        direction: str,
        pod: Mapping[str, str],
        peers: str,
        other: Mapping[str, str] | str,
        port: int,
        protocol: str = "TCP",
    ) -> bool:
        """Tell whether one direction is open: nothing selects the pod, or a rule allows it."""
        selecting = [
            spec
            for spec in self._specs
            if direction in spec["policyTypes"] and _selects(spec["podSelector"], pod)
        ]
        rules = [rule for spec in selecting for rule in spec.get(direction.lower(), ())]
        return not selecting or any(
            _has_port(rule, port, protocol)
            and (not rule.get(peers) or any(_is(peer, other) for peer in rule[peers]))
            for rule in rules
        )


def _has_port(rule: Mapping[str, Any], port: int, protocol: str) -> bool:
    ports = rule.get("ports")
    return not ports or any(
        each.get("protocol", "TCP") == protocol and each.get("port", port) == port for each in ports
    )


def _is(peer: Mapping[str, Any], other: Mapping[str, str] | str) -> bool:
    if isinstance(other, str):
        block = peer.get("ipBlock")
        if block is None:
            return False
        address = ipaddress.ip_address(other)
        return address in ipaddress.ip_network(block["cidr"]) and not any(
            address in ipaddress.ip_network(each) for each in block.get("except", ())
        )
    # Pods of this namespace: a selector of other namespaces does not mean them.
    namespaces = peer.get("namespaceSelector")
    return "podSelector" in peer and namespaces in (None, {}) and _selects(peer["podSelector"], other)


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    wanted = selector.get("matchLabels", {})
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _holds(each, labels) for each in selector.get("matchExpressions", ())
    )


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    assert expression["operator"] == "In", "the tests know no other operator"
    return labels.get(expression["key"]) in expression["values"]
