"""
A value that must not be shown.

Wrapped at the border, revealed only where it is used, so that a log line, a traceback or a `repr` of the
object holding it never prints it.
"""

from __future__ import annotations

import hmac
from typing import Final

MASK: Final = "***"


class Secret:
    """A string that prints as a mask. `reveal` gives the string itself."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the string itself. Call it where the value leaves for its destination, not before."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))
