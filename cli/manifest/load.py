"""Files into checked models, with every mistake told by its line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from cli.manifest.marks import Document, Mark, Problem, YamlError, read_yaml
from cli.manifest.models import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pydantic_core import ErrorDetails

    from cli.manifest.marks import Path as Where

__all__ = ["Loaded", "files_of", "load"]

_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})


@dataclass(frozen=True, slots=True)
class Loaded:
    """
    A file that was read.

    Attributes:
        document: What stands in it, and where.
        manifest: The same, checked.
        directory: What paths in it start from.
    """

    document: Document
    manifest: Manifest
    directory: Path


def files_of(paths: Iterable[Path]) -> tuple[list[Path], list[Problem]]:
    """Give the files among some paths, those of a directory by name, and what is wrong with the others."""
    found: list[Path] = []
    problems: list[Problem] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(each for each in path.iterdir() if each.suffix in _SUFFIXES and each.is_file())
            found += inside
            if not inside:
                problems.append(Problem(Mark(str(path), 1, 1), "there is no YAML or JSON file in it"))
        else:
            found.append(path)
    return list(dict.fromkeys(found)), problems


def load(path: Path, text: str | None = None) -> tuple[Loaded | None, list[Problem]]:
    """
    Read a file.

    Args:
        path: Where it is.
        text: What stands in it, if that was read already.

    Returns:
        It, or everything that is wrong with it.
    """
    name = str(path)
    try:
        document = read_yaml(path.read_text() if text is None else text, name)
    except YamlError as error:
        return None, error.problems
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        return None, [Problem(Mark(name, 1, 1), f"this cannot be read: {reason}")]
    try:
        manifest = Manifest.model_validate(document.value)
    except ValidationError as error:
        return None, _problems(error, document)
    return Loaded(document, manifest, path.absolute().parent), []


def _problems(error: ValidationError, document: Document) -> list[Problem]:
    """Give what the models found, at the places where it stands."""
    details = error.errors(include_url=False, include_context=False, include_input=True)
    groups: dict[tuple[Where, str], list[tuple[Where, ErrorDetails]]] = {}
    for detail in details:
        where, branch, at = _where(detail["loc"], document.value)
        groups.setdefault((at, branch), []).append((where, detail))
    # Of the forms that a value may have, tell what is wrong with the one that it is nearest to.
    fewest: dict[Where, str] = {}
    for (at, branch), found in groups.items():
        best = fewest.get(at)
        if branch and (best is None or len(found) < len(groups[(at, best)])):
            fewest[at] = branch
    return sorted(
        {
            _problem(where, detail, document)
            for (at, branch), found in groups.items()
            if not branch or fewest[at] == branch
            for where, detail in found
        }
    )


def _where(location: tuple[int | str, ...], value: Any) -> tuple[Where, str, Where]:
    """
    Find a location in what was read.

    Returns:
        The path; and, for a value that may have several forms, the form and the path of that value.
    """
    path: list[int | str] = []
    branch, here = "", value
    at: Where = ()
    for index, part in enumerate(location):
        is_last = index == len(location) - 1
        if _has(here, part):
            here = here[part]
        elif isinstance(here, dict) and is_last and isinstance(part, str) and not part[:1].isupper():
            here = None  # a member that is missing
        else:
            if not branch:
                branch, at = str(part), tuple(path)
            continue
        path.append(part)
    return tuple(path), branch, at


def _has(value: Any, part: int | str) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, dict) and part in value


def _problem(where: Where, detail: ErrorDetails, document: Document) -> Problem:
    kind, name = detail["type"], ".".join(str(part) for part in where)
    if kind == "missing":
        parent = where[:-1]
        return Problem(document.mark(parent), f"{where[-1] if where else 'something'} is missing here")
    if kind == "extra_forbidden":
        return Problem(document.mark(where, key=True), f"{name}: there is no such field")
    text = detail["msg"].removeprefix("Value error, ").rstrip(".")
    text = text[:1].lower() + text[1:]
    return Problem(document.mark(where), f"{name}: {text}" if name else text)
