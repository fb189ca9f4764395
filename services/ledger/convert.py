"""Messages to rows and queries and back. Requests are validated here and trusted behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from headrace.ledger.v1 import ledger_service_pb2 as pb
from headrace.ledger.v1 import log_entry_pb2
from kit.errors import GatewayError, Reason
from services.ledger.core import text
from services.ledger.core.query import Deletion, Operator, Query, condition, order
from services.ledger.core.said import said
from services.ledger.store import Page, Ranges, Remarks, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

    from headrace.common.v1 import usage_pb2
    from kit.pricing.pricer import Pricer
    from services.ledger.core.query import Condition
    from services.ledger.core.said import Said

__all__ = ["change", "deletion", "listed", "owner", "query", "row", "wants_price"]

_DEFAULT_PAGE: Final = 20
_LARGEST_PAGE: Final = 1000
_MOST_FILTERS: Final = 50
_MOST_DELETED: Final = 10_000
_LONGEST_SEARCH: Final = 1024
_MOST: Final = 2**63 - 1
_LONGEST_ID: Final = 64
_OPERATORS: Final = {
    pb.OPERATOR_EQ: Operator.EQ,
    pb.OPERATOR_NEQ: Operator.NEQ,
    pb.OPERATOR_CONTAINS: Operator.CONTAINS,
    pb.OPERATOR_LT: Operator.LT,
    pb.OPERATOR_GT: Operator.GT,
}


def wants_price(entry: log_entry_pb2.LogEntry) -> bool:
    """Whether what an entry cost is to be worked out here; the edge has mostly done so."""
    return entry.HasField("usage") and not entry.HasField("cost")


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
    tokens_in = entry.usage.input_tokens if known("input_tokens") else None
    tokens_out = entry.usage.output_tokens if known("output_tokens") else None
    remarks = _remarks(kept)
    return Row(
        id=text.plain(entry.id),
        account_id=text.plain(caller.account_id),
        gateway_id=text.plain(caller.gateway_id),
        created_us=created_us,
        duration_us=_microseconds(entry.duration),
        provider=text.plain(entry.provider),
        model=text.plain(_model(entry)),
        status=entry.status,
        success=entry.outcome == log_entry_pb2.OUTCOME_SUCCESS,
        cached=entry.cached,
        event_id=text.plain(entry.event_id),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        tokens=_sum(tokens_in, tokens_out),
        cost_nano_usd=None if cost is None else cost.nano_usd,
        feedback=remarks.feedback,
        request_content_type=text.plain(entry.request_content_type),
        response_content_type=text.plain(entry.response_content_type),
        user_agent=text.plain(entry.user_agent),
        authentication=bool(caller.token_id),
        metadata_keys=remarks.metadata_keys,
        metadata_values=remarks.metadata_values,
        searched=remarks.searched,
        entry=remarks.entry,
        payload=payload,
    )


def change(request: pb.UpdateEntryRequest) -> Callable[[bytes], Remarks]:
    """
    Read what is to be said of an entry: what makes the new out of the old one.

    Raises:
        GatewayError: INVALID_REQUEST; something about it is wrong.
    """
    found = said(
        request.update_mask.paths,
        feedback=request.feedback if request.HasField("feedback") else None,
        score=request.score if request.HasField("score") else None,
        metadata=request.metadata,
    )

    def changed(entry: bytes) -> Remarks:
        kept = log_entry_pb2.LogEntry.FromString(entry)
        _say(kept, found)
        return _remarks(kept)

    return changed


def _say(entry: log_entry_pb2.LogEntry, change: Said) -> None:
    for name, value in (("feedback", change.feedback), ("score", change.score)):
        if name not in change.fields:
            continue
        if value is None:
            entry.ClearField(name)  # type: ignore[arg-type]  # by name
        else:
            setattr(entry, name, value)
    if "metadata" in change.fields:
        entry.caller.metadata.clear()
        entry.caller.metadata.update(change.metadata)


def _remarks(entry: log_entry_pb2.LogEntry) -> Remarks:
    metadata = entry.caller.metadata
    keys, values = (text.joined(metadata), text.joined(metadata.values())) if metadata else ("", "")
    named = (entry.id, entry.provider, _model(entry), entry.event_id)
    return Remarks(
        feedback=entry.feedback if entry.HasField("feedback") else None,
        metadata_keys=keys,
        metadata_values=values,
        searched=text.folded(text.joined(named) + keys + values),
        entry=entry.SerializeToString(),
    )


def _model(entry: log_entry_pb2.LogEntry) -> str:
    return entry.target_model or entry.requested_model


def _sum(tokens_in: int | None, tokens_out: int | None) -> int | None:
    if tokens_in is None and tokens_out is None:
        return None
    return max(-_MOST, min((tokens_in or 0) + (tokens_out or 0), _MOST))


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
    if len(request.search) > _LONGEST_SEARCH:
        raise _invalid("search", f"What is searched for has at most {_LONGEST_SEARCH} characters.")
    if request.order_by and request.after_id:
        raise _invalid("order_by", "What is recorded after an entry comes in the order of recording.")
    return Query(
        account_id=_account(request.account_id),
        gateway_id=request.gateway_id,
        limit=request.page_size or _DEFAULT_PAGE,
        offset=request.offset,
        start_us=_microseconds(request.start_time) if request.HasField("start_time") else None,
        end_us=_microseconds(request.end_time) if request.HasField("end_time") else None,
        after_id=request.after_id,
        order_by=order(request.order_by),
        ascending=request.ascending,
        search=text.folded(text.plain(request.search)),
        conditions=tuple(_conditions(request.filters)),
        ranges=request.show_ranges,
    )


def deletion(request: pb.DeleteEntriesRequest) -> Deletion:
    """
    Read which entries are to go.

    Raises:
        GatewayError: INVALID_REQUEST; something about it is wrong.
    """
    if not request.gateway_id:
        raise _invalid("gateway_id", "The gateway must be given.")
    if not 0 <= request.limit <= _MOST_DELETED:
        raise _invalid("limit", f"At once, 1 to {_MOST_DELETED} entries can be deleted.")
    return Deletion(
        account_id=_account(request.account_id),
        gateway_id=request.gateway_id,
        limit=request.limit or _MOST_DELETED,
        order_by=order(request.order_by),
        ascending=not request.descending,
        conditions=tuple(_conditions(request.filters)),
    )


def listed(page: Page) -> pb.ListResponse:
    """Write a page."""
    entries = map(log_entry_pb2.LogEntry.FromString, page.entries)
    return pb.ListResponse(entries=entries, total_count=page.total_count, ranges=_ranges(page.ranges))


def _ranges(found: Ranges | None) -> pb.Ranges | None:
    if found is None:
        return None
    ranges = pb.Ranges()
    for name, ends, unit in (
        ("cost_nano_usd", found.cost_nano_usd, 1),
        ("duration_ms", found.duration_us, 1000),
        ("tokens_in", found.tokens_in, 1),
        ("tokens_out", found.tokens_out, 1),
        ("total_tokens", found.tokens, 1),
    ):
        for end, value in zip(("min", "max"), ends, strict=True):
            if value is not None:
                setattr(ranges, f"{end}_{name}", value // unit)
    return ranges


def owner(request: pb.GetRequest | pb.GetPayloadRequest | pb.UpdateEntryRequest) -> tuple[str, str, str]:
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


def _conditions(filters: Sequence[pb.Filter]) -> Iterable[Condition]:
    if len(filters) > _MOST_FILTERS:
        raise _invalid("filters", f"There can be {_MOST_FILTERS} filters.")
    for each in filters:
        operator = _OPERATORS.get(each.operator)
        if operator is None:
            raise _invalid("filters", "A filter needs an operator.")
        yield condition(each.key, operator, each.values)


def _microseconds(time: Timestamp | Duration) -> int:
    return max(-_MOST, min(time.seconds * 1_000_000 + time.nanos // 1000, _MOST))


def _invalid(param: str, message: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, message, param=param)
