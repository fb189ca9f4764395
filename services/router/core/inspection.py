"""
What a gateway looks for in prompts and answers: `dlp` and `guardrails`. Only checked and kept so far.

Source of names and shapes: the public product's gateway object, both forms of `dlp`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from services.router.core.json_reader import Value

__all__ = ["CATEGORIES", "read_dlp", "read_guardrails"]

CATEGORIES: Final = (*(f"S{number}" for number in range(1, 14)), "P1")
_ACTIONS: Final = ("FLAG", "BLOCK")
_CHECKS: Final = ("REQUEST", "RESPONSE")
_MOST_NAMES: Final = 100
_LONGEST_NAME: Final = 256
_POLICY: Final = ("action", "check", "enabled", "id", "profiles")


def read_guardrails(value: Value) -> dict[str, Any]:
    """Read `{"prompt": {category: action}, "response": {…}}`."""
    members = value.members(("prompt", "response"), required=("prompt", "response"))
    return {phase: _categories(members[phase]) for phase in ("prompt", "response")}


def read_dlp(value: Value) -> dict[str, Any]:
    """Read either form: one action for all profiles, or policies."""
    if isinstance(value.raw, dict) and value.raw.get("policies") is not None:
        members = value.members(("enabled", "policies"), required=("enabled",))
        policies = [_policy(item) for item in members["policies"].items(most=_MOST_NAMES)]
        _check_ids(value, [policy["id"] for policy in policies])
        return {"enabled": members["enabled"].boolean(), "policies": policies}
    known = ("action", "enabled", "policies", "profiles")
    members = value.members(known, required=("enabled", "action", "profiles"))
    return {
        "enabled": members["enabled"].boolean(),
        "action": members["action"].one_of(*_ACTIONS),
        "profiles": members["profiles"].texts(most=_MOST_NAMES, longest=_LONGEST_NAME),
    }


def _categories(value: Value) -> dict[str, str]:
    members = value.members(CATEGORIES)
    return {name: members[name].one_of(*_ACTIONS) for name in CATEGORIES if name in members}


def _policy(value: Value) -> dict[str, Any]:
    members = value.members(_POLICY, required=_POLICY)
    return {
        "id": members["id"].text(most=_LONGEST_NAME, least=1),
        "enabled": members["enabled"].boolean(),
        "action": members["action"].one_of(*_ACTIONS),
        "check": _checks(members["check"]),
        "profiles": members["profiles"].texts(most=_MOST_NAMES, longest=_LONGEST_NAME),
    }


def _checks(value: Value) -> list[str]:
    found = {item.one_of(*_CHECKS) for item in value.items(most=len(_CHECKS))}
    return [check for check in _CHECKS if check in found]


def _check_ids(value: Value, ids: list[str]) -> None:
    for index, policy_id in enumerate(ids):
        if policy_id in ids[:index]:
            raise value.at("policies", str(index), "id").error("Another policy has this id.")
