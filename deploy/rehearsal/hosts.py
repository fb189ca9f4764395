"""
Hosts outside the cluster: stores, clients, fake providers; and processes that a scenario starts somewhere.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any, Final

from deploy.rehearsal.container import Container, Mount
from deploy.rehearsal.errors import RehearsalError
from deploy.rehearsal.pods import system_mounts
from deploy.rehearsal.volumes import make_empty

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from deploy.rehearsal.images import Images
    from deploy.rehearsal.network import Attachment, Network
    from deploy.rehearsal.starter import Running, Starter

__all__ = ["OutsideHost", "Processes"]

_STOP_S: Final = 30.0


class OutsideHost:
    """
    A host outside.

    Args:
        spec: A `HostSpec` as JSON has it.
        network: Plugs it in.
        directory: Where its data and its log are.
    """

    def __init__(self, spec: Mapping[str, Any], network: Network, directory: Path) -> None:
        self.name = str(spec["name"])
        self.names = [str(name) for name in spec["names"]]
        self.attachment: Attachment = network.attach_host(str(spec["address"]))
        self._spec = spec
        self._directory = directory / self.name
        self._running: Running | None = None
        self._stop_signal = 0
        make_empty(self._directory / "data", None)
        resolver = network.resolver(str(spec["address"]))
        (self._directory / "resolv.conf").write_text(f"nameserver {resolver}\noptions timeout:2 attempts:2\n")
        (self._directory / "hosts").write_text(f"127.0.0.1 localhost\n{spec['address']} {self.name}\n")

    @property
    def files(self) -> dict[str, Path]:
        """Its `/etc/hosts` and `/etc/resolv.conf`."""
        return {f"/etc/{name}": self._directory / name for name in ("hosts", "resolv.conf")}

    async def start(self, images: Images, starter: Starter) -> None:
        """Start its image's process, if it has an image and does not run."""
        if not self._spec["image"] or (self._running is not None and not self._running.ended.done()):
            return
        image = images.find(str(self._spec["image"]))
        self._stop_signal = image.stop_signal
        root = self._directory / "root"
        root.mkdir(exist_ok=True)
        etc = [Mount(kind="bind", source=str(path), target=target) for target, path in self.files.items()]
        data = Mount(kind="bind", source=str(self._directory / "data"), target="/data")
        passwd = self._directory / "passwd"
        passwd.write_text(f"root:x:0:0::/root:/bin/sh\nstore:x:{image.uid}:{image.gid}::/data:/bin/sh\n")
        container = Container(
            argv=(*image.entrypoint, *(tuple(self._spec["args"]) or image.command)),
            env={**dict(image.env), **dict(self._spec["env"]), "REHEARSAL_DATA": "/data"},
            log=str(self._directory / "log"),
            network=self.attachment.path,
            root=str(root),
            mounts=(
                *system_mounts(image), *etc, data,
                Mount(kind="bind", source=str(passwd), target="/etc/passwd", read_only=True),
                Mount(kind="tmpfs", target="/tmp"),  # noqa: S108 - the container's own
            ),
            writable_root=True,
            cwd=image.workdir,
            uid=image.uid,
            gid=image.gid,
            hostname=self.name,
        )  # fmt: skip
        self._running = await starter.start(container)

    def signal(self, number: int) -> None:
        """Send its process a signal."""
        if self._running is None:
            raise RehearsalError(f"host {self.name} runs nothing by itself")
        self._running.signal(number)

    async def stop(self, number: int | None = None) -> None:
        """Stop its process, by a signal or as its image is stopped, and wait until it has ended."""
        self.signal(self._stop_signal if number is None else number)
        assert self._running is not None
        await self._running.wait()


def _over(files: Mapping[str, Path]) -> tuple[Mount, ...]:
    """Return mounts over the machine's files; some of those are links to others."""
    return tuple(
        Mount(kind="bind", source=str(path), target=os.path.realpath(target))
        for target, path in files.items()
    )


class Processes:
    """
    What a scenario started.

    Args:
        starter: Starts it.
        directory: Where output goes.
    """

    def __init__(self, starter: Starter, directory: Path) -> None:
        self._starter = starter
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._numbers = itertools.count(1)
        self._running: dict[int, Running] = {}

    async def run(
        self,
        attachment: Attachment,
        files: Mapping[str, Path],
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
    ) -> dict[str, Any]:
        """Start a process in a network, with the machine's files but for some of `/etc`."""
        log = self._directory / f"{next(self._numbers)}-{os.path.basename(argv[0])}.log"  # noqa: PTH119 - of a name
        container = Container(
            argv=tuple(argv),
            env={**os.environ, **env},
            log=str(log),
            network=attachment.path,
            mounts=_over(files),
            cwd=cwd,
            own_pids=False,
        )
        running = await self._starter.start(container)
        self._running[running.pid] = running
        return {"pid": running.pid, "log": str(log)}

    def get(self, pid: int) -> Running:
        """Return one by its number."""
        if pid not in self._running:
            raise RehearsalError(f"no process {pid} was started")
        return self._running[pid]
