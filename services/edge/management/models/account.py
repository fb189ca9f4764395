"""
Accounts as the management API takes and shows them.

Source of the member names: the public product's account object; `id` of a new one, `unified`,
`reference_kinds`, `include_deleted` and `deleted_at` are ours.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from services.edge.management.models.forms import Body, PageQuery, ReadOnly, Shown

__all__ = ["Account", "AccountQuery", "CreateAccount", "DeletedAccount", "ReplaceAccount"]

_Name = Annotated[str, Field(min_length=1, max_length=120)]


class AccountQuery(PageQuery):
    """Which accounts to list."""

    name: Annotated[str, Field(max_length=120)] = ""
    """Only those of this name."""
    direction: Literal["asc", "desc"] = "asc"
    """Order of their ids."""
    include_deleted: bool = False
    """Deleted ones too, whose ids are not used again. For operators."""


class CreateAccount(Body):
    """An account to be made."""

    name: _Name
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    """Its id, which stands in URLs. Default: one is made up."""
    unified: bool = False
    """Whether the operator's own keys are used where it has none."""

    reference_kinds: ReadOnly
    # What the public product knows besides, and there is nothing of here.
    type: ReadOnly
    standalone: ReadOnly
    unit: ReadOnly


class ReplaceAccount(Body):
    """What an account is to be."""

    name: _Name
    unified: bool | None = None
    """Left out: it stays as it is."""

    reference_kinds: ReadOnly
    id: ReadOnly
    type: ReadOnly
    created_on: ReadOnly
    managed_by: ReadOnly
    settings: ReadOnly


class Account(Shown):
    """An account."""

    id: str
    name: str
    type: Literal["standard"]
    created_on: str
    unified: bool
    reference_kinds: list[str] = Field(default_factory=list)
    """Kinds of references to keys in other stores that it may use: `env`, `file`, `vault`."""
    deleted_at: str | None = None
    """When it was deleted; only one that was has it."""


class DeletedAccount(Shown):
    """The account that was deleted."""

    id: str
