"""
Strict reading of a manifest: what nobody reads is an error.

Every field is read by name. One that means nothing on one machine is named with the reason, which is told to
the user; one that is left over when an object is `finish`ed stops the rehearsal, with its document and path.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from deploy.rehearsal.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Fields", "Notes", "quantity"]

T = TypeVar("T")

_QUANTITY: Final = re.compile(r"([0-9]*\.?[0-9]+)(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_UNITS: Final = {
    None: 1.0, "m": 0.001, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40,
}  # fmt: skip


def quantity(text: str | float) -> float:
    """
    Return a quantity as Kubernetes writes it: `64Mi`, `500m`, `2`.

    Raises:
        ValueError: It is none.
    """
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{text!r} is no quantity")
    return float(match[1]) * _UNITS[match[2]]


class Notes:
    """What was said that means nothing here: reasons by field, and how many documents say it."""

    def __init__(self) -> None:
        self._documents: dict[tuple[str, str], set[str]] = {}

    def add(self, document: str, path: str, reason: str) -> None:
        """Note one."""
        self._documents.setdefault((re.sub(r"\[\d+\]", "[]", path), reason), set()).add(document)

    def lines(self) -> list[str]:
        """Return one line for each field and reason."""
        return sorted(
            f"{path} ({len(documents)} document{'s' * (len(documents) > 1)}): {reason}"
            for (path, reason), documents in self._documents.items()
        )


class Fields:
    """
    One object of a manifest.

    Args:
        raw: The object.
        document: Kind and name of the document.
        path: Where in the document it is.
        notes: Where fields without a meaning are noted.
    """

    def __init__(self, raw: Any, document: str, path: str = "", notes: Notes | None = None) -> None:
        self._document = document
        self._path = path
        self._notes = notes or Notes()
        if not isinstance(raw, dict):
            raise ManifestError(document, path or "(top)", "is not an object")
        self._raw: dict[str, Any] = raw
        self._left = set(raw)

    def __contains__(self, name: str) -> bool:
        return self._raw.get(name) is not None

    def fail(self, name: str, problem: str) -> NoReturn:
        """Raise a `ManifestError` about a field."""
        raise ManifestError(self._document, self._at(name), problem)

    def take(self, name: str) -> Any:
        """Return a field of any type, None when it is not there."""
        self._left.discard(name)
        return self._raw.get(name)

    def text(self, name: str, default: str | None = None, *, one_of: Sequence[str] = ()) -> str:
        """Return a string; without a default it must be there."""
        value = self._typed(name, str, default)
        if one_of and value not in one_of:
            self.fail(name, f"{value!r} is not supported; {', '.join(one_of)} are")
        return value

    def number(self, name: str, default: int | None = None) -> int:
        """Return an integer."""
        return self._typed(name, int, default)

    def flag(self, name: str, default: bool | None = None) -> bool:  # noqa: FBT001 - the default of a flag
        """Return a boolean."""
        return self._typed(name, bool, default)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings, empty when it is not there."""
        values = self._typed(name, list, [])
        for number, value in enumerate(values):
            if not isinstance(value, str):
                self.fail(f"{name}[{number}]", "is not a string")
        return tuple(values)

    def mapping(self, name: str) -> dict[str, str]:
        """Return an object whose values are strings, empty when it is not there."""
        values: dict[str, Any] = self._typed(name, dict, {})
        for key, value in values.items():
            if not isinstance(value, str):
                self.fail(f"{name}.{key}", "is not a string")
        return dict(values)

    def size(self, name: str) -> float | None:
        """Return a quantity, or None when it is not there."""
        value = self.take(name)
        if value is None:
            return None
        try:
            return quantity(value)
        except ValueError as error:
            self.fail(name, str(error))

    def inside(self, name: str) -> Fields:
        """Return an object in it, empty when it is not there."""
        value = self.take(name)
        return Fields({} if value is None else value, self._document, self._at(name), self._notes)

    def maybe(self, name: str, read: Callable[[Fields], T]) -> T | None:
        """Read an object in it, if it is there, to its end."""
        if name not in self:
            self._left.discard(name)
            return None
        inner = self.inside(name)
        result = read(inner)
        inner.finish()
        return result

    def each(self, name: str, read: Callable[[Fields], T]) -> tuple[T, ...]:
        """Read a list of objects, each to its end."""
        return tuple(self._each(name, read))

    def _each(self, name: str, read: Callable[[Fields], T]) -> Iterator[T]:
        for number, value in enumerate(self._typed(name, list, [])):
            inner = Fields(value, self._document, self._at(f"{name}[{number}]"), self._notes)
            yield read(inner)
            inner.finish()

    def no_meaning(self, reason: str, *names: str) -> None:
        """Pass over fields that mean nothing on one machine, and note those that are there."""
        for name in names:
            if self.take(name) is not None:
                self._notes.add(self._document, self._at(name), reason)

    def only(self, reason: str, **allowed: object) -> None:
        """Take fields that may only have one value, since the rehearsal does nothing else."""
        for name, wanted in allowed.items():
            value = self.take(name)
            if value is not None and value != wanted:
                self.fail(name, f"{value!r}: {reason}")

    def finish(self) -> None:
        """
        Check that every field was read.

        Raises:
            ManifestError: One was not.
        """
        for name in sorted(self._left):
            self.fail(name, "the rehearsal does not know this field")

    def _at(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _typed(self, name: str, kind: type[T], default: T | None) -> T:
        value = self.take(name)
        if value is None:
            if default is None:
                self.fail(name, "is missing")
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.fail(name, f"{value!r} is not of type {kind.__name__}")
        return value
