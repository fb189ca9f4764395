"""The Dockerfile and .dockerignore, read as far as tests need: stages, instructions, what COPY copies."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.repo.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Stage", "allowed", "copy", "stages"]

_CONTINUED = re.compile(r"\\\n")
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """
    A build stage.

    Attributes:
        name: After AS; empty for the last one.
        base: What it is made from, variables filled in.
        instructions: Word and the rest of the line, in order.
    """

    name: str
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all_of(self, word: str) -> list[str]:
        """Return what stands after each instruction of a kind."""
        return [rest for found, rest in self.instructions if found == word]

    def listed(self, word: str) -> list[str]:
        """Return the exec form after the one instruction of a kind."""
        (rest,) = self.all_of(word)
        listed: list[str] = json.loads(rest)
        return listed

    def environment(self, arguments: dict[str, str]) -> dict[str, str]:
        """Return what ENV sets, build arguments filled in; other variables stay as they are."""
        found = {}
        for rest in self.all_of("ENV"):
            for name, value in re.findall(r'(\w+)=("[^"]*"|\S+)', rest):
                found[name] = _VARIABLE.sub(lambda m: arguments.get(m[1], m[0]), value.strip('"'))
        return found


def stages() -> list[Stage]:
    """Return the stages of the Dockerfile, in order."""
    lines = _CONTINUED.sub(" ", _without_comments((ROOT / "Dockerfile").read_text())).splitlines()
    found: list[Stage] = []
    defaults: dict[str, str] = {}
    for line in filter(str.strip, lines):
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(name=name, base=_VARIABLE.sub(lambda m: defaults.get(m[1], m[0]), base)))
        elif not found:
            key, _, value = rest.partition("=")
            defaults[key] = value
        else:
            found[-1].instructions.append((word, rest.strip()))
    return found


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def allowed(path: str) -> bool:
    """Say whether .dockerignore lets the build see a file; the last pattern that fits decides."""
    seen = True
    parts = path.split("/")
    parents = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        if any(_fits(pattern.lstrip("!").rstrip("/"), parent) for parent in parents):
            seen = pattern.startswith("!")
    return seen


def _fits(pattern: str, path: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch.fnmatchcase(path.rpartition("/")[2], pattern[3:])
    # A star does not reach over a slash.
    return pattern.count("/") == path.count("/") and fnmatch.fnmatchcase(path, pattern)


def copy(stage: Stage, target: Path, sources: list[Path]) -> list[str]:
    """
    Do a stage's COPYs from the build's context into a directory that stands for its WORKDIR.

    Args:
        stage: The stage.
        target: Where to copy to.
        sources: The files of the repository.

    Returns:
        The paths that were copied, relative to the repository.
    """
    copied = []
    for rest in stage.all_of("COPY"):
        what, where = rest.split()
        name = what.rstrip("/")
        for path in sources:
            relative = str(path.relative_to(ROOT))
            if (relative == name or relative.startswith(f"{name}/")) and allowed(relative):
                place = target / where / relative.removeprefix(name).lstrip("/")
                place = target / where / path.name if relative == name else place
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, place)
                copied.append(relative)
    return copied
