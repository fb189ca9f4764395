"""
Whether the conditions of a route hold for a request.

They mean what they mean in MongoDB: an array satisfies what one of its items does; `$ne`, `$nin` and `$not`
are the opposites of `$eq`, `$in` and of what they stand before, and hold where there is nothing; `null`
counts as nothing; an order is only between two numbers or two texts. Headers and metadata are texts;
compared with a number they are read as one, and compared with true or false as the words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite
from operator import ge, gt, le, lt
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from services.router.core.engine.asked import Field, Input, read_field
from services.router.core.engine.pattern import Pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.router.core.engine.asked import Asked
    from services.router.core.engine.pattern import Effort

__all__ = ["Condition", "Found", "compile_conditions", "fields_of", "hold", "patterns_in"]

_LONGEST_SHOWN: Final = 80
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,39})(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """
    One test of a field.

    Attributes:
        wanted: Whether it is to succeed; False behind `$not`.
        pattern: Of `$regex`.
    """

    field: Field
    operator: str
    operand: Any
    wanted: bool = True
    pattern: Pattern | None = None

    def __str__(self) -> str:
        operand = orjson.dumps(self.operand).decode()
        cut = operand if len(operand) <= _LONGEST_SHOWN else operand[:_LONGEST_SHOWN] + "…"
        if self.wanted:
            return f"{self.field} {self.operator} {cut}"
        return f"{self.field} {_NEGATED.get(self.operator, '$not ' + self.operator)} {cut}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Conditions of which all must hold, or any, or not all."""

    kind: Literal["all", "any", "not"]
    parts: tuple[Condition, ...]


Condition = Test | Group


@dataclass(frozen=True, slots=True)
class Found:
    """
    Whether conditions hold.

    Attributes:
        because: The test that settled it. None: nothing was tested.
    """

    holds: bool
    because: Test | None = None


def compile_conditions(raw: Any) -> Condition:
    """
    Return conditions in the form that they are evaluated in.

    Args:
        raw: An object, or a JSON text of one; it was checked.
    """
    return _group(orjson.loads(raw) if isinstance(raw, str) else raw)


def fields_of(condition: Condition) -> frozenset[Field]:
    """Return the fields that conditions look at."""
    if isinstance(condition, Test):
        return frozenset((condition.field,))
    return frozenset().union(*map(fields_of, condition.parts))


def patterns_in(condition: Condition) -> int:
    """Return how many patterns conditions have."""
    if isinstance(condition, Test):
        return int(condition.pattern is not None)
    return sum(map(patterns_in, condition.parts))


def hold(condition: Condition, asked: Asked, effort: Effort) -> Found:
    """
    Tell whether conditions hold for a request.

    Raises:
        ExhaustedError: It takes too long to tell.
        GatewayError: INVALID_REQUEST; the body is looked at, and is no JSON.
    """
    if isinstance(condition, Test):
        effort.spend(1)
        return Found(_succeeds(condition, asked, effort) is condition.wanted, condition)
    found = Found(condition.kind != "any")
    for part in condition.parts:
        found = hold(part, asked, effort)
        if found.holds is (condition.kind == "any"):
            break
    return Found(not found.holds, found.because) if condition.kind == "not" else found


def _group(raw: dict[str, Any]) -> Condition:
    parts: list[Condition] = []
    for name, member in raw.items():
        if name == "$not":
            parts.append(Group(kind="not", parts=(_group(member),)))
        elif name in ("$and", "$or"):
            kind: Literal["all", "any"] = "all" if name == "$and" else "any"
            parts.append(Group(kind=kind, parts=tuple(map(_group, member))))
        else:
            parts.append(_field(read_field(name), member))
    return parts[0] if len(parts) == 1 else Group(kind="all", parts=tuple(parts))


def _field(field: Field, raw: Any) -> Condition:
    if not isinstance(raw, dict):
        return Test(field=field, operator="$eq", operand=raw)
    parts = [
        _not(_field(field, operand)) if name == "$not" else _test(field, name, operand)
        for name, operand in raw.items()
    ]
    return parts[0] if len(parts) == 1 else Group(kind="all", parts=tuple(parts))


def _test(field: Field, operator: str, operand: Any) -> Test:
    pattern = Pattern(operand) if operator == "$regex" else None
    opposite = _OPPOSITES.get(operator)
    return Test(
        field=field,
        operator=opposite or operator,
        operand=operand,
        wanted=opposite is None,
        pattern=pattern,
    )


def _not(condition: Condition) -> Condition:
    if isinstance(condition, Test):
        return Test(
            field=condition.field,
            operator=condition.operator,
            operand=condition.operand,
            wanted=not condition.wanted,
            pattern=condition.pattern,
        )
    return Group(kind="not", parts=(condition,))


def _succeeds(test: Test, asked: Asked, effort: Effort) -> bool:
    values = asked.values(test.field, effort)
    effort.spend(len(values))
    is_text = test.field.source is not Input.BODY
    operand = test.operand
    if test.operator == "$exists":
        return bool(values) is operand
    if test.pattern is not None:
        return any(isinstance(value, str) and test.pattern.found_in(value, effort) for value in values)
    if test.operator == "$eq":
        return _equals(operand, values, is_text=is_text)
    if test.operator == "$in":
        return _is_among(operand, values, effort, is_text=is_text)
    compare = _ORDERS[test.operator]
    return any(_compares(compare, _like(value, operand, is_text=is_text), operand) for value in values)


def _is_among(choices: Sequence[Any], values: Sequence[Any], effort: Effort, *, is_text: bool) -> bool:
    if is_text:
        effort.spend(len(choices) * len(values))
        return any(_equals(choice, values, is_text=True) for choice in choices)
    # Looked up rather than compared one by one: there may be as many choices as values, of each a lot.
    effort.spend(len(choices))
    known = {(isinstance(choice, bool), choice) for choice in choices}
    if not values:
        return (False, None) in known
    return any(
        (isinstance(value, bool), value) in known for value in values if not isinstance(value, list | dict)
    )


def _equals(operand: Any, values: Sequence[Any], *, is_text: bool) -> bool:
    if operand is None:
        return not values or any(value is None for value in values)
    return any(_same(_like(value, operand, is_text=is_text), operand) for value in values)


def _same(value: Any, operand: Any) -> bool:
    # In Python, true is 1.
    return isinstance(value, bool) is isinstance(operand, bool) and bool(value == operand)


def _like(value: Any, operand: Any, *, is_text: bool) -> Any:
    """Read a header's or metadata's text as what it is compared with."""
    if not is_text or isinstance(operand, str):
        return value
    if isinstance(operand, bool):
        return {"true": True, "false": False}.get(value, value)
    if operand is None or not _NUMBER.fullmatch(value):
        return value
    # Ids are longer than what a floating number tells apart.
    number = int(value) if value.lstrip("-").isdecimal() else float(value)
    # What is beyond all numbers is none: a body that holds it is no JSON either.
    return number if isfinite(number) else value


def _compares(compare: Callable[[Any, Any], bool], value: Any, operand: Any) -> bool:
    if isinstance(operand, str):
        return isinstance(value, str) and compare(value, operand)
    return isinstance(value, int | float) and not isinstance(value, bool) and compare(value, operand)


_OPPOSITES: Final = {"$ne": "$eq", "$nin": "$in"}
_NEGATED: Final = {"$eq": "$ne", "$in": "$nin"}
_ORDERS: Final[dict[str, Callable[[Any, Any], bool]]] = {"$gt": gt, "$gte": ge, "$lt": lt, "$lte": le}
