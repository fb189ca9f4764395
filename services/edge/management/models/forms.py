"""
What all models of the management API have in common.

Types are strict in bodies, since JSON has types, and lax in queries, which are text. A member that nobody
knows is an error, so that a misspelt one is not passed over in silence.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from pydantic import ConfigDict, Field

from services.edge.management.models.described import Described

__all__ = ["Body", "Listed", "PageQuery", "Query", "ReadOnly", "Shown"]

T = TypeVar("T")


class Body(Described):
    """What a client sends."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, populate_by_name=True, defer_build=True
    )


class Query(Described):
    """What a client asks for after the question mark. Parameters that nobody knows are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True, defer_build=True)


class Shown(Described):
    """What a client is shown."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, defer_build=True)


class PageQuery(Query):
    """Which page of a list."""

    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Number of the page, from 1. One past the end is an empty list."""
    per_page: Annotated[int, Field(ge=1, le=100)] = 20
    """Most entries on a page."""

    @property
    def offset(self) -> int:
        """How many entries come before the page."""
        return (self.page - 1) * self.per_page


class Listed(Shown, Generic[T]):
    """A page of a list, as handlers give it."""

    items: list[T]
    total: int
    """How many there are on all pages."""
    info: dict[str, Any] = Field(default_factory=dict)
    """Further members of `result_info`."""


# A member that clients may send back as they were shown it; it is not read.
ReadOnly = Annotated[Any, Field(default=None, json_schema_extra={"readOnly": True})]
