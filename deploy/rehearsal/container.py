"""
What a container's first process does before it becomes the program: namespaces, mounts, ids, rights.

`Container` is everything that it must know, as plain data. It is built by the engine, written to a file, and
read by a child of `init`, which imports nothing but the standard library.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deploy.rehearsal import syscalls

__all__ = ["Container", "Mount", "become"]

CAPABILITIES: Final = { "CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6,
"SETUID": 7, "SETPCAP": 8,
    "NET_BIND_SERVICE": 10, "SYS_CHROOT": 18,
}  # fmt: skip
"""The numbers of the capabilities that a container has unless it drops them."""

_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """
    One mount.

    Args:
        kind: `bind`, `tmpfs`, `proc`, `sysfs` or `dev`.
        target: Where, in the container.
        source: What, for `bind`: a file or directory of the machine.
        read_only: Whether nobody writes there.
        size_bytes: The most that a `tmpfs` takes; 0 for no limit.
    """

    kind: str
    target: str
    source: str = ""
    read_only: bool = False
    size_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """
    A process to start.

    Args:
        argv: The program, looked up in `PATH` of `env`, and its arguments.
        env: All of its environment.
        log: The file that its output is appended to.
        network: A path of the network namespace to enter; "" stays.
        root: An empty directory to build the container's root on; "" keeps the machine's files.
        writable_root: Whether it may write outside its mounts.
        mounts: In order.
        cwd: Where it starts; made when it is not there and the root is new.
        uid: User.
        gid: Group.
        groups: Further groups.
        capabilities: Those that it keeps, by name, without `CAP_`; None keeps what root has.
        no_new_privileges: As the flag of that name.
        own_pids: Whether it gets a PID namespace, and so is process 1 of it.
        hostname: Its host's name; "" keeps the machine's.
        control_groups: `cgroup.procs` files to join.
        join: The first process of a container whose namespaces to enter, instead of making new ones.
    """

    argv: tuple[str, ...]
    env: dict[str, str] = field(repr=False)
    log: str
    network: str = ""
    root: str = ""
    writable_root: bool = False
    mounts: tuple[Mount, ...] = ()
    cwd: str = "/"
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    capabilities: tuple[str, ...] | None = None
    no_new_privileges: bool = False
    own_pids: bool = True
    hostname: str = ""
    control_groups: tuple[str, ...] = ()
    join: int = 0

    def encoded(self) -> str:
        """Return it as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def decoded(text: str) -> Container:
        """Return what `encoded` was made of."""
        raw: dict[str, Any] = json.loads(text)
        mounts = tuple(Mount(**mount) for mount in raw.pop("mounts"))
        capabilities = raw.pop("capabilities")
        rest: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()
        }
        return Container(
            **rest,
            mounts=mounts,
            capabilities=None if capabilities is None else tuple(capabilities),
        )


def become(container: Container) -> None:
    """
    Turn this process into the container's program; never returns.

    Raises:
        OSError: Something of it cannot be done; the message says what.
    """
    for path in container.control_groups:
        Path(path).write_text("0")
    _redirect(container)
    if container.join:
        _join(container.join)
    else:
        _enter(container)
    if container.root:
        _build_root(container)
    else:
        for mount in container.mounts:
            _mount(mount, "")
    if container.root:
        _change_root(container)
    if container.hostname:
        syscalls.set_hostname(container.hostname)
    os.chdir(container.cwd)
    _drop_rights(container)
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execvpe(container.argv[0], container.argv, container.env)  # noqa: S606 - there is no shell on purpose


def _enter(container: Container) -> None:
    if container.network:
        descriptor = os.open(container.network, os.O_RDONLY | os.O_CLOEXEC)
        syscalls.setns(descriptor, syscalls.CLONE_NEWNET)
        os.close(descriptor)
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)


