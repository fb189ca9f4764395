"""What a pod template says, checked, as plain data; `read_pod` makes it from a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.rehearsal.selectors import Selector

__all__ = [ "Affinity", "ContainerSpec", "Env", "Handler", "Key", "PodSpec", "PodTemplate", "Port", "Probe",
"Security",
    "Spread", "Volume", "VolumeItem", "VolumeMount",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Port:
    """A named port of a container."""

    name: str
    number: int
    protocol: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """A value elsewhere: `kind` is `ConfigMap`, `Secret`, `field` (then `key` is the path) or `resource`."""

    kind: str
    name: str
    key: str
    optional: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Env:
    """One variable, or with `name` "" all keys of an object, behind `prefix`."""

    name: str
    value: str = ""
    source: Key | None = None
    prefix: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Handler:
    """
    How something is asked or done in a container.

    Args:
        kind: `grpc`, `http`, `tcp`, `exec` or `sleep`.
        port: Number or name, for the first three.
        service: The gRPC health service's name.
        path: The path of the HTTP request.
        https: Whether it is asked over TLS, without looking at the certificate, as the kubelet does.
        headers: Further headers.
        argv: What is executed.
        seconds: How long it sleeps.
    """

    kind: str
    port: int | str = 0
    service: str = ""
    path: str = "/"
    https: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    argv: tuple[str, ...] = ()
    seconds: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """A probe, with the kubelet's defaults."""

    handler: Handler
    initial_delay_s: int = 0
    period_s: int = 10
    timeout_s: int = 1
    successes: int = 1
    failures: int = 3
    grace_s: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Security:
    """What of a securityContext is acted upon; None where the manifest says nothing."""

    uid: int | None = None
    gid: int | None = None
    non_root: bool | None = None
    read_only_root: bool = False
    privilege_escalation: bool = True
    drop_all: bool = False
    add: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeMount:
    """Where a volume is in a container."""

    name: str
    path: str
    sub_path: str = ""
    read_only: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerSpec:
    """One container."""

    name: str
    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    has_args: bool
    working_dir: str
    env: tuple[Env, ...]
    ports: tuple[Port, ...]
    mounts: tuple[VolumeMount, ...]
    memory_limit_bytes: int | None
    resources: tuple[tuple[str, str], ...]
    security: Security
    startup: Probe | None
    liveness: Probe | None
    readiness: Probe | None
    pre_stop: Handler | None
    sidecar: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeItem:
    """
    One source of a volume of files.

    Args:
        kind: `ConfigMap`, `Secret` or `downward`.
        name: The object's.
        items: Keys and paths, and modes where they differ; all keys when it is None.
        optional: Whether it may be missing.
    """

    kind: str
    name: str
    items: tuple[tuple[str, str, int | None], ...] | None
    optional: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Volume:
    """
    A volume.

    Args:
        name: What mounts call it.
        kind: `files` (ConfigMap, Secret, projected), `empty` or `claim`.
        items: What `files` holds.
        mode: Of files.
        memory: Whether an `empty` one is in memory.
        size_bytes: The most that an `empty` one takes.
        claim: The name of a PersistentVolumeClaim.
    """

    name: str
    kind: str
    items: tuple[VolumeItem, ...] = ()
    mode: int = 0o644
    memory: bool = False
    size_bytes: int | None = None
    claim: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """A topologySpreadConstraint over hosts or zones; every node is a zone of its own."""

    max_skew: int
    required: bool
    selector: Selector
    this_template_only: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Affinity:
    """A rule that keeps pods apart, over hosts or zones."""

    required: bool
    selector: Selector


@dataclass(frozen=True, kw_only=True, slots=True)
class PodSpec:
    """What a pod is."""

    containers: tuple[ContainerSpec, ...]
    init_containers: tuple[ContainerSpec, ...]
    volumes: tuple[Volume, ...]
    service_account: str
    grace_s: int
    restart_policy: str
    security: Security
    fs_group: int | None
    groups: tuple[int, ...]
    spread: tuple[Spread, ...]
    apart: tuple[Affinity, ...]
    dns_options: tuple[str, ...]
    host_aliases: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PodTemplate:
    """A template with the hash that pods of it are told apart by."""

    labels: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...]
    spec: PodSpec
    digest: str
