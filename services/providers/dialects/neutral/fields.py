"""
Checked reading of the members of a request's JSON. Every refusal names the parameter at fault.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import orjson

from services.providers.dialects.neutral.notes import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "dump_body",
    "get_bool",
    "get_dict",
    "get_int",
    "get_list",
    "get_number",
    "get_str",
    "load_body",
    "need_dict",
    "need_str",
]


def load_body(body: bytes) -> dict[str, Any]:
    """
    Parse a request body that must be a JSON object.

    Raises:
        GatewayError: INVALID_REQUEST when it is not.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        invalid("body", f"is not valid JSON: {error.msg}")
    if not isinstance(document, dict):
        invalid("body", "must be a JSON object")
    return document


def dump_body(document: dict[str, Any]) -> bytes:
    """
    Write a request body.

    Raises:
        GatewayError: INVALID_REQUEST when it nests too deeply, or holds a number, for JSON's writer.
    """
    try:
        return orjson.dumps(document)
    except TypeError:  # orjson.JSONEncodeError is one
        invalid("body", "nests too deeply or holds a number that is too large")


def get_str(source: Mapping[str, Any], name: str, path: str = "") -> str | None:
    """Read an optional string."""
    value = source.get(name)
    if value is not None and not isinstance(value, str):
        invalid(path + name, "must be a string")
    return value


def need_str(source: Mapping[str, Any], name: str, path: str = "") -> str:
    """Read a string that must be there."""
    value = get_str(source, name, path)
    if not value:
        invalid(path + name, "must be a non-empty string")
    return value


def get_int(source: Mapping[str, Any], name: str, path: str = "") -> int | None:
    """Read an optional whole number."""
    value = source.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if not isinstance(value, float) or not value.is_integer():
        invalid(path + name, "must be an integer")
    return int(value)


def get_number(source: Mapping[str, Any], name: str, low: float, high: float, path: str = "") -> float | None:
    """Read an optional number within bounds."""
    value = source.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        invalid(path + name, "must be a number")
    if not low <= value <= high:
        invalid(path + name, f"must be between {low:g} and {high:g}")
    return value


def get_bool(source: Mapping[str, Any], name: str, path: str = "") -> bool | None:
    """Read an optional truth value."""
    value = source.get(name)
    if value is not None and not isinstance(value, bool):
        invalid(path + name, "must be true or false")
    return value


def get_list(source: Mapping[str, Any], name: str, path: str = "") -> list[Any]:
    """Read an optional list; empty when absent."""
    value = source.get(name)
    if value is not None and not isinstance(value, list):
        invalid(path + name, "must be a list")
    return value or []


def get_dict(source: Mapping[str, Any], name: str, path: str = "") -> dict[str, Any] | None:
    """Read an optional object."""
    value = source.get(name)
    if value is not None and not isinstance(value, dict):
        invalid(path + name, "must be an object")
    return value


def need_dict(value: Any, path: str) -> dict[str, Any]:
    """Take a value that must be an object."""
    if not isinstance(value, dict):
        invalid(path, "must be an object")
    return value
