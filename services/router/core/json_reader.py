"""
Reads JSON that somebody sent, and knows where in it one is.

Whatever is wrong is a `GatewayError` whose `param` is the dotted path, such as `spend_limits.rules.3.window`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from kit.errors import GatewayError, Reason
from services.router.core.echo import echo

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["Value", "parse"]

_LONGEST_PARAM: Final = 256
_DEEPEST: Final = 64


def parse(text: str, name: str, *, most_bytes: int) -> Value:
    """
    Return what a JSON text holds.

    Args:
        text: The text.
        name: What the value is called, which begins its paths.
        most_bytes: Longest text that is taken.

    Raises:
        GatewayError: INVALID_REQUEST; it is no JSON, or too long.
    """
    value = Value(None, name)
    if len(text) > most_bytes or len(text.encode()) > most_bytes:
        raise value.error(f"At most {most_bytes} bytes of JSON are taken.")
    try:
        raw = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise value.error("This is no JSON.") from None
    if _is_deep(raw):
        raise value.error(f"JSON is taken up to {_DEEPEST} levels deep.")
    return Value(raw, name)


def _is_deep(raw: Any) -> bool:
    """Tell whether a value is deeper than writers and readers of JSON will go along with."""
    level = [raw]
    for _ in range(_DEEPEST):
        level = [
            member
            for value in level
            if isinstance(value, dict | list)
            for member in (value.values() if isinstance(value, dict) else value)
        ]
    return bool(level)


class Value:
    """
    A value with the path to it.

    Args:
        raw: As `orjson` reads it.
        path: Dotted.
    """

    __slots__ = ("path", "raw")

    def __init__(self, raw: Any, path: str) -> None:
        self.raw = raw
        self.path = path

    def at(self, *names: str) -> Value:
        """Return the place of a member within this value, to say what is wrong there."""
        return Value(None, ".".join((self.path, *names)))

    def error(self, message: str) -> GatewayError:
        """Return the error about this value."""
        return GatewayError(Reason.INVALID_REQUEST, message, param=self.path[:_LONGEST_PARAM])

    def members(self, known: Collection[str], *, required: Collection[str] = ()) -> dict[str, Value]:
        """Return an object's members that are not null; one that is not known is an error."""
        found = self.mapping()
        for name, value in found.items():
            if name not in known:
                raise value.error(f"There is no member of this name. There are: {', '.join(sorted(known))}.")
        found = {name: value for name, value in found.items() if value.raw is not None}
        for name in required:
            if name not in found:
                raise self.at(name).error("This is required.")
        return found

    def mapping(self, *, most: int = 1000) -> dict[str, Value]:
        """Return an object's members, whatever their names."""
        if not isinstance(self.raw, dict):
            raise self.error("An object is expected.")
        if len(self.raw) > most:
            raise self.error(f"At most {most} members are taken.")
        return {name: Value(value, f"{self.path}.{echo(name)}") for name, value in self.raw.items()}

    def items(self, *, most: int, least: int = 0) -> Iterator[Value]:
        """Yield an array's items."""
        if not isinstance(self.raw, list):
            raise self.error("An array is expected.")
        if not least <= len(self.raw) <= most:
            raise self.error(f"{least} to {most} items are expected.")
        return (Value(item, f"{self.path}.{index}") for index, item in enumerate(self.raw))

    def text(self, *, most: int, least: int = 0) -> str:
        """Return a text of printable characters."""
        if not isinstance(self.raw, str):
            raise self.error("A string is expected.")
        if not (least <= len(self.raw) <= most and self.raw.isprintable()):
            raise self.error(f"{least} to {most} printable characters are expected.")
        return self.raw

    def texts(self, *, most: int, longest: int) -> list[str]:
        """Return an array of texts."""
        return [item.text(most=longest, least=1) for item in self.items(most=most)]

    def one_of(self, *choices: str) -> str:
        """Return a text that is one of a few."""
        if not (isinstance(self.raw, str) and self.raw in choices):
            raise self.error(f"One of these is expected: {', '.join(choices)}.")
        return self.raw

    def boolean(self) -> bool:
        """Return true or false."""
        if not isinstance(self.raw, bool):
            raise self.error("true or false is expected.")
        return self.raw

    def number(self, *, most: float, least: float = 0, above: float | None = None) -> int | float:
        """Return a number."""
        if isinstance(self.raw, bool) or not isinstance(self.raw, int | float):
            raise self.error("A number is expected.")
        if above is not None and not above < self.raw <= most:
            raise self.error(f"A number above {above:.15g} and up to {most:.15g} is expected.")
        if not least <= self.raw <= most:
            raise self.error(f"A number from {least:.15g} to {most:.15g} is expected.")
        return self.raw

    def integer(self, *, most: int, least: int = 0) -> int:
        """Return a whole number; some clients write it with a point."""
        found = self.number(most=most, least=least)
        if found != int(found):
            raise self.error("A whole number is expected.")
        return int(found)
