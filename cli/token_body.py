"""Tokens between what people say on the command line or in a file and the objects of the management API."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["PermissionName", "permissions_of", "policies", "public_part", "request_ip"]

_RESOURCE: Final = "com.cloudflare.api.account."


class PermissionName(StrEnum):
    """What a token may do, as the command line says it."""

    RUN = "run"
    READ = "read"
    EDIT = "edit"
    WORKERS_AI_READ = "workers-ai-read"
    OPERATOR = "operator"


_GROUPS: Final[Mapping[str, str]] = {
    PermissionName.RUN: "AI Gateway Run",
    PermissionName.READ: "AI Gateway Read",
    PermissionName.EDIT: "AI Gateway Write",
    PermissionName.WORKERS_AI_READ: "Workers AI Read",
    PermissionName.OPERATOR: "Headrace Operator",
}
_NAMES: Final = {group: name for name, group in _GROUPS.items()}


def policies(permissions: Iterable[str], accounts: Sequence[str]) -> list[dict[str, Any]]:
    """Give the policies that allow the same on each of some accounts."""
    return [
        {
            "effect": "allow",
            "permission_groups": [{"name": _GROUPS[each]} for each in permissions],
            "resources": {f"{_RESOURCE}{account}": "*" for account in accounts},
        }
    ]


def permissions_of(token: Mapping[str, Any]) -> dict[str, list[str]]:
    """Give what a token allows, by account; a permission that this command does not know by its own name."""
    found: dict[str, list[str]] = {}
    for policy in token["policies"]:
        names = [str(_NAMES.get(group["name"], group["name"])) for group in policy["permission_groups"]]
        for resource in policy["resources"]:
            found.setdefault(resource.removeprefix(_RESOURCE), []).extend(names)
    return found


def request_ip(token: Mapping[str, Any]) -> dict[str, list[str]]:
    """Give the networks of a token: those it may be used from (`in`), and may not (`not_in`)."""
    found = (token.get("condition") or {}).get("request_ip") or {}
    return {name: list(found.get(name, ())) for name in ("in", "not_in")}


def public_part(text: str) -> str:
    """Return the id in a token, or the id itself."""
    parts = text.strip().split("_", 2)
    return parts[1] if len(parts) > 1 and parts[0] == "hr" else text.strip()
