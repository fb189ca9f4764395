"""What a route looks at of a request: fields of its body, its headers and its metadata."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import orjson

from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.router.core.engine.pattern import Effort

__all__ = ["Asked", "Field", "Input", "read_field"]

_MOST_VALUES: Final = 1000
_LONGEST_SHOWN: Final = 60


class Input(StrEnum):
    """A part of a request that only some routes look at, by the first name of its fields."""

    BODY = "body"
    HEADERS = "headers"
    METADATA = "metadata"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """
    A place in a request.

    Attributes:
        source: Which part of it.
        names: The way into a body; of a header, and of metadata, one name.
    """

    source: Input
    names: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join((self.source, *self.names))


def read_field(text: str) -> Field:
    """Return the field that a text names; one that was checked."""
    first, _, rest = text.partition(".")
    source = Input(first)
    if source is Input.HEADERS:
        rest = rest.lower()
    # Headers and metadata are flat, so a dot in a name is a part of it.
    return Field(source=source, names=tuple(rest.split(".")) if source is Input.BODY else (rest,))


@dataclass(slots=True, kw_only=True)
class Asked:
    """
    A request, as far as it was told.

    Attributes:
        account_id: Whose route.
        given: What was told; the rest is not known.
        body: As it came.
        headers: By name in lower case.
    """

    account_id: str
    given: frozenset[Input] = frozenset()
    body: bytes = b""
    headers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    _parsed: list[Any] = field(default_factory=list)

    def values(self, place: Field, effort: Effort) -> Sequence[Any]:
        """
        Return what is at a place: nothing, one value, or several.

        Several are the values of a header that is there more than once, the items of an array, and what the
        objects in an array have under a name; of these, a thousand are looked at.

        Raises:
            ExhaustedError: There is too much to be looked at.
            GatewayError: INVALID_REQUEST; the body is no JSON.
        """
        if place.source is Input.METADATA:
            value = self.metadata.get(place.names[0])
            return () if value is None else (value,)
        if place.source is Input.HEADERS:
            return self.headers.get(place.names[0], ())
        return _spread(_within([self._json()], place.names, effort), effort)

    def single(self, place: Field, effort: Effort) -> str | None:
        """
        Return what is at a place as a text; None when there is nothing, or no single plain value.

        Raises: As `values` does.
        """
        found = self.values(place, effort)
        if len(found) != 1 or found[0] is None or isinstance(found[0], list | dict):
            return None
        value = found[0]
        return value if isinstance(value, str) else orjson.dumps(value).decode()

    def shown(self, place: Field, effort: Effort) -> str:
        """Say what is at a place, to be put behind it. What may hold a prompt or a secret is not said."""
        if not self.values(place, effort):
            return ", which is missing"
        if place.source is not Input.METADATA:
            return ""
        text = self.metadata[place.names[0]]
        cut = text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
        return f", which is {orjson.dumps(cut).decode()}"

    def _json(self) -> Any:
        if not self._parsed:
            try:
                self._parsed.append(orjson.loads(self.body) if self.body else None)
            except orjson.JSONDecodeError:
                raise GatewayError(
                    Reason.INVALID_REQUEST, "The route looks at the body, which is no JSON.", param="body"
                ) from None
        return self._parsed[0]


def _within(found: list[Any], names: Sequence[str], effort: Effort) -> list[Any]:
    """Go down by names: into objects, into arrays by index, and into each object of an array."""
    for name in names:
        below: list[Any] = []
        for value in found:
            if isinstance(value, dict):
                if name in value:
                    below.append(value[name])
            elif isinstance(value, list):
                if name.isdecimal() and name.isascii():
                    # An index of more digits than any array has items is none.
                    below += value[int(name) : int(name) + 1] if len(name) < 10 else ()
                    continue
                looked_at = value[:_MOST_VALUES]
                effort.spend(len(looked_at))
                below += [item[name] for item in looked_at if isinstance(item, dict) and name in item]
        found = below[:_MOST_VALUES]
    return found


def _spread(found: list[Any], effort: Effort) -> list[Any]:
    """Put the items of arrays beside them."""
    if not any(isinstance(value, list) for value in found):
        return found
    spread: list[Any] = []
    for value in found:
        spread.append(value)
        if isinstance(value, list):
            spread += value[:_MOST_VALUES]
            effort.spend(len(value[:_MOST_VALUES]))
            if len(spread) >= _MOST_VALUES:
                break
    return spread
