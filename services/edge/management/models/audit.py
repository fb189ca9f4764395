"""
The audit log as the management API shows it.

Source of the member names: the public product's audit log, version 1.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, Field

from services.edge.management.models.forms import PageQuery, Shown
from services.edge.management.models.moment import in_utc

__all__ = ["AuditLog", "AuditQuery"]


_Time = Annotated[datetime, AfterValidator(in_utc)]
_Word = Annotated[str, Field(max_length=256)]


def _nested(outer: str, inner: str) -> AliasChoices:
    """Name a member of an object in the ways that clients write it in a query."""
    return AliasChoices(f"{outer}.{inner}", f"{outer}[{inner}]")


class AuditQuery(PageQuery):
    """Which changes to list."""

    per_page: Annotated[int, Field(ge=1, le=1000)] = 100
    """Most entries on a page."""
    direction: Literal["asc", "desc"] = "desc"
    """`desc`: newest first."""
    id: _Word = ""
    """Only the entry of this id."""
    since: _Time | None = None
    """Only from then on; a date is its beginning in UTC."""
    before: _Time | None = None
    """Only before then."""
    action_type: Annotated[_Word, Field(validation_alias=_nested("action", "type"))] = ""
    """Only this action, such as `create`."""
    actor_email: Annotated[_Word, Field(validation_alias=_nested("actor", "email"))] = ""
    """Only by this user."""
    actor_ip: Annotated[_Word, Field(validation_alias=_nested("actor", "ip"))] = ""
    """Only from this address, or from this network in CIDR notation."""
    actor_id: Annotated[_Word, Field(validation_alias=_nested("actor", "id"))] = ""
    """Only by this token, or by this user."""
    resource_type: Annotated[_Word, Field(validation_alias=_nested("resource", "type"))] = ""
    """Only changes of this kind of thing, such as `gateway`."""
    resource_id: Annotated[_Word, Field(validation_alias=_nested("resource", "id"))] = ""
    """Only changes of the thing of this id."""


class AuditAction(Shown):
    """What was done."""

    type: str
    result: bool


class AuditActor(Shown):
    """Who did it."""

    id: str | None
    email: str | None
    ip: str | None
    type: Literal["user", "admin"]
    """`admin`: the operator, on the machine itself."""


class AuditSubject(Shown):
    """Something by its id."""

    id: str
    type: str | None = None


class AuditLog(Shown):
    """A change."""

    id: str
    action: AuditAction
    actor: AuditActor
    interface: str
    metadata: dict[str, str]
    newValue: str  # noqa: N815  # the public product's names
    newValueJson: dict[str, Any] | None  # noqa: N815
    oldValue: str  # noqa: N815
    oldValueJson: dict[str, Any] | None  # noqa: N815
    owner: AuditSubject
    resource: AuditSubject
    when: str
