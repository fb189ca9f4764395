"""
Which entries a reader wants: conditions in text form, checked and turned into numbers.

Durations are in milliseconds and amounts in US dollars for readers; entries hold microseconds and billionths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import TYPE_CHECKING, Final

from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Condition", "Field", "Operator", "Query", "condition"]


class Operator(Enum):
    """How a condition compares."""

    EQ = "eq"
    NEQ = "neq"
    CONTAINS = "contains"
    LT = "lt"
    GT = "gt"


class Field(Enum):
    """What a condition is about; values are the readers' names."""

    ID = "id"
    PROVIDER = "provider"
    MODEL = "model"
    SUCCESS = "success"
    CACHED = "cached"
    EVENT_ID = "event_id"
    COST = "cost"
    TOKENS_IN = "tokens_in"
    TOKENS_OUT = "tokens_out"
    DURATION = "duration"
    STATUS_CODE = "status_code"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """
    One condition, ready to be used.

    An entry whose field is not known satisfies NEQ alone. NEQ means none of the values, every other operator
    means any of them; no values at all means that nothing satisfies, or for NEQ everything.
    """

    field: Field
    operator: Operator
    values: tuple[str | int | bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """
    Which entries, in which order.

    Attributes:
        after_id: Only entries recorded after this one, in the order of recording, so that following the log
            misses nothing that ends late. Otherwise the order is that of the requests' beginnings.
    """

    account_id: str
    gateway_id: str = ""
    limit: int = 20
    offset: int = 0
    start_us: int | None = None
    end_us: int | None = None
    after_id: str = ""
    ascending: bool = False
    conditions: tuple[Condition, ...] = ()


_TEXT: Final = frozenset({Field.ID, Field.PROVIDER, Field.MODEL, Field.EVENT_ID})
_FLAGS: Final = frozenset({Field.SUCCESS, Field.CACHED})
_SCALES: Final = {Field.COST: Decimal(1_000_000_000), Field.DURATION: Decimal(1000)}
_WORDS: Final = {"true": True, "1": True, "false": False, "0": False}
_MOST_VALUES: Final = 100
_MOST: Final = 2**63 - 1


def condition(key: str, operator: Operator, values: Sequence[str]) -> Condition:
    """
    Check a condition.

    Raises:
        GatewayError: INVALID_REQUEST; the field does not exist, or cannot be compared like that.
    """
    try:
        field = Field(key)
    except ValueError:
        raise _invalid("There is no such filter.", key) from None
    if not 1 <= len(values) <= _MOST_VALUES:
        raise _invalid(f"A filter has 1 to {_MOST_VALUES} values.", key)
    if not _comparable(field, operator):
        raise _invalid(f"This filter cannot be compared with {operator.value}.", key)
    if field in _TEXT:
        return Condition(field=field, operator=operator, values=tuple(values))
    if field in _FLAGS:
        return Condition(field=field, operator=operator, values=tuple(_flag(key, text) for text in values))
    found = (_number(key, text, _SCALES.get(field, Decimal(1)), operator) for text in values)
    numbers = tuple(number for number in found if number is not None)
    return Condition(field=field, operator=operator, values=numbers)


def _comparable(field: Field, operator: Operator) -> bool:
    if operator is Operator.CONTAINS:
        return field in _TEXT
    if operator in {Operator.LT, Operator.GT}:
        return field not in _TEXT | _FLAGS
    return True


def _flag(key: str, text: str) -> bool:
    try:
        return _WORDS[text.lower()]
    except KeyError:
        raise _invalid("This filter takes true or false.", key) from None


def _number(key: str, text: str, scale: Decimal, operator: Operator) -> int | None:
    """Return a number in the entries' unit; None for one between two whole numbers, which nothing equals."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise _invalid("This filter takes numbers.", key)
    if abs(number) > _MOST:
        return _MOST if number > 0 else -_MOST
    number *= scale
    whole = math.ceil(number) if operator is Operator.LT else math.floor(number)
    if whole != number and operator in {Operator.EQ, Operator.NEQ}:
        return None
    return max(-_MOST, min(whole, _MOST))


def _invalid(message: str, key: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, message, param="filters", key=key[:64])
