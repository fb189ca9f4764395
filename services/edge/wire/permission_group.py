"""
Permissions as the management API names them: groups with an id and a name, as the public product has them.

The ids are ours and never change, since clients write them into files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from headrace.auth.v1 import token_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.auth.v1.token_pb2 import Permission

__all__ = ["GROUPS", "SCOPE", "Group", "by_permission", "find", "shown"]

SCOPE: Final = "com.cloudflare.api.account"
_CATEGORY: Final = "ai_and_machine_learning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """
    A permission as clients see it.

    Attributes:
        id: Thirty-two hexadecimal digits.
        name: Name on the API.
        label: Name that people are shown, which is taken too.
        permission: What it stands for.
    """

    id: str
    name: str
    label: str
    permission: Permission.ValueType


GROUPS: Final = (
    Group(
        id="6f0c3a5e7d1b4c2f9a8e5b6d4c3f2a10",
        name="AI Gateway Run",
        label="AI Gateway Run",
        permission=token_pb2.PERMISSION_AI_GATEWAY_RUN,
    ),
    Group(
        id="1d9b7f4e2c6a4835b0f1e8d7c6a5b420",
        name="AI Gateway Read",
        label="AI Gateway Read",
        permission=token_pb2.PERMISSION_AI_GATEWAY_READ,
    ),
    Group(
        id="a37e5c1f9b2d4e68835a7c0d9e1f4b30",
        name="AI Gateway Write",
        label="AI Gateway Edit",
        permission=token_pb2.PERMISSION_AI_GATEWAY_EDIT,
    ),
    Group(
        id="c8421e6fa05d4b97961b3d7e5f8a2c40",
        name="Workers AI Read",
        label="Workers AI Read",
        permission=token_pb2.PERMISSION_WORKERS_AI_READ,
    ),
    Group(
        id="e95d8b3c7f1a4062bd4c6e9f0a7b1d50",
        name="Headrace Operator",
        label="Headrace Operator",
        permission=token_pb2.PERMISSION_OPERATOR,
    ),
)
_BY_PERMISSION: Final = {group.permission: group for group in GROUPS}


def by_permission(permission: Permission.ValueType) -> Group | None:
    """Give the group of a permission; None for one that a newer service has."""
    return _BY_PERMISSION.get(permission)


def find(*, group_id: str | None = None, name: str | None = None) -> Group | None:
    """Find a group by its id, else by its name; None where there is none, or the two disagree."""
    if group_id is None and name is None:
        return None
    for group in GROUPS:
        if group_id in (None, group.id) and (name is None or name in (group.name, group.label)):
            return group
    return None


def shown(
    selectable: Iterable[Permission.ValueType], *, name: str = "", scope: str = ""
) -> list[dict[str, Any]]:
    """
    Give groups as JSON.

    Args:
        selectable: What the caller may give.
        name: Only the group of this name; it may be percent-encoded once more than a query is.
        scope: Only groups for this kind of resource, likewise.
    """
    allowed = frozenset(selectable)
    return [
        {
            "id": group.id,
            "name": group.name,
            "scopes": [SCOPE],
            "category": _CATEGORY,
            "is_selectable": group.permission in allowed,
        }
        for group in GROUPS
        if (not name or not {name, unquote(name)}.isdisjoint({group.name, group.label}))
        and (not scope or unquote(scope) == SCOPE)
    ]
