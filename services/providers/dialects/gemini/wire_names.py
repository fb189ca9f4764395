"""
Names of members in JSON: Google's APIs take each in camel case and in snake case.
"""

from __future__ import annotations

import re
from typing import Any, Final

from services.providers.dialects.neutral.fields import need_dict
from services.providers.dialects.neutral.notes import invalid

__all__ = ["camel", "many", "need_camel"]

_UNDERSCORE: Final = re.compile(r"_([a-z0-9])")

Json = dict[str, Any]


def camel(source: Json) -> Json:
    """Return an object with its own members in camel case; what they hold stays as it is."""
    if not any("_" in name for name in source):
        return source
    renamed = {_UNDERSCORE.sub(_upper, name): value for name, value in source.items()}
    return {**renamed, **{name: value for name, value in source.items() if "_" not in name}}


def need_camel(value: Any, path: str) -> Json:
    """Take a value that must be an object, its members in camel case."""
    return camel(need_dict(value, path))


def many(source: Json, name: str, path: str = "") -> list[Any]:
    """Read a list, for which Google takes a single object too; empty when absent."""
    value = source.get(name)
    if isinstance(value, dict):
        return [value]
    if value is not None and not isinstance(value, list):
        invalid(path + name, "must be a list")
    return value or []


def _upper(match: re.Match[str]) -> str:
    return match.group(1).upper()
