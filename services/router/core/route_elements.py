"""
What a dynamic route is made of: reads elements one by one. Whether they make a route is `route_graph`'s.

Source of types, properties and outputs: the public product's dynamic routes. Where its documents and its
clients know two forms, both are taken: `rate` and `rate_limit`, `conditions` and `condition`, `window` and
`interval`, `elementId` and `element_id`, `limitType` and `limit_type`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from services.router.core.route_conditions import check_conditions, is_field

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from services.router.core.json_reader import Value

__all__ = ["Element", "read_element"]

_LONGEST_ID: Final = 128
_LONGEST_MODEL: Final = 256
_LONGEST_TIMEOUT_MS: Final = 86_400_000
_MOST_RETRIES: Final = 5
_MOST_LIMIT: Final = 1_000_000_000_000
_MOST_USD: Final = 1_000_000
_STRATEGIES: Final = ("random", "least-latency", "weighted")
_LONGEST_WINDOW_S: Final = 366 * 86_400
_MOST_SHARES: Final = 5
_ALL: Final = 100
_SHARE: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%", re.ASCII)
_TARGET: Final = ("elementId", "element_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """
    One element of a route.

    Attributes:
        patterns: How many patterns it has.
        place: Where it stands, for what is to be said about it.
        outputs: By name, the id of the element that comes next.
        places: Where each of them is said.
    """

    id: str
    type: str
    patterns: int
    place: Value
    outputs: dict[str, str]
    places: dict[str, Value]


def read_element(value: Value, knows: Callable[[str], bool]) -> Element:
    """
    Return an element that makes sense by itself.

    Other members than `id`, `type`, `properties` and `outputs` are what editors keep there; here they mean
    nothing.

    Args:
        value: The element.
        knows: Tells whether there is a provider of a name.

    Raises:
        GatewayError: INVALID_REQUEST; `param` is the path to what is wrong.
    """
    members = value.mapping()
    for name in ("id", "type"):
        if name not in members:
            raise value.at(name).error("This is required.")
    element_id = members["id"].text(least=1, most=_LONGEST_ID)
    kind = members["type"].one_of(*_READERS)
    properties = members.get("properties") or value.at("properties")
    patterns = _READERS[kind](properties, knows)
    outputs = _outputs(members.get("outputs") or value.at("outputs"), kind)
    return Element(
        id=element_id,
        type=kind,
        patterns=patterns or 0,
        place=value,
        outputs={name: _target(place) for name, place in outputs.items()},
        places=outputs,
    )


def _outputs(value: Value, kind: str) -> dict[str, Value]:
    if kind == "percentage":
        return _shares(value)
    required, optional = _OUTPUTS[kind]
    if value.raw is None and not required:
        return {}
    return value.members((*required, *optional), required=required)


def _shares(value: Value) -> dict[str, Value]:
    """Read the outputs of a percentage: shares that make all, or shares and `else` for what remains."""
    outputs = value.mapping(most=_MOST_SHARES + 1)
    total = Fraction(0)
    count = 0
    for name, place in outputs.items():
        if name == "else":
            continue
        match = _SHARE.fullmatch(name)
        if match is None or not Fraction(match[1]):
            raise place.error('An output is named by its share, such as "10%", or "else".')
        total += Fraction(match[1])
        count += 1
    if not 1 <= count <= _MOST_SHARES:
        raise value.error(f"1 to {_MOST_SHARES} shares are expected.")
    if total > _ALL or (total < _ALL and "else" not in outputs):
        raise value.error(f"The shares must make 100% and make {float(total):g}%.")
    return outputs


def _target(value: Value) -> str:
    members = value.members(_TARGET)
    if len(members) != 1:
        raise value.at("elementId").error("This is required.")
    (target,) = members.values()
    return target.text(least=1, most=_LONGEST_ID)


def _nothing(value: Value, _: Callable[[str], bool]) -> None:
    if value.raw is not None:
        value.members(())


def _conditional(value: Value, _: Callable[[str], bool]) -> int:
    members = value.members(("conditions", "condition"))
    if len(members) != 1:
        raise value.at("conditions").error("This is required, once.")
    (conditions,) = members.values()
    return check_conditions(conditions)


def _percentage(value: Value, _: Callable[[str], bool]) -> None:
    if value.raw is None:
        return
    members = value.members(("key", "strategy"))
    strategy = members["strategy"].one_of(*_STRATEGIES) if "strategy" in members else "random"
    if "key" in members and members["key"].raw != "":
        if strategy == "least-latency":
            raise members["key"].error("What is the fastest is not decided by a key.")
        _check_key(members["key"])


def _rate(value: Value, _: Callable[[str], bool]) -> None:
    known = ("limitType", "limit_type", "key", "limit", "window", "interval", "technique")
    members = value.members(known, required=("limit",))
    kinds = [members[name] for name in ("limitType", "limit_type") if name in members]
    spans = [members[name] for name in ("window", "interval") if name in members]
    if len(kinds) > 1:
        raise value.at("limitType").error("This is said twice.")
    if len(spans) != 1:
        raise value.at("window").error("This is required, once.")
    kind = kinds[0].one_of("count", "tokens", "cost") if kinds else "count"
    spans[0].number(above=0, most=_LONGEST_WINDOW_S)
    if kind == "cost":
        members["limit"].number(above=0, most=_MOST_USD)
    else:
        members["limit"].integer(least=1, most=_MOST_LIMIT)
    if "technique" in members:
        members["technique"].one_of("fixed", "sliding")
    if "key" in members and members["key"].raw != "":
        _check_key(members["key"])


def _check_key(key: Value) -> None:
    if not is_field(key.text(least=1, most=_LONGEST_MODEL)):
        raise key.error("A field of metadata, body or headers is expected, such as metadata.user_id.")


def _model(value: Value, knows: Callable[[str], bool]) -> None:
    known = ("model", "provider", "retries", "stream_failover", "timeout")
    members = value.members(known, required=("provider", "model"))
    provider = members["provider"]
    if not knows(provider.text(least=1, most=_LONGEST_MODEL)):
        raise provider.error("There is no provider of this name.")
    members["model"].text(least=1, most=_LONGEST_MODEL)
    if "timeout" in members:
        members["timeout"].integer(most=_LONGEST_TIMEOUT_MS)
    if "retries" in members:
        members["retries"].integer(most=_MOST_RETRIES)
    if "stream_failover" in members:
        members["stream_failover"].boolean()


# By type: how its properties are read, and which outputs it must and may have.
_READERS: Final[dict[str, Callable[[Value, Callable[[str], bool]], int | None]]] = {
    "start": _nothing,
    "conditional": _conditional,
    "percentage": _percentage,
    "rate": _rate,
    "rate_limit": _rate,
    "model": _model,
    "end": _nothing,
}
_OUTPUTS: Final[dict[str, tuple[Collection[str], Collection[str]]]] = {
    "start": (("next",), ()),
    "conditional": (("true", "false"), ()),
    "rate": (("success",), ("fallback",)),
    "rate_limit": (("success",), ("fallback",)),
    "model": (("success",), ("fallback",)),
    "end": ((), ()),
}
