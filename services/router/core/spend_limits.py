"""
Limits of what may be spent through a gateway. Only checked and kept so far.

Source of names, bounds and defaults: the public product's `spend_limits`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from services.router.core.json_reader import Value

__all__ = ["MOST_RULES", "read_spend_limits"]

MOST_RULES: Final = 20
_MOST_USD: Final = 1_000_000_000
_MOST_S: Final = 2**31 - 1
_LONGEST_ID: Final = 64
_ID_CHARACTERS: Final = 8
_MOST_VALUES: Final = 100
_LONGEST_VALUE: Final = 256
# As many as a request's metadata may have.
_MOST_KEYS: Final = 5
_RULE: Final = (
    "enabled", "id", "limit", "limitType", "limit_type", "metadata", "model", "provider", "technique",
    "window",
)  # fmt: skip


def read_spend_limits(value: Value) -> dict[str, Any]:
    """Read `{"enabled": …, "rules": […]}` and fill in what was left out."""
    members = value.members(("enabled", "rules"))
    rules: list[dict[str, Any]] = []
    if "rules" in members:
        rules = [_rule(item) for item in members["rules"].items(most=MOST_RULES)]
        _name_rules(members["rules"], rules)
    return {"enabled": members["enabled"].boolean() if "enabled" in members else False, "rules": rules}


def _rule(value: Value) -> dict[str, Any]:
    members = value.members(_RULE, required=("limit", "window"))
    kind = members.get("limitType") or members.get("limit_type")
    if kind is None:
        raise value.at("limitType").error("This is required.")
    rule: dict[str, Any] = {
        "id": members["id"].text(most=_LONGEST_ID, least=1) if "id" in members else "",
        "enabled": members["enabled"].boolean() if "enabled" in members else True,
        "limitType": kind.one_of("cost"),
        "limit": members["limit"].number(above=0, most=_MOST_USD),
        "window": members["window"].integer(least=1, most=_MOST_S),
        "technique": members["technique"].one_of("sliding", "fixed") if "technique" in members else "sliding",
    }
    for name in ("model", "provider"):
        if name in members:
            rule[name] = _filter(members[name])
    if "metadata" in members:
        rule["metadata"] = _metadata(members["metadata"])
    return rule


def _metadata(value: Value) -> dict[str, Any]:
    found = {}
    for name, member in value.mapping(most=_MOST_KEYS).items():
        if not (0 < len(name) <= _LONGEST_VALUE and name.isprintable()):
            raise member.error(f"A key has 1 to {_LONGEST_VALUE} printable characters.")
        found[name] = _dimension(member)
    return found


def _dimension(value: Value) -> dict[str, Any]:
    members = value.members(("mode", "values"), required=("mode",))
    if members["mode"].one_of("partition", "filter") == "filter":
        return _filter(value)
    if "values" in members:
        raise members["values"].error("A partition has no values: it is for each of them.")
    return {"mode": "partition"}


def _filter(value: Value) -> dict[str, Any]:
    members = value.members(("mode", "values"), required=("mode", "values"))
    return {
        "mode": members["mode"].one_of("filter"),
        "values": members["values"].texts(most=_MOST_VALUES, longest=_LONGEST_VALUE),
    }


def _name_rules(value: Value, rules: list[dict[str, Any]]) -> None:
    """Refuse ids that stand twice, and give ids where there are none."""
    taken: set[str] = set()
    for index, rule in enumerate(rules):
        if rule["id"] and rule["id"] in taken:
            raise value.at(str(index), "id").error("Another rule has this id.")
        taken.add(rule["id"])
    for rule in rules:
        if not rule["id"]:
            rule["id"] = _free_id(rule, taken)
            taken.add(rule["id"])


def _free_id(rule: dict[str, Any], taken: set[str]) -> str:
    # Made from the rule, so that the same rules sent again are the same, and go on counting.
    content = orjson.dumps(rule, option=orjson.OPT_SORT_KEYS)
    for turn in range(len(taken) + 1):
        found = hashlib.sha256(content + b"\0" * turn).hexdigest()[:_ID_CHARACTERS]
        if found not in taken:
            return found
    raise AssertionError("there are more ids than rules")
