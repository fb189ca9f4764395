"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Level", "broken", "fine", "note"]


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """
    One thing that was looked at.

    Attributes:
        about: What was looked at, in a word or two.
        level: How bad it is.
        text: What was found.
        remedy: What to do about it; empty when nothing needs doing.
    """

    about: str
    level: Level
    text: str
    remedy: str = ""


def fine(about: str, text: str) -> Finding:
    """Say that all is well."""
    return Finding(about=about, level=Level.OK, text=text)


def note(about: str, text: str, remedy: str = "") -> Finding:
    """Say what may matter, though Headrace runs with it."""
    return Finding(about=about, level=Level.NOTE, text=text, remedy=remedy)


def broken(about: str, text: str, remedy: str) -> Finding:
    """Say what keeps Headrace from running."""
    return Finding(about=about, level=Level.BROKEN, text=text, remedy=remedy)
