"""
How the text of one environment variable becomes a value, and a value becomes text again.

Which variables there are is `kit.config`'s.
"""

from __future__ import annotations

import math
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args, get_origin

from kit.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_SIZES = {"gib": 1 << 30, "mib": 1 << 20, "kib": 1 << 10, "b": 1}
_SECRET_FILE_MAX_BYTES = 64 << 10  # keys and certificates are far smaller; a wrong path often is not

Base = Literal["str", "int", "float", "bool", "path", "list", "choice", "secret"]
_BASES: dict[object, Base] = {
    str: "str",
    int: "int",
    float: "float",
    bool: "bool",
    Path: "path",
    Secret: "secret",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """
    What a setting holds.

    Attributes:
        base: The type, by name.
        optional: Whether None is possible.
        choices: The allowed words, for `choice`.
        is_size: Whether the number counts bytes, so that `64MiB` is understood.
    """

    base: Base
    optional: bool = False
    choices: tuple[str, ...] = ()
    is_size: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The range of a number, ends included."""

    at_least: float | None = None
    at_most: float | None = None

    def wants(self) -> str:
        """Say the range in words; empty when there is none."""
        if self.at_least is not None and self.at_most is not None:
            return f" from {self.at_least:g} to {self.at_most:g}"
        if self.at_least is not None:
            return f" of at least {self.at_least:g}"
        return "" if self.at_most is None else f" of at most {self.at_most:g}"

    def allow(self, number: float) -> bool:
        """Tell whether a number is inside."""
        return not (
            (self.at_least is not None and number < self.at_least)
            or (self.at_most is not None and number > self.at_most)
        )


def kind_of(annotation: object, *, env: str) -> Kind:
    """
    Return the kind for a field's type.

    Raises:
        TypeError: the field has a type that no setting can have; a defect of the config class.
    """
    optional = False
    if get_origin(annotation) in {typing.Union, types.UnionType}:
        rest = [argument for argument in get_args(annotation) if argument is not type(None)]
        optional = len(rest) < len(get_args(annotation))
        annotation = rest[0] if len(rest) == 1 else annotation
    if get_origin(annotation) is Literal:
        return Kind(base="choice", optional=optional, choices=tuple(get_args(annotation)))
    if get_origin(annotation) is tuple and get_args(annotation) == (str, ...):
        return Kind(base="list", optional=optional)
    base = _BASES.get(annotation)
    if base is None:
        raise TypeError(f"{env}: a setting cannot have type {annotation!r}")
    return Kind(base=base, optional=optional, is_size=base == "int" and env.endswith("_BYTES"))


def parse(text: str, kind: Kind, limits: Limits) -> object:
    """
    Turn a variable's text into a value.

    Raises:
        ValueError: the text is not such a value; the message says what would be right.
    """
    text = text.strip()
    value: object = text
    match kind.base:
        case "str":
            pass
        case "secret":
            value = Secret(text)
        case "path":
            value = Path(text).expanduser()
        case "list":
            value = tuple(part for raw in text.split(",") if (part := raw.strip()))
        case "bool":
            value = _parse_bool(text)
        case "choice":
            value = _parse_choice(text, kind.choices)
        case "int" | "float":
            value = _parse_number(text, kind, limits)
    return value


def _parse_bool(text: str) -> bool:
    lower = text.lower()
    if lower not in _TRUE | _FALSE:
        raise ValueError("must be true or false")
    return lower in _TRUE


def _parse_choice(text: str, choices: tuple[str, ...]) -> str:
    lower = text.lower()
    if lower not in choices:
        raise ValueError(f"must be one of {', '.join(choices)}")
    return lower


def _parse_number(text: str, kind: Kind, limits: Limits) -> float:
    try:
        number = _reader(kind)(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or not limits.allow(number):
        raise ValueError(f"must be {_number_words(kind)}{limits.wants()}")
    return number


def _reader(kind: Kind) -> Callable[[str], float]:
    if kind.base == "float":
        return float
    return _parse_size if kind.is_size else int


def _parse_size(text: str) -> int:
    lower = text.lower()
    for unit, factor in _SIZES.items():
        if lower.endswith(unit):
            return int(lower.removesuffix(unit)) * factor
    return int(lower)


def _number_words(kind: Kind) -> str:
    if kind.is_size:
        return "a number of bytes (such as 1048576 or 1MiB)"
    return "a whole number" if kind.base == "int" else "a number"


def read_secret_file(path: Path) -> Secret:
    """
    Return what a secret's file holds, without surrounding white space.

    Raises:
        ValueError: it cannot be read or is no secret; the message says why, without the content.
    """
    try:
        with path.expanduser().open("rb") as file:
            content = file.read(_SECRET_FILE_MAX_BYTES + 1)
        text = content.decode().strip()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ValueError("must be text in UTF-8") from None
    if not text:
        raise ValueError("is empty")
    if len(content) > _SECRET_FILE_MAX_BYTES:
        raise ValueError(f"is longer than {_SECRET_FILE_MAX_BYTES} bytes")
    return Secret(text)


def show(value: object, kind: Kind) -> str:
    """Return a value as an operator would write it; a secret as its mask."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    if kind.is_size and isinstance(value, int):
        return _show_size(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _show_size(number: int) -> str:
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number and number % factor == 0:
            return f"{number // factor}{unit}"
    return str(number)