def _join(pid: int) -> None:
    names = {"ipc": syscalls.CLONE_NEWIPC, "uts": syscalls.CLONE_NEWUTS, "net": syscalls.CLONE_NEWNET}
    names["mnt"] = syscalls.CLONE_NEWNS
    descriptors = [(os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY), kind) for name, kind in names.items()]
    for descriptor, kind in descriptors:
        syscalls.setns(descriptor, kind)
        os.close(descriptor)


def _build_root(container: Container) -> None:
    root = container.root
    syscalls.mount("root", root, "tmpfs", syscalls.MS_NOSUID, "mode=0755,size=1g")
    old = os.umask(0o022)
    for name in ("tmp", "proc", "dev", "etc", "var", "run"):
        Path(root, name).mkdir()
    Path(root, "tmp").chmod(0o1777)
    Path(root, container.cwd.lstrip("/")).mkdir(parents=True, exist_ok=True)
    for mount in container.mounts:
        _mount(mount, root)
    os.umask(old)


def _mount(mount: Mount, root: str) -> None:
    target = root + mount.target
    if mount.kind == "bind":
        _bind(mount, target, make=bool(root))
        return
    if root:
        Path(target).mkdir(parents=True, exist_ok=True)
    if mount.kind == "dev":
        _devices(target)
        return
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | (syscalls.MS_RDONLY if mount.read_only else 0)
    size = f",size={mount.size_bytes}" if mount.size_bytes else ""
    data = f"mode=1777{size}" if mount.kind == "tmpfs" else ""
    syscalls.mount(mount.kind, target, mount.kind, flags, data)


def _bind(mount: Mount, target: str, *, make: bool) -> None:
    is_directory = stat.S_ISDIR(os.stat(mount.source).st_mode)  # noqa: PTH116 - one call
    place = Path(target)
    if make and is_directory:
        place.mkdir(parents=True, exist_ok=True)
    elif make and not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    syscalls.mount(mount.source, target, "", syscalls.MS_BIND)
    if mount.read_only:
        flags = (
            syscalls.MS_BIND
            | syscalls.MS_REMOUNT
            | syscalls.MS_RDONLY
            | syscalls.MS_NOSUID
            | syscalls.MS_NODEV
        )
        syscalls.mount("none", target, "", flags)


def _devices(target: str) -> None:
    syscalls.mount("dev", target, "tmpfs", syscalls.MS_NOSUID, "mode=0755,size=64k")
    for name in _DEVICES:
        place = Path(target, name)
        place.touch()
        syscalls.mount(f"/dev/{name}", str(place), "", syscalls.MS_BIND)
    for name, link in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        Path(target, name).symlink_to(link)
    shared = Path(target, "shm")
    shared.mkdir()
    syscalls.mount("shm", str(shared), "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=1777,size=64m")


def _redirect(container: Container) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    log = os.open(container.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for descriptor in (null, log):
        if descriptor > 2:
            os.close(descriptor)


def _change_root(container: Container) -> None:
    old = Path(container.root, ".old")
    old.mkdir()
    syscalls.pivot_root(container.root, str(old))
    os.chdir("/")
    syscalls.unmount("/.old")
    Path("/.old").rmdir()
    if not container.writable_root:
        syscalls.mount("none", "/", "", syscalls.MS_REMOUNT | syscalls.MS_RDONLY | syscalls.MS_NOSUID)


def _drop_rights(container: Container) -> None:
    kept = None
    if container.capabilities is not None:
        kept = frozenset(CAPABILITIES[name] for name in container.capabilities)
        syscalls.drop_bounding_set(kept)
    os.setgroups(container.groups)
    os.setresgid(container.gid, container.gid, container.gid)
    # Who is not root has no capability from here on, whatever the manifest adds: so it is in a cluster, too.
    os.setresuid(container.uid, container.uid, container.uid)
    if kept is not None and container.uid == 0:
        syscalls.set_capabilities(kept)
    if container.no_new_privileges:
        syscalls.no_new_privileges()
