"""
Reads members of events that may be of any type.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Json", "array_of", "index_of", "object_of", "text_of"]

Json = dict[str, Any]


def object_of(document: Json, name: str) -> Json:
    """Read a member that is an object; an empty one in place of anything else."""
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def array_of(document: Json, name: str) -> list[Json]:
    """Read a member that is an array of objects; what is none is left out."""
    value = document.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text_of(document: Json, name: str) -> str:
    """Read a member that is text; empty in place of anything else."""
    value = document.get(name)
    return value if isinstance(value, str) else ""


def index_of(document: Json, name: str = "index") -> int:
    """Read a place; -1 in place of anything else."""
    value = document.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else -1
