"""
The conditions of dynamic routes: a language of JSON objects, as document databases have it.

`{"metadata.plan": {"$in": ["pro", "team"]}, "$or": [{"body.stream": true}, {"headers.x": "y"}]}`
Members of one object must all hold. A plain value is short for `$eq`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from services.router.core.engine.pattern import Pattern, PatternError
from services.router.core.json_reader import Value

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["check_conditions", "is_field"]

_FIELD: Final = re.compile(r"(?:metadata|body|headers)(?:\.[^.\s$][^.\s]{0,127}){1,8}")
_MOST_TESTS: Final = 200
_DEEPEST: Final = 16
_MOST_CHOICES: Final = 100
_LONGEST_TEXT: Final = 1024
_LONGEST_PATTERN: Final = 256


def is_field(text: str) -> bool:
    """Tell whether a text names something of a request: `metadata.…`, `body.…` or `headers.…`."""
    return text.isprintable() and _FIELD.fullmatch(text) is not None


def check_conditions(value: Value) -> int:
    """
    Look through conditions and return how many patterns they hold.

    A text that holds them as JSON is taken too, which some clients send.

    Raises:
        GatewayError: INVALID_REQUEST; `param` is the path to what is wrong.
    """
    if isinstance(value.raw, str):
        try:
            value = Value(orjson.loads(value.raw), value.path)
        except orjson.JSONDecodeError:
            raise value.error("This is no JSON.") from None
    checker = _Checker()
    checker.group(value, 0)
    return checker.patterns


class _Checker:
    """Looks through one element's conditions, and counts what they hold."""

    def __init__(self) -> None:
        self._tests = 0
        self.patterns = 0

    def group(self, value: Value, depth: int) -> None:
        """Look at an object of fields and of what joins further groups."""
        self._count(value, depth)
        for name, member in value.mapping(most=_MOST_TESTS).items():
            if name in ("$and", "$or"):
                for item in member.items(least=1, most=_MOST_TESTS):
                    self.group(item, depth + 1)
            elif name == "$not":
                self.group(member, depth + 1)
            elif is_field(name):
                self._field(member, depth + 1)
            else:
                raise member.error(
                    "A field of metadata, body or headers is expected, such as metadata.plan; "
                    "or $and, $or, $not."
                )

    def _field(self, value: Value, depth: int) -> None:
        self._count(value, depth)
        if not isinstance(value.raw, dict):
            _check_scalar(value)
            return
        tests = value.mapping()
        if not tests:
            raise value.error("An operator is expected.")
        for name, operand in tests.items():
            if name == "$not":
                self._field(operand, depth + 1)
                continue
            self._count(operand, depth)
            check = _OPERATORS.get(name)
            if check is None:
                raise operand.error(f"There is no such operator. There are: {', '.join(_OPERATORS)}, $not.")
            check(operand)
            self.patterns += name == "$regex"

    def _count(self, value: Value, depth: int) -> None:
        self._tests += 1
        if self._tests > _MOST_TESTS or depth > _DEEPEST:
            raise value.error(f"Conditions have at most {_MOST_TESTS} parts, {_DEEPEST} deep.")


def _check_scalar(value: Value) -> None:
    if isinstance(value.raw, str):
        value.text(most=_LONGEST_TEXT)
    elif isinstance(value.raw, list | dict):
        raise value.error("A string, a number, true, false or null is expected.")


def _check_ordered(value: Value) -> None:
    if value.raw is None or isinstance(value.raw, bool):
        raise value.error("A string or a number is expected.")
    _check_scalar(value)


def _check_choices(value: Value) -> None:
    for item in value.items(most=_MOST_CHOICES):
        _check_scalar(item)


def _check_pattern(value: Value) -> None:
    try:
        Pattern(value.text(least=1, most=_LONGEST_PATTERN))
    except PatternError as error:
        raise value.error(str(error)) from None


def _check_flag(value: Value) -> None:
    value.boolean()


_OPERATORS: Final[dict[str, Callable[[Value], Any]]] = {
    "$eq": _check_scalar,
    "$ne": _check_scalar,
    "$in": _check_choices,
    "$nin": _check_choices,
    "$gt": _check_ordered,
    "$gte": _check_ordered,
    "$lt": _check_ordered,
    "$lte": _check_ordered,
    "$exists": _check_flag,
    "$regex": _check_pattern,
}
