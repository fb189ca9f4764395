"""Messages to rows and queries and back. Requests are validated here and trusted behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from headrace.ledger.v1 import ledger_service_pb2 as pb
from headrace.ledger.v1 import log_entry_pb2
from kit.errors import GatewayError, Reason
from services.ledger.core.query import Operator, Query, condition
from services.ledger.store import Page, Row

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

    from headrace.common.v1 import usage_pb2
    from kit.pricing.pricer import Pricer
    from services.ledger.core.query import Condition

__all__ = ["listed", "owner", "query", "row"]

_DEFAULT_PAGE: Final = 20
_LARGEST_PAGE: Final = 1000
_MOST_FILTERS: Final = 50
_MOST: Final = 2**63 - 1
_LONGEST_ID: Final = 64
_OPERATORS: Final = {
    pb.OPERATOR_EQ: Operator.EQ,
    pb.OPERATOR_NEQ: Operator.NEQ,
    pb.OPERATOR_CONTAINS: Operator.CONTAINS,
    pb.OPERATOR_LT: Operator.LT,
    pb.OPERATOR_GT: Operator.GT,
}


def row(entry: log_entry_pb2.LogEntry, pricer: Pricer) -> Row:
    """
    Turn an entry into what is kept of it, with its cost where that did not come along.

    Raises:
        GatewayError: INVALID_REQUEST; it has no id or no owner.
    """
    caller = entry.caller
    if not 1 <= len(entry.id) <= _LONGEST_ID:
        raise _invalid("id", "An entry needs an id.")
    if not caller.account_id or not caller.gateway_id:
        raise _invalid("caller", "An entry needs an account and a gateway.")
    created_us = _microseconds(entry.create_time)
    cost = entry.cost if entry.HasField("cost") else _cost(entry, pricer, created_us)
    payload = entry.payload.SerializeToString() if entry.HasField("payload") else None
    # A copy: when both services share a process, the entry is the caller's own object.
    kept = log_entry_pb2.LogEntry()
    kept.CopyFrom(entry)
    kept.ClearField("payload")
    if cost is not None:
        kept.cost.CopyFrom(cost)
    known = entry.usage.HasField
    return Row(
        id=entry.id,
        account_id=caller.account_id,
        gateway_id=caller.gateway_id,
        created_us=created_us,
        duration_us=_microseconds(entry.duration),
        provider=entry.provider,
        model=entry.target_model or entry.requested_model,
        status=entry.status,
        success=entry.outcome == log_entry_pb2.OUTCOME_SUCCESS,
        cached=entry.cached,
        event_id=entry.event_id,
        tokens_in=entry.usage.input_tokens if known("input_tokens") else None,
        tokens_out=entry.usage.output_tokens if known("output_tokens") else None,
        cost_nano_usd=None if cost is None else cost.nano_usd,
        entry=kept.SerializeToString(),
        payload=payload,
    )


def _cost(entry: log_entry_pb2.LogEntry, pricer: Pricer, created_us: int) -> usage_pb2.Cost | None:
    return pricer.cost(
        provider=entry.provider,
        models=(entry.response_model, entry.target_model),
        usage=entry.usage if entry.HasField("usage") else None,
        custom=entry.custom_cost if entry.HasField("custom_cost") else None,
        cached=entry.cached,
        at_us=created_us,
    )


def query(request: pb.ListRequest) -> Query:
    """
    Read which entries are wanted.

    Raises:
        GatewayError: INVALID_REQUEST; something about it is wrong.
    """
    if not 0 <= request.page_size <= _LARGEST_PAGE:
        raise _invalid("page_size", f"A page has 1 to {_LARGEST_PAGE} entries.")
    if request.offset < 0:
        raise _invalid("offset", "The offset cannot be negative.")
    if len(request.filters) > _MOST_FILTERS:
        raise _invalid("filters", f"There can be {_MOST_FILTERS} filters.")
    return Query(
        account_id=_account(request.account_id),
        gateway_id=request.gateway_id,
        limit=request.page_size or _DEFAULT_PAGE,
        offset=request.offset,
        start_us=_microseconds(request.start_time) if request.HasField("start_time") else None,
        end_us=_microseconds(request.end_time) if request.HasField("end_time") else None,
        after_id=request.after_id,
        ascending=request.ascending,
        conditions=tuple(_conditions(request.filters)),
    )


def listed(page: Page) -> pb.ListResponse:
    """Write a page."""
    entries = map(log_entry_pb2.LogEntry.FromString, page.entries)
    return pb.ListResponse(entries=entries, total_count=page.total_count)


def owner(request: pb.GetRequest | pb.GetPayloadRequest) -> tuple[str, str, str]:
    """
    Read which entry is wanted: account, gateway, id.

    Raises:
        GatewayError: INVALID_REQUEST; it is not said whose it is.
    """
    return _account(request.account_id), request.gateway_id, request.id


def _account(account_id: str) -> str:
    if not account_id:
        raise _invalid("account_id", "The account must be given.")
    return account_id


def _conditions(filters: Iterable[pb.Filter]) -> Iterable[Condition]:
    for each in filters:
        operator = _OPERATORS.get(each.operator)
        if operator is None:
            raise _invalid("filters", "A filter needs an operator.")
        yield condition(each.key, operator, each.values)


def _microseconds(time: Timestamp | Duration) -> int:
    return max(-_MOST, min(time.seconds * 1_000_000 + time.nanos // 1000, _MOST))


def _invalid(param: str, message: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, message, param=param)
