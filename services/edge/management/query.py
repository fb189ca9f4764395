"""
Queries in the ways that clients write them.

Lists come as a parameter that is repeated, with `[]` after its name, or joined by commas where the model says
so. Everything is text here; the models make numbers of it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from multidict import MultiMapping

__all__ = ["plain_query"]

# Objects in lists: the members of each come as parameters of their own, in one of two ways.
_FILTERS = "filters."
_NUMBERED = re.compile(r"filters\[([0-9]{1,3})\]\[(key|operator|value)\](?:\[[0-9]*\])?")


def plain_query(query: MultiMapping[str]) -> dict[str, Any]:
    """Give a query as a dict: text for a parameter that stands once, a list for one that is repeated."""
    found: dict[str, Any] = {}
    parts: list[tuple[str, str]] = []
    numbered: dict[int, dict[str, Any]] = {}
    for name, text in query.items():
        if name.startswith(_FILTERS):
            parts.append((name.removeprefix(_FILTERS), text))
        elif match := _NUMBERED.fullmatch(name):
            _put(numbered.setdefault(int(match[1]), {}), match[2], text)
    for name in dict.fromkeys(query):
        if name.startswith(_FILTERS) or _NUMBERED.fullmatch(name):
            continue
        values = query.getall(name)
        if name.endswith("[]"):
            found[name.removesuffix("[]")] = values
        else:
            found[name] = values if len(values) > 1 else values[0]
    if parts or numbered:
        found["filters"] = [
            *_alone(found.get("filters")),
            *_objects(parts),
            *(numbered[at] for at in sorted(numbered)),
        ]
    return found


def _alone(given: Any) -> list[Any]:
    """Give filters that came as JSON beside others; what is none is left to the model to refuse."""
    if given is None:
        return []
    try:
        read = orjson.loads(given) if isinstance(given, str) else given
    except orjson.JSONDecodeError:
        read = given
    return read if isinstance(read, list) else [read]


def _put(found: dict[str, Any], name: str, text: str) -> None:
    if name == "value":
        found.setdefault(name, []).append(text)
    else:
        found[name] = text


def _objects(parts: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """
    Put objects together whose members came one by one, each as often as it has values.

    A member that comes again begins the next object, unless it goes on with the values that it began. Where
    all members come equally often they belong together by their numbers, in whatever order they came.
    """
    if not parts:
        return []
    columns: dict[str, list[str]] = {}
    for name, text in parts:
        columns.setdefault(name, []).append(text)
    if len({len(column) for column in columns.values()}) == 1:
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    found: list[dict[str, Any]] = [{}]
    before = ""
    for name, text in parts:
        if name in found[-1] and not (name == before == "value"):
            found.append({})
        _put(found[-1], name, text)
        before = name
    return found
