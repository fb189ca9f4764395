"""Objects that commands take from files, from standard input and from `--set path=JSON`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from cli.rpc import fail

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["apply_sets", "read_document", "read_text"]


def read_text(path: Path) -> str:
    """Read a file, or standard input for `-`; end the program when it cannot be read."""
    if str(path) == "-":
        return sys.stdin.read()
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        fail(f"{path} cannot be read: {reason}.", status=2)


def read_document(path: Path) -> Any:
    """Read YAML or JSON; end the program, with the line, when it is neither."""
    from cli.manifest.marks import YamlError, read_yaml

    try:
        return read_yaml(read_text(path), str(path)).value
    except YamlError as error:
        fail("\n".join(str(problem) for problem in error.problems), status=2)


def apply_sets(target: dict[str, Any], sets: Iterable[str]) -> None:
    """
    Change an object by texts such as `spend_limits.enabled=true`; end the program when one is none.

    A value that is not JSON is text.
    """
    for text in sets:
        path, found, raw = text.partition("=")
        if not found or not path:
            fail(f"--set {text}: write path=JSON, such as retry_delay=500.", status=2)
        try:
            value = json.loads(raw)
        except ValueError:
            value = raw
        _put(target, path.split("."), value, text)


def _put(target: Any, parts: list[str], value: Any, text: str) -> None:
    here = target
    for part in parts[:-1]:
        below = here[int(part)] if isinstance(here, list) and _is_index(part, here) else None
        if isinstance(here, dict):
            below = here.get(part)
            if below is None:
                below = here[part] = {}
        if not isinstance(below, dict | list):
            fail(f"--set {text}: there is nothing below {part}.", status=2)
        here = below
    last = parts[-1]
    if isinstance(here, dict):
        here[last] = value
    elif _is_index(last, here):
        here[int(last)] = value
    elif last == str(len(here)):
        here.append(value)
    else:
        fail(f"--set {text}: {last} is no place in a list of {len(here)}.", status=2)


def _is_index(part: str, items: list[Any]) -> bool:
    return part.isdigit() and int(part) < len(items)
