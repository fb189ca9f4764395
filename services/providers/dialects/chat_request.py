"""
Reading of an OpenAI chat request for translation: checked values, and a record of what was changed.

Every refusal names the parameter at fault. What the target makes of a value is not decided here.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NoReturn

from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

# Notes travel in a response header, so their alphabet and number are bounded.
_NOTE_UNSAFE = re.compile(r"[^A-Za-z0-9_.:\[\]-]")
_MAX_NOTES = 32
_MAX_NOTE_CHARS = 80


class Notes:
    """
    Records what a translation dropped, clamped or emulated.

    Args:
        strict: Refuse the request instead.
    """

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._notes: dict[str, None] = {}

    def dropped(self, param: str) -> None:
        """Record a parameter that the target has no way to take."""
        self._add("dropped", param, "is not supported by this provider")

    def clamped(self, param: str, value: object) -> None:
        """Record a parameter that went on with another value."""
        self._add("clamped", param, "has a value that this provider does not take", f":{value}")

    def emulated(self, param: str) -> None:
        """Record a parameter that the target lacks and that is brought about by other means."""
        self._add("emulated", param, "is only emulated for this provider")

    def taken(self) -> tuple[str, ...]:
        """Return the notes in the order in which they were made."""
        return tuple(self._notes)

    def _add(self, kind: str, param: str, why: str, suffix: str = "") -> None:
        if self._strict:
            unsupported(param, why)
        if len(self._notes) < _MAX_NOTES:
            self._notes[f"{kind}={_NOTE_UNSAFE.sub('_', param + suffix)[:_MAX_NOTE_CHARS]}"] = None


def invalid(param: str, why: str) -> NoReturn:
    """Refuse a request that is malformed."""
    raise GatewayError(Reason.INVALID_REQUEST, f"'{_shown(param)}' {why}.", param=_shown(param))


def unsupported(param: str, why: str) -> NoReturn:
    """Refuse a request that the target cannot do."""
    raise GatewayError(Reason.UNSUPPORTED, f"'{_shown(param)}' {why}.", param=_shown(param))


def _shown(param: str) -> str:
    """Make a parameter's name, which the client may have chosen, fit for messages and metadata."""
    return _NOTE_UNSAFE.sub("_", param)[:_MAX_NOTE_CHARS]


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
    if isinstance(value, float) and value.is_integer():
        return int(value)
    invalid(path + name, "must be an integer")


def get_number(source: Mapping[str, Any], name: str, low: float, high: float) -> float | None:
    """Read an optional number within bounds."""
    value = source.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        invalid(name, "must be a number")
    if not low <= value <= high:
        invalid(name, f"must be between {low:g} and {high:g}")
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
