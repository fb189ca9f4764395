"""
Reads the query of a log list.

Source: the public product's list parameters, in both encodings that its clients send: `filters` as one JSON
array, or repeated `filters.key`, `filters.operator`, `filters.value`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from headrace.ledger.v1 import ledger_service_pb2
from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from multidict import MultiMapping

__all__ = ["list_request"]

_PER_PAGE_MOST = 50
_PER_PAGE_DEFAULT = 20
_PAGE_MOST = 1_000_000

_OPERATORS = {
    "eq": ledger_service_pb2.OPERATOR_EQ,
    "neq": ledger_service_pb2.OPERATOR_NEQ,
    "contains": ledger_service_pb2.OPERATOR_CONTAINS,
    "lt": ledger_service_pb2.OPERATOR_LT,
    "gt": ledger_service_pb2.OPERATOR_GT,
}


def list_request(
    account_id: str, gateway_id: str, query: MultiMapping[str]
) -> ledger_service_pb2.ListRequest:
    """
    Build the ledger's request from a URL's query.

    Raises:
        GatewayError: INVALID_REQUEST; a parameter makes no sense.
    """
    per_page = _number(query, "per_page", _PER_PAGE_DEFAULT, most=_PER_PAGE_MOST)
    page = _number(query, "page", 1, most=_PAGE_MOST)
    direction = query.get("order_by_direction", query.get("direction", "desc"))
    if direction not in ("asc", "desc"):
        raise _bad("order_by_direction", "must be asc or desc")
    return ledger_service_pb2.ListRequest(
        account_id=account_id,
        gateway_id=gateway_id,
        page_size=per_page,
        offset=(page - 1) * per_page,
        ascending=direction == "asc",
        filters=_filters(query),
    )


def _number(query: MultiMapping[str], name: str, default: int, *, most: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 12 and 1 <= int(text) <= most):
        raise _bad(name, f"must be a whole number from 1 to {most}")
    return int(text)


def _filters(query: MultiMapping[str]) -> list[ledger_service_pb2.Filter]:
    if "filters" in query:
        return [_filter_from_json(entry) for entry in _json_list(query["filters"])]
    keys = query.getall("filters.key", [])
    operators = query.getall("filters.operator", [])
    values = query.getall("filters.value", [])
    if not len(keys) == len(operators) == len(values):
        raise _bad("filters", "key, operator and value must be given as often as each other")
    return [
        _filter(key, operator, [value]) for key, operator, value in zip(keys, operators, values, strict=True)
    ]


def _json_list(text: str) -> list[Any]:
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _bad("filters", "must be a JSON array") from None
    return parsed if isinstance(parsed, list) else [parsed]


def _filter_from_json(entry: Any) -> ledger_service_pb2.Filter:
    if not isinstance(entry, dict):
        raise _bad("filters", "each must be an object with key, operator and value")
    value = entry.get("value", [])
    values = value if isinstance(value, list) else [value]
    return _filter(
        str(entry.get("key", "")), str(entry.get("operator", "")), [_text(item) for item in values]
    )


def _filter(key: str, operator: str, values: list[str]) -> ledger_service_pb2.Filter:
    if operator not in _OPERATORS:
        raise _bad("filters", f"the operator must be one of {', '.join(_OPERATORS)}")
    return ledger_service_pb2.Filter(key=key, operator=_OPERATORS[operator], values=values)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _bad(param: str, message: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, f"{param}: {message}", param=param)
