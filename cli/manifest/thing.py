"""What a file wants and what an installation has, in one form, so that the two can be compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cli.manifest.marks import Mark
    from kit.secret import Secret

__all__ = ["Found", "Kind", "Place", "Reference", "Wanted"]


class Kind(IntEnum):
    """Kinds of things, in the order in which they are made; they are deleted in the other order."""

    ACCOUNT = 1
    PROVIDER = 2
    GATEWAY = 3
    KEY = 4
    ROUTE = 5
    TOKEN = 6

    @property
    def word(self) -> str:
        """Name for people."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where things of a kind are listed: an account, and a gateway for what belongs to one."""

    account: str
    gateway: str
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """
    Something that a file wants.

    Attributes:
        place: Where it is to be.
        name: What it is known by there; keys of a pool have the same.
        fields: What it is to be, as the API shows it.
        body: What is sent for it, apart from a secret.
        mark: Where the file says so.
        marks: Where it says each of its fields.
        secret: A key's own text, for one that this machine reads.
        write_to: File for the secret of a new token.
        said: Fields that the file names; the others have their defaults.
    """

    place: Place
    name: str
    fields: Mapping[str, Any]
    body: Mapping[str, Any]
    mark: Mark
    secret: Secret | None = None
    write_to: Path | None = None
    said: frozenset[str] = frozenset()
    marks: Mapping[str, Mark] = field(default_factory=dict)

    def mark_of(self, name: str) -> Mark:
        """Give the place of a field, or of the thing where the file leaves it out."""
        return self.marks.get(name, self.mark)


@dataclass(frozen=True, slots=True)
class Reference:
    """
    Something that a file names and does not say itself.

    Attributes:
        place: Where it is to be found.
        name: What it is known by there.
        mark: Where the file names it.
        by: What names it.
    """

    place: Place
    name: str
    mark: Mark
    by: Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """
    Something that an installation has.

    Attributes:
        place: Where it is.
        name: As of `Wanted`.
        id: What the API calls it.
        fields: What it is.
        shown: As the API shows it.
    """

    place: Place
    name: str
    id: str
    fields: Mapping[str, Any]
    shown: Mapping[str, Any] = field(repr=False)
