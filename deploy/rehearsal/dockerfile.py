"""
Reads what the `Dockerfile` says of Headrace's image: what it holds, its variables, directory, user and entry
point.

Only what the rehearsal needs is read: the last stage, the `COPY`s of its stage `program`, and
`.dockerignore`.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from deploy.rehearsal.errors import RehearsalError
from deploy.rehearsal.images import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["parse", "read_dockerfile"]

_APP: Final = "/app"
_PROGRAM: Final = "program"
_VARIABLE: Final = re.compile(r"\$\{([A-Z_]+)\}")
_ASSIGNMENT: Final = re.compile(r'([A-Z_0-9]+)=("[^"]*"|\S+)')


@dataclass(frozen=True, kw_only=True, slots=True)
class Instructions:
    """What matters of a Dockerfile."""

    entrypoint: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    workdir: str
    uid: int
    gid: int
    stop_signal: int
    copied: tuple[str, ...]


def _logical_lines(text: str) -> Iterator[tuple[str, str]]:
    joined = ""
    for line in text.splitlines():
        if line.lstrip().startswith("#") or not line.strip():
            continue
        joined += line.rstrip("\\").strip() + " "
        if not line.endswith("\\"):
            instruction, _, rest = joined.strip().partition(" ")
            yield instruction.upper(), rest.strip()
            joined = ""


def parse(text: str) -> Instructions:
    """
    Return what matters of a Dockerfile.

    Raises:
        RehearsalError: It has no entry point.
    """
    stage, copied = "", []
    arguments: dict[str, str] = {}
    env: dict[str, str] = {}
    last: dict[str, str] = {}
    for instruction, rest in _logical_lines(text):
        if instruction == "FROM":
            stage = rest.split()[-1] if " AS " in rest.upper() else ""
            env, last = {}, {}
        elif instruction == "ARG":
            name, _, default = rest.partition("=")
            arguments[name] = default or arguments.get(name, "")
        elif instruction == "ENV":
            for name, value in _ASSIGNMENT.findall(rest):
                known = {**arguments, "PATH": "/usr/local/bin:/usr/bin:/bin", **env}
                env[name] = _VARIABLE.sub(lambda match: known.get(match[1], ""), value.strip('"'))  # noqa: B023 - at once
        elif instruction == "COPY" and stage == _PROGRAM:
            copied += rest.split()[:-1]
        else:
            last[instruction] = rest
    if "ENTRYPOINT" not in last:
        raise RehearsalError("the Dockerfile's last stage has no ENTRYPOINT")
    uid, _, gid = last.get("USER", "0").partition(":")
    return Instructions(
        entrypoint=tuple(json.loads(last["ENTRYPOINT"])),
        env=tuple(env.items()),
        workdir=last.get("WORKDIR", "/"),
        uid=int(uid),
        gid=int(gid or uid),
        stop_signal=signal.Signals[last.get("STOPSIGNAL", "SIGTERM")],
        copied=tuple(copied),
    )


def read_dockerfile(tree: Path, environment: Path) -> Image:
    """
    Return the image that the Dockerfile of a source tree describes.

    Args:
        tree: The source tree.
        environment: The `.venv` that stands for what it installs.

    Raises:
        RehearsalError: There is no Dockerfile, or it copies what is not there.
    """
    file = tree / "Dockerfile"
    if not file.exists():
        raise RehearsalError(f"{tree} has no Dockerfile")
    found = parse(file.read_text())
    ignore = tree / ".dockerignore"
    patterns = ignore.read_text().splitlines() if ignore.exists() else []
    directories = [(f"{_APP}/{name}", str(tree / name)) for name in _seen(found.copied, patterns, tree)]
    directories += [(f"{_APP}/.venv", str(environment)), *_python(environment)]
    return Image(
        entrypoint=found.entrypoint,
        env=found.env,
        directories=tuple(directories),
        workdir=found.workdir,
        uid=found.uid,
        gid=found.gid,
        stop_signal=found.stop_signal,
    )


def _seen(copied: tuple[str, ...], patterns: list[str], tree: Path) -> Iterator[str]:
    """Yield what a build sees of what it copies: of a directory that is let in by parts, those parts."""
    let_in = [pattern[1:].strip("/") for pattern in patterns if pattern.startswith("!")]
    for source in copied:
        name = source.strip("/")
        parts = (
            [name]
            if name in let_in or not patterns
            else [each for each in let_in if each.startswith(name + "/")]
        )
        if not parts:
            raise RehearsalError(f"the Dockerfile copies {name}, and .dockerignore lets nothing of it in")
        for part in parts:
            if not (tree / part).exists():
                raise RehearsalError(f"the Dockerfile copies {part}, which is not there")
            yield part


def _python(environment: Path) -> list[tuple[str, str]]:
    """Return the directories of the interpreter that an environment points to, at their own places."""
    interpreter = (environment / "bin" / "python").resolve()
    prefix = interpreter.parent.parent
    if str(prefix) in ("/usr", "/usr/local"):
        # Its library is among the machine's, which every image here has.
        linked = Path(sys.base_prefix, "bin", interpreter.name)
        return [(str(path), str(interpreter)) for path in {interpreter, linked}]
    return [(str(prefix), str(prefix))]
