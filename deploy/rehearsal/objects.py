"""The objects of manifests, checked, as plain data; `read_objects` makes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.rehearsal.pod_spec import PodTemplate
    from deploy.rehearsal.selectors import Selector

__all__ = [ "Autoscaler", "Budget", "Certificate", "Data", "Monitor", "Namespace", "Object", "Peer", "Policy",
"PolicyPort", "PolicyRule",
    "ScrapeEndpoint", "Service", "ServiceAccount", "ServicePort", "Strategy", "Workload",
]  # fmt: skip

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Object:
    """What every object has."""

    kind: str
    name: str
    namespace: str
    labels: Labels = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Namespace(Object):
    """A namespace; its labels matter to policies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceAccount(Object):
    """An identity, which has nobody to prove itself to here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim(Object):
    """A PersistentVolumeClaim: a directory that outlives pods."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Data(Object):
    """A ConfigMap or a Secret, as bytes by key."""

    data: Mapping[str, bytes] = field(repr=False)
    immutable: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ServicePort:
    """One port of a Service."""

    name: str
    port: int
    target: int | str
    protocol: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Service(Object):
    """A Service; a headless one has no address of its own."""

    type: str
    headless: bool
    selector: Labels
    ports: tuple[ServicePort, ...]
    publish_not_ready: bool
    external_name: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Strategy:
    """
    How a workload is updated.

    Args:
        recreate: Whether all old pods go before new ones come.
        max_surge: How many more than wanted there may be: a number, or a share such as `25%`.
        max_unavailable: How many fewer may be available.
    """

    recreate: bool = False
    max_surge: int | str = "25%"
    max_unavailable: int | str = "25%"


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload(Object):
    """A Deployment, StatefulSet, DaemonSet or Job."""

    replicas: int | None
    selector: Selector
    template: PodTemplate
    strategy: Strategy = Strategy()
    min_ready_s: int = 0
    progress_deadline_s: int = 600
    service_name: str = ""
    parallel: bool = False
    claims: tuple[str, ...] = ()
    backoff_limit: int = 6
    active_deadline_s: int | None = None
    completions: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyPort:
    """A port that a rule allows; `port` None is any of the protocol."""

    protocol: str
    port: int | str | None
    end: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """Whom a rule allows: pods by selectors (None: not said), or a network but for some within."""

    pods: Selector | None = None
    namespaces: Selector | None = None
    block: str = ""
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyRule:
    """A rule; no peers is anyone, no ports any port."""

    peers: tuple[Peer, ...]
    ports: tuple[PolicyPort, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy(Object):
    """A NetworkPolicy; None for a direction that it does not restrict."""

    selector: Selector
    ingress: tuple[PolicyRule, ...] | None
    egress: tuple[PolicyRule, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget(Object):
    """A PodDisruptionBudget, which `drain` keeps to."""

    selector: Selector
    min_available: int | str | None
    max_unavailable: int | str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Autoscaler(Object):
    """A HorizontalPodAutoscaler: its target begins with its least number of replicas."""

    target_kind: str
    target: str
    least: int
    most: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate(Object):
    """A cert-manager Certificate, which becomes a Secret."""

    secret: str
    names: tuple[str, ...]
    uris: tuple[str, ...]
    common_name: str
    issuer: str
    is_ca: bool
    duration_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ScrapeEndpoint:
    """Where metrics are: a port by name or number, and a path."""

    port: int | str
    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Monitor(Object):
    """A PodMonitor or ServiceMonitor."""

    selector: Selector
    endpoints: tuple[ScrapeEndpoint, ...]
