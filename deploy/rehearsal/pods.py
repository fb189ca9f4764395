"""A pod as the engine keeps it, and what its containers are started with."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from deploy.rehearsal import syscalls
from deploy.rehearsal.container import CAPABILITIES, Container, Mount
from deploy.rehearsal.environment import Facts, MissingReferenceError, environment, expanded, field_value
from deploy.rehearsal.errors import RehearsalError
from deploy.rehearsal.volumes import make_empty, write_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.rehearsal.images import Image
    from deploy.rehearsal.network import Attachment, Node
    from deploy.rehearsal.objects import Data
    from deploy.rehearsal.pod_spec import ContainerSpec, PodTemplate, Volume, VolumeItem
    from deploy.rehearsal.starter import Running

__all__ = ["ContainerState", "PodRecord", "build", "fill_volumes", "release_volumes", "system_mounts"]

_LIBRARIES: Final = (
    "/lib",
    "/lib64",
    "/lib32",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
)
_CERTIFICATES: Final = ("/etc/ssl", "/usr/share/ca-certificates", "/etc/ld.so.cache", "/etc/ld.so.conf")
_PROGRAMS: Final = ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/share", "/usr/local/bin")


@dataclass(kw_only=True, slots=True)
class ContainerState:
    """How one container does."""

    spec: ContainerSpec
    running: Running | None = None
    started: bool = False
    ready: bool = False
    restarts: int = 0


@dataclass(kw_only=True, slots=True)
class PodRecord:
    """A pod, from its making to its end."""

    name: str
    namespace: str
    kind: str
    workload: str
    template: PodTemplate
    digest: str
    labels: dict[str, str]
    directory: Path
    claims: Path
    claim_names: dict[str, str]
    ordinal: int = 0
    subdomain: str = ""
    hostname: str = ""
    uid: str = field(default_factory=lambda: secrets.token_hex(16))
    created_s: float = field(default_factory=time.time)
    node: Node | None = None
    attachment: Attachment | None = None
    containers: dict[str, ContainerState] = field(default_factory=dict)
    phase: str = "Pending"
    reason: str = ""
    ready: bool = False
    seen_ready: bool = False
    ready_since_s: float | None = None
    deleting: bool = False

    @property
    def address(self) -> str:
        """Its address, "" before it has one."""
        return self.attachment.address if self.attachment is not None else ""

    @property
    def ports(self) -> tuple[tuple[str, str, int], ...]:
        """The named ports of its containers."""
        spec = self.template.spec
        found = [
            port for each in (*spec.containers, *spec.init_containers) for port in each.ports if port.name
        ]
        return tuple((port.name, port.protocol, port.number) for port in found)

    @property
    def log(self) -> Path:
        """The file that its containers' output goes to."""
        return self.directory.parent.parent / "logs" / f"{self.name}.log"

    @property
    def facts(self) -> Facts:
        """What it may be told of itself."""
        return Facts(
            name=self.name,
            namespace=self.namespace,
            uid=self.uid,
            address=self.address,
            node=self.node.name if self.node is not None else "",
            node_address=self.node.address if self.node is not None else "",
            service_account=self.template.spec.service_account,
            labels=self.labels,
            annotations=dict(self.template.annotations),
        )

    def described(self) -> dict[str, Any]:
        """Return what is told of it."""
        return {
            "name": self.name,
            "uid": self.uid,
            "namespace": self.namespace,
            "workload": self.workload,
            "labels": self.labels,
            "node": self.node.name if self.node is not None else "",
            "address": self.address,
            "phase": "Terminating" if self.deleting and self.phase == "Running" else self.phase,
            "ready": self.ready,
            "restarts": sum(state.restarts for state in self.containers.values()),
            "template": self.digest,
            "reason": self.reason,
            "log": str(self.log),
            "pids": [state.running.pid for state in self.containers.values() if state.running is not None],
        }


def fill_volumes(pod: PodRecord, find: Callable[[str, str], Data | None]) -> bool:
    """
    Lay out the volumes of a pod, or bring their files up to date.

    Returns:
        Whether any file changed.

    Raises:
        MissingReferenceError: An object that it needs is not there.
    """
    changed = False
    for volume in pod.template.spec.volumes:
        directory = pod.directory / "volumes" / volume.name
        if volume.kind == "files":
            changed |= write_files(directory, _files(pod, volume, find), pod.template.spec.fs_group)
        else:
            make_empty(_place(pod, volume), pod.template.spec.fs_group)
            if volume.memory and not directory.is_mount():
                _mount_memory(directory, volume.size_bytes or 0, pod.template.spec.fs_group)
    for claim in pod.claim_names:
        make_empty(pod.claims / pod.claim_names[claim], pod.template.spec.fs_group)
    return changed


