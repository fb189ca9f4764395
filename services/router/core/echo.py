"""A caller's own text, fit to stand in a message to that caller."""

from __future__ import annotations

__all__ = ["echo"]

_LONGEST = 64


def echo(text: str) -> str:
    """Return a text cut to a bounded length, without unprintable characters."""
    return "".join(character if character.isprintable() else "?" for character in text[:_LONGEST])
