"""
Finds the end of a JSON object that comes in pieces, without keeping them.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["ObjectEnd"]

# All that can begin or end an object, a list or a string.
_MARKS: Final = re.compile(r'["{}\[\]]')
# The end of a string, or a backslash with what it escapes.
_IN_STRING: Final = re.compile(r'["\\]')


class ObjectEnd:
    """
    Follows one JSON object through its pieces, each of them once.

    It tells where the object ends, not whether it is right: clients and `orjson` judge that.
    """

    __slots__ = ("_begun", "_deep", "_escaped", "_quoted")

    def __init__(self) -> None:
        self._begun = False
        self._deep = 0
        self._quoted = False
        self._escaped = False

    @property
    def reached(self) -> bool:
        """True when an object began and ended, so that nothing of it can be missing."""
        return self._begun and self._deep <= 0 and not self._quoted

    def take(self, piece: str) -> None:
        """Follow the next piece."""
        at = 0
        if self._escaped and piece:
            self._escaped, at = False, 1
        while at < len(piece):
            found = (_IN_STRING if self._quoted else _MARKS).search(piece, at)
            if found is None:
                return
            at = found.end()
            match found.group():
                case '"':
                    self._quoted = not self._quoted
                case "\\":
                    self._escaped = at == len(piece)
                    at += 1
                case "{" | "[" as mark:
                    self._begun = self._begun or mark == "{"
                    self._deep += 1
                case _:
                    self._deep -= 1
