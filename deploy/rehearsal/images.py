"""
What runs for which image: `Images` maps references, as manifests name them, to directories or programs here.

An image cannot be unpacked on a machine without a registry, so each is replaced by what would be in it:
Headrace's by a source tree and its environment, PostgreSQL's and Valkey's by the binaries of Python packages,
others by a stand-in.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import TYPE_CHECKING, Any, Final

from deploy.rehearsal.errors import RehearsalError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ROOT", "Image", "Images", "postgres", "program", "source", "valkey"]

ROOT: Final = Path(__file__).resolve().parents[2]
"""The repository."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """
    What an image holds and starts.

    Args:
        entrypoint: What its container starts when the manifest has no `command`.
        command: Its arguments when the manifest has neither `command` nor `args`.
        env: Its environment, which the manifest's goes over.
        directories: Where in the container which directory or file of this machine is, all read-only.
        workdir: Where it starts.
        uid: Its user, unless the manifest says another.
        gid: Its group.
        stop_signal: What asks it to stop.
        shell: Whether it has the machine's programs, such as `/bin/sh`, or libraries only.
    """

    entrypoint: tuple[str, ...]
    command: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    directories: tuple[tuple[str, str], ...] = ()
    workdir: str = "/"
    uid: int = 0
    gid: int = 0
    stop_signal: int = SIGTERM
    shell: bool = False


def source(directory: Path = ROOT, *, environment: Path | None = None) -> Image:
    """
    Return Headrace's image from a source tree, with user, entry point and directory of its `Dockerfile`.

    Args:
        directory: The tree, such as another checkout for the rehearsal of an upgrade.
        environment: Its `.venv`; this repository's when it is None.
    """
    from deploy.rehearsal.dockerfile import read_dockerfile

    return read_dockerfile(directory, environment or ROOT / ".venv")


def postgres() -> Image:
    """Return PostgreSQL 18 behind an entry point like that of the official image."""
    # As the official image: SIGTERM would wait for clients to go by themselves.
    return dataclasses.replace(_store("postgres", workdir="/", command=("postgres",)), stop_signal=SIGINT)


def valkey() -> Image:
    """Return Valkey 9 behind an entry point like that of the official image."""
    return _store("valkey", workdir="/data", command=("valkey-server",))


def program(*argv: str, uid: int = 65532, directories: Mapping[str, Path] | None = None) -> Image:
    """
    Return a stand-in: a program with this repository's environment, at `/app`, and the machine's programs.
    """
    image = source()
    mounted = {**dict(image.directories), **{at: str(path) for at, path in (directories or {}).items()}}
    return dataclasses.replace(  # noqa: S604 - whether it has one
        image,
        entrypoint=tuple(argv),
        directories=tuple(mounted.items()),
        uid=uid,
        gid=uid,
        stop_signal=SIGTERM,
        shell=True,
    )


def _store(kind: str, *, workdir: str, command: tuple[str, ...]) -> Image:
    return dataclasses.replace(_script("stores.py", kind, uid=999), command=command, workdir=workdir)


def _script(name: str, *arguments: str, uid: int = 65532) -> Image:
    """Return a stand-in that is a module here, run by its file: it is no part of Headrace's own image."""
    place = f"/rehearsal/{name}"
    argv = ("/app/.venv/bin/python", "-I", place, *arguments)
    return program(*argv, uid=uid, directories={place: Path(__file__).with_name(name)})


class Images:
    """
    Which image stands for a reference.

    Args:
        images: Patterns of references, such as `postgres:18*`, the first that fits being taken.
    """

    def __init__(self, images: Mapping[str, Image]) -> None:
        self._images = dict(images)

    @staticmethod
    def usual() -> Images:
        """Return those that the overlays need: this source tree, the stores, and a collector's stand-in."""
        return Images(
            {
                "headrace:*": source(),
                "*/headrace:*": source(),
                "postgres:18*": postgres(),
                "valkey/valkey:9*": valkey(),
                "*opentelemetry-collector*": _script("collector.py"),
            }
        )

    def __or__(self, other: Mapping[str, Image]) -> Images:
        """Return these with others before them."""
        return Images({**other, **{each: image for each, image in self._images.items() if each not in other}})

    def find(self, reference: str) -> Image:
        """
        Return the image for a reference.

        Raises:
            RehearsalError: There is none.
        """
        plain = reference.partition("@")[0].removeprefix("docker.io/").removeprefix("library/")
        for pattern, image in self._images.items():
            if fnmatchcase(plain, pattern) or fnmatchcase(reference, pattern):
                return image
        raise RehearsalError(f"no image here stands for {reference}; there are {', '.join(self._images)}")

    def encoded(self) -> list[list[Any]]:
        """Return them as JSON has it."""
        return [[pattern, dataclasses.asdict(image)] for pattern, image in self._images.items()]

    @staticmethod
    def decoded(raw: Sequence[Sequence[Any]]) -> Images:
        """Return what `encoded` was made of."""
        return Images({pattern: Image(**_tuples(image)) for pattern, image in raw})


def _tuples(raw: dict[str, Any]) -> dict[str, Any]:
    return {
        key: tuple(tuple(item) if isinstance(item, list) else item for item in value)
        if isinstance(value, list)
        else value
        for key, value in raw.items()
    }
