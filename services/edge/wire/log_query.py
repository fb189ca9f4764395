"""
Queries of the log as the ledger takes them.

Source: the public product's list parameters, those that it calls deprecated included.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from headrace.ledger.v1 import ledger_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["filters", "flat_filters", "info"]

_OPERATORS: Final = {
    "eq": pb.OPERATOR_EQ,
    "neq": pb.OPERATOR_NEQ,
    "contains": pb.OPERATOR_CONTAINS,
    "lt": pb.OPERATOR_LT,
    "gt": pb.OPERATOR_GT,
}
_EQUAL: Final = (
    "cached", "success", "provider", "model", "request_content_type", "response_content_type", "feedback",
)  # fmt: skip
_BOUNDED: Final = {
    "cost": "cost", "duration": "duration", "tokens_in": "tokens_in", "tokens_out": "tokens_out",
    "total_tokens": "tokens",
}  # fmt: skip
# Filters compare without their bound, these parameters with it. Less than any unit that is kept.
_A_BIT: Final = Decimal("1e-12")
_NANO_USD: Final = 1_000_000_000


def filters(given: Iterable[Any]) -> list[pb.Filter]:
    """Write filters that came as such."""
    return [_filter(each.key, each.operator, each.value) for each in given]


def flat_filters(query: Any) -> list[pb.Filter]:
    """Write the parameters that are filters of their own."""
    found = []
    for name in _EQUAL:
        value = getattr(query, name)
        if value is not None:
            found.append(_filter(name, "eq", [str(value)]))
    for name, key in _BOUNDED.items():
        least, most = getattr(query, f"min_{name}"), getattr(query, f"max_{name}")
        if least is not None:
            found.append(_filter(key, "gt", [str(least - _A_BIT)]))
        if most is not None:
            # Durations are shown without what is less than a millisecond.
            above = Decimal(math.floor(most) + 1) if name == "duration" else most + _A_BIT
            found.append(_filter(key, "lt", [str(above)]))
    return found


def info(ranges: pb.Ranges) -> dict[str, Any]:
    """Say between which values entries lie."""
    shown: dict[str, Any] = {}
    for name in _BOUNDED:
        for end in ("min", "max"):
            member = f"{end}_cost_nano_usd" if name == "cost" else f"{end}_{name}"
            member = f"{member}_ms" if name == "duration" else member
            value = getattr(ranges, member) if ranges.HasField(member) else None  # type: ignore[arg-type]  # by name
            shown[f"{end}_{name}"] = value / _NANO_USD if name == "cost" and value is not None else value
    return shown


def _filter(key: str, operator: str, values: Iterable[str]) -> pb.Filter:
    return pb.Filter(key=key, operator=_OPERATORS[operator], values=values)
