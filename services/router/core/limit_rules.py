"""
How limits of requests, tokens and money are written in a gateway's settings.

Source of names, bounds and defaults: the public product's `spend_limits`. Ours are `mode`, the dimension
`token`, and `partition` for models and providers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from services.router.core.json_reader import Value

__all__ = ["MOST_RULES", "read_rules"]

MOST_RULES: Final = 20
_MOST_USD: Final = 1_000_000_000
_MOST_COUNT: Final = 1_000_000_000_000
_MOST_S: Final = 2**31 - 1
_LONGEST_ID: Final = 64
_ID_CHARACTERS: Final = 8
_MOST_VALUES: Final = 100
_LONGEST_VALUE: Final = 256
# As many as a request's metadata may have.
_MOST_KEYS: Final = 5
_DIMENSIONS: Final = ("model", "provider", "token")
_RULE: Final = (
    "enabled", "id", "limit", "limitType", "limit_type", "metadata", "mode", "technique", "window",
    *_DIMENSIONS,
)  # fmt: skip


def read_rules(value: Value, kinds: tuple[str, ...]) -> dict[str, Any]:
    """
    Read `{"enabled": …, "rules": […]}` and fill in what was left out.

    Args:
        value: The document.
        kinds: What its rules may limit.

    Raises:
        GatewayError: INVALID_REQUEST; `param` is the path to what is wrong.
    """
    members = value.members(("enabled", "rules"))
    rules: list[dict[str, Any]] = []
    if "rules" in members:
        rules = [_rule(item, kinds) for item in members["rules"].items(most=MOST_RULES)]
        _name_rules(members["rules"], rules)
    return {"enabled": members["enabled"].boolean() if "enabled" in members else False, "rules": rules}


def _rule(value: Value, kinds: tuple[str, ...]) -> dict[str, Any]:
    members = value.members(_RULE, required=("limit", "window"))
    kind = members.get("limitType") or members.get("limit_type")
    if kind is None:
        raise value.at("limitType").error("This is required.")
    rule: dict[str, Any] = {
        "id": members["id"].text(most=_LONGEST_ID, least=1) if "id" in members else "",
        "enabled": members["enabled"].boolean() if "enabled" in members else True,
        "limitType": kind.one_of(*kinds),
        "limit": _limit(members["limit"], kind.raw),
        "window": members["window"].integer(least=1, most=_MOST_S),
        "technique": members["technique"].one_of("sliding", "fixed") if "technique" in members else "sliding",
    }
    # The default is left out, so that a rule of the public product's stays as it is.
    if "mode" in members and members["mode"].one_of("soft", "hard") == "hard":
        rule["mode"] = "hard"
    for name in _DIMENSIONS:
        if name in members:
            rule[name] = _dimension(members[name])
    if "metadata" in members:
        rule["metadata"] = _metadata(members["metadata"])
    return rule


def _limit(value: Value, kind: str) -> int | float:
    if kind != "cost":
        return value.integer(least=1, most=_MOST_COUNT)
    found = value.number(above=0, most=_MOST_USD)
    if found < 1e-9:
        raise value.error("The smallest limit is a billionth of a US dollar.")
    return found


def _metadata(value: Value) -> dict[str, Any]:
    found = {}
    for name, member in value.mapping(most=_MOST_KEYS).items():
        if not (0 < len(name) <= _LONGEST_VALUE and name.isprintable()):
            raise member.error(f"A key has 1 to {_LONGEST_VALUE} printable characters.")
        found[name] = _dimension(member)
    return found


def _dimension(value: Value) -> dict[str, Any]:
    members = value.members(("mode", "values"), required=("mode",))
    if members["mode"].one_of("partition", "filter") == "partition":
        if "values" in members:
            raise members["values"].error("A partition has no values: it is for each of them.")
        return {"mode": "partition"}
    if "values" not in members:
        raise value.at("values").error("This is required.")
    return {"mode": "filter", "values": members["values"].texts(most=_MOST_VALUES, longest=_LONGEST_VALUE)}


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
