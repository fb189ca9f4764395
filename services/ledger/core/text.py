"""
Text that entries are found by, made when they are recorded.

Databases differ in how they fold case and take apart JSON, so neither is left to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["folded", "joined", "plain", "within"]

_SEPARATOR: Final = "\x1f"
_NO_TEXT: Final = str.maketrans({"\x00": "\ufffd", _SEPARATOR: "\ufffd"})


def plain(text: str) -> str:
    """Replace what PostgreSQL cannot store, or what separates the parts of joined text."""
    return text if text.isprintable() else text.translate(_NO_TEXT)


def joined(parts: Iterable[str]) -> str:
    """Join texts so that each can be found again, as a whole by `within` or by a part of it."""
    found = [plain(part) for part in parts]
    return f"{_SEPARATOR}{_SEPARATOR.join(found)}{_SEPARATOR}" if found else ""


def within(text: str) -> str:
    """Give what stands in joined texts that have this one among their parts."""
    return f"{_SEPARATOR}{plain(text)}{_SEPARATOR}"


def folded(text: str) -> str:
    """Give plain or joined text without difference of case."""
    return text.casefold()
