"""
Which entries a reader wants: conditions in text form, checked and turned into numbers.

Durations are in milliseconds and amounts in US dollars for readers; entries hold microseconds and billionths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import TYPE_CHECKING, Final

from kit.errors import GatewayError, Reason
from kit.moment import microseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MILLISECOND_US", "Condition", "Deletion", "Field", "Operator", "Query", "condition", "order"]

MILLISECOND_US: Final = 1000


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
    CREATED_AT = "created_at"
    PROVIDER = "provider"
    MODEL = "model"
    SUCCESS = "success"
    CACHED = "cached"
    EVENT_ID = "event_id"
    COST = "cost"
    TOKENS = "tokens"
    TOKENS_IN = "tokens_in"
    TOKENS_OUT = "tokens_out"
    DURATION = "duration"
    STATUS_CODE = "status_code"
    FEEDBACK = "feedback"
    REQUEST_CONTENT_TYPE = "request_content_type"
    RESPONSE_CONTENT_TYPE = "response_content_type"
    USER_AGENT = "user_agent"
    AUTHENTICATION = "authentication"
    METADATA_KEY = "metadata.key"
    METADATA_VALUE = "metadata.value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """
    One condition, ready to be used.

    An entry whose field is not known satisfies NEQ alone. NEQ means none of the values, every other operator
    means any of them; no values at all means that nothing satisfies, or for NEQ everything. Of metadata, any
    one key or value satisfies, or for NEQ none may. Times are equal within a millisecond, which is as much
    of them as readers see.
    """

    field: Field
    operator: Operator
    values: tuple[str | int | float | bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """
    Which entries, in which order.

    Attributes:
        after_id: Only entries recorded after this one, in the order of recording, so that following the log
            misses nothing that ends late. Otherwise the order is that of `order_by`.
        search: Only entries that have this in their searchable text; case is folded already.
        ranges: Whether it is wanted between which values the entries lie.
    """

    account_id: str
    gateway_id: str = ""
    limit: int = 20
    offset: int = 0
    start_us: int | None = None
    end_us: int | None = None
    after_id: str = ""
    order_by: Field = Field.CREATED_AT
    ascending: bool = False
    search: str = ""
    conditions: tuple[Condition, ...] = ()
    ranges: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """Which entries of a gateway are to go: the first `limit` in the order, of those that satisfy."""

    account_id: str
    gateway_id: str
    limit: int
    order_by: Field = Field.CREATED_AT
    ascending: bool = True
    conditions: tuple[Condition, ...] = ()


_TEXT: Final = frozenset({
    Field.ID,
    Field.PROVIDER,
    Field.MODEL,
    Field.EVENT_ID,
    Field.REQUEST_CONTENT_TYPE,
    Field.RESPONSE_CONTENT_TYPE,
    Field.USER_AGENT,
    Field.METADATA_KEY,
    Field.METADATA_VALUE,
})  # fmt: skip
_FLAGS: Final = frozenset({Field.SUCCESS, Field.CACHED, Field.AUTHENTICATION})
_ORDERS: Final = frozenset({
    Field.CREATED_AT,
    Field.PROVIDER,
    Field.MODEL,
    Field.SUCCESS,
    Field.CACHED,
    Field.COST,
    Field.TOKENS_IN,
    Field.TOKENS_OUT,
    Field.DURATION,
    Field.FEEDBACK,
})  # fmt: skip
_SCALES: Final = {Field.COST: Decimal(1_000_000_000), Field.DURATION: Decimal(1000)}
_EQUALITY: Final = frozenset({Operator.EQ, Operator.NEQ})
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
    read = (_value(field, text, operator) for text in values)
    return Condition(
        field=field, operator=operator, values=tuple(value for value in read if value is not None)
    )


def order(name: str) -> Field:
    """
    Check what to sort by; empty means the beginning of the request.

    Raises:
        GatewayError: INVALID_REQUEST; nothing can be sorted by it.
    """
    try:
        field = Field(name or Field.CREATED_AT.value)
    except ValueError:
        field = Field.ID
    if field not in _ORDERS:
        names = ", ".join(sorted(each.value for each in _ORDERS))
        raise GatewayError(
            Reason.INVALID_REQUEST, f"Entries can be sorted by one of {names}.", param="order_by"
        )
    return field


def _comparable(field: Field, operator: Operator) -> bool:
    if operator is Operator.CONTAINS:
        return field in _TEXT
    if operator in {Operator.LT, Operator.GT}:
        return field not in _TEXT | _FLAGS
    return True


def _value(field: Field, text: str, operator: Operator) -> str | int | float | bool | None:
    """Return a value as entries hold it; None for one that nothing equals."""
    if field in _TEXT:
        return text
    if field in _FLAGS:
        return _flag(field.value, text)
    if field is Field.CREATED_AT:
        return _moment(field.value, text, operator)
    number = _number(field.value, text)
    if field is Field.FEEDBACK:
        return float(number)
    return _whole(number, field, operator)


def _flag(key: str, text: str) -> bool:
    try:
        return _WORDS[text.lower()]
    except KeyError:
        raise _invalid("This filter takes true or false.", key) from None


def _moment(key: str, text: str, operator: Operator) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _invalid("This filter takes times in RFC 3339's form.", key) from None
    try:
        found = microseconds(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)
    except OverflowError:
        raise _invalid("This filter takes times between the years 1 and 9999.", key) from None
    return found - found % MILLISECOND_US if operator in _EQUALITY else found


def _number(key: str, text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise _invalid("This filter takes numbers.", key)
    return max(Decimal(-_MOST), min(number, Decimal(_MOST)))


def _whole(number: Decimal, field: Field, operator: Operator) -> int | None:
    """Return a number in the entries' unit; None for one between two whole numbers, which nothing equals."""
    scaled = number * _SCALES.get(field, Decimal(1))
    whole = math.ceil(scaled) if operator is Operator.LT else math.floor(scaled)
    if operator in _EQUALITY:
        if field is Field.DURATION:
            whole -= whole % MILLISECOND_US
        elif whole != scaled:
            return None
    return max(-_MOST, min(whole, _MOST))


def _invalid(message: str, key: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, message, param="filters", key=key[:64])