def _mount_memory(directory: Path, size_bytes: int, group: int | None) -> None:
    options = f"mode=2777,size={size_bytes}" + (f",gid={group}" if group is not None else "")
    syscalls.mount("memory", str(directory), "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, options)


def release_volumes(pod: PodRecord) -> None:
    """Give back the memory of a pod's volumes; its files stay until the rehearsal ends."""
    for volume in pod.template.spec.volumes:
        directory = pod.directory / "volumes" / volume.name
        if volume.memory and directory.is_mount():
            syscalls.unmount(str(directory))


def _place(pod: PodRecord, volume: Volume) -> Path:
    return pod.claims / volume.claim if volume.kind == "claim" else pod.directory / "volumes" / volume.name


def _files(
    pod: PodRecord, volume: Volume, find: Callable[[str, str], Data | None]
) -> dict[str, tuple[bytes, int]]:
    files: dict[str, tuple[bytes, int]] = {}
    for item in volume.items:
        files.update(_item_files(pod, item, volume.mode, find))
    return files


def _item_files(
    pod: PodRecord, item: VolumeItem, mode: int, find: Callable[[str, str], Data | None]
) -> dict[str, tuple[bytes, int]]:
    if item.kind == "downward":
        return {
            path: (field_value(pod.facts, key).encode(), own or mode) for key, path, own in item.items or ()
        }
    data = find(item.kind, item.name)
    if data is None:
        if item.optional:
            return {}
        raise MissingReferenceError(f"there is no {item.kind} {item.name}")
    if item.items is None:
        return {key: (value, mode) for key, value in data.data.items()}
    files = {}
    for key, path, own in item.items:
        if key in data.data:
            files[path] = (data.data[key], own or mode)
        elif not item.optional:
            raise MissingReferenceError(f"{item.kind} {item.name} has no key {key}")
    return files


def system_mounts(image: Image) -> list[Mount]:
    """Return what of the machine's files an image has: libraries, and programs if it has a shell."""
    wanted = (*_LIBRARIES, *_CERTIFICATES, *(_PROGRAMS if image.shell else ()))
    mounts = [
        Mount(kind="bind", source=path, target=path, read_only=True) for path in wanted if Path(path).exists()
    ]
    mounts += [
        Mount(kind="bind", source=source, target=target, read_only=True)
        for target, source in sorted(image.directories)
    ]
    return [
        *mounts,
        Mount(kind="proc", target="/proc"),
        Mount(kind="sysfs", target="/sys", read_only=True),
        Mount(kind="dev", target="/dev"),
    ]


def build(
    pod: PodRecord,
    spec: ContainerSpec,
    image: Image,
    find: Callable[[str, str], Data | None],
    control_groups: tuple[str, ...],
) -> Container:
    """
    Return how a container of a pod is started.

    Raises:
        MissingReferenceError: An object that it needs is not there.
        RehearsalError: It cannot be started as it is.
    """
    assert pod.attachment is not None
    own, shared = spec.security, pod.template.spec.security
    uid = next((each for each in (own.uid, shared.uid) if each is not None), image.uid)
    gid = next((each for each in (own.gid, shared.gid) if each is not None), image.gid)
    if uid == 0 and (shared.non_root if own.non_root is None else own.non_root):
        raise RehearsalError(f"container {spec.name} must not run as root, and its image does")
    variables = environment(
        spec, {"PATH": "/usr/local/bin:/usr/bin:/bin", **dict(image.env)}, pod.facts, find
    )
    command = spec.command or image.entrypoint
    args = spec.args if spec.has_args or spec.command else image.command
    root = pod.directory / "roots" / spec.name
    root.mkdir(parents=True, exist_ok=True)
    groups = {
        *pod.template.spec.groups,
        *([pod.template.spec.fs_group] if pod.template.spec.fs_group else []),
    }
    return Container(
        argv=(*expanded(command, variables), *expanded(args, variables)),
        env=variables,
        log=str(pod.log),
        network=pod.attachment.path,
        root=str(root),
        writable_root=not own.read_only_root,
        mounts=(*system_mounts(image), *_etc(pod, uid, gid), *_volume_mounts(pod, spec)),
        cwd=spec.working_dir or image.workdir,
        uid=uid,
        gid=gid,
        groups=tuple(sorted(groups)),
        capabilities=own.add if own.drop_all else tuple(CAPABILITIES),
        no_new_privileges=not own.privilege_escalation,
        hostname=pod.hostname or pod.name,
        control_groups=control_groups,
    )


def _etc(pod: PodRecord, uid: int, gid: int) -> list[Mount]:
    directory = pod.directory / "etc"
    users = f"root:x:0:0::/root:/sbin/nologin\nuser:x:{uid}:{gid}::/tmp:/sbin/nologin\n"
    (directory / "passwd").write_text(users if uid else users.partition("\n")[0] + "\n")
    (directory / "group").write_text(f"root:x:0:\nuser:x:{gid}:\n")
    return [
        Mount(kind="bind", source=str(directory / name), target=f"/etc/{name}", read_only=True)
        for name in ("hosts", "resolv.conf", "passwd", "group")
    ]


def _volume_mounts(pod: PodRecord, spec: ContainerSpec) -> list[Mount]:
    volumes = {volume.name: volume for volume in pod.template.spec.volumes}
    mounts = []
    # The outer ones first: one mount may be inside of another.
    for mount in sorted(spec.mounts, key=lambda each: each.path):
        if mount.name in pod.claim_names:
            place = pod.claims / pod.claim_names[mount.name]
        elif mount.name not in volumes:
            raise RehearsalError(
                f"container {spec.name} mounts a volume {mount.name} that the pod does not have"
            )
        else:
            place = _place(pod, volumes[mount.name])
        if mount.sub_path:
            place = (place / mount.sub_path).resolve()
            if not place.exists():
                raise RehearsalError(f"volume {mount.name} has no {mount.sub_path}")
        files = mount.name in volumes and volumes[mount.name].kind == "files"
        mounts.append(
            Mount(kind="bind", source=str(place), target=mount.path, read_only=mount.read_only or files)
        )
    return mounts
