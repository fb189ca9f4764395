"""Which rows a query means, and in which order, in SQL that both databases understand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Boolean, and_, false, func, literal, not_, or_, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from services.ledger.core.query import MILLISECOND_US, Field, Operator
from services.ledger.core.text import within
from services.ledger.tables import ENTRIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement
    from sqlalchemy.sql.compiler import SQLCompiler

    from services.ledger.core.query import Condition, Query

__all__ = ["one", "ordered", "satisfying", "wanted"]

_C: Final = ENTRIES.c
_FIELDS: Final[dict[Field, ColumnElement[Any]]] = {
    Field.ID: _C.id,
    Field.CREATED_AT: _C.created_us,
    Field.PROVIDER: _C.provider,
    Field.MODEL: _C.model,
    Field.SUCCESS: _C.success,
    Field.CACHED: _C.cached,
    Field.EVENT_ID: _C.event_id,
    Field.COST: _C.cost_nano_usd,
    Field.TOKENS: _C.tokens,
    Field.TOKENS_IN: _C.tokens_in,
    Field.TOKENS_OUT: _C.tokens_out,
    Field.DURATION: _C.duration_us,
    Field.STATUS_CODE: _C.status,
    Field.FEEDBACK: _C.feedback,
    Field.REQUEST_CONTENT_TYPE: _C.request_content_type,
    Field.RESPONSE_CONTENT_TYPE: _C.response_content_type,
    Field.USER_AGENT: _C.user_agent,
    Field.AUTHENTICATION: _C.authentication,
    Field.METADATA_KEY: _C.metadata_keys,
    Field.METADATA_VALUE: _C.metadata_values,
}
_JOINED: Final = frozenset({Field.METADATA_KEY, Field.METADATA_VALUE})
_MILLISECONDS: Final = frozenset({Field.CREATED_AT, Field.DURATION})


class _Has(GenericFunction[bool]):
    """Whether a text has another in it, case and all: LIKE means something else on each database."""

    name = "headrace_has"
    type = Boolean()
    inherit_cache = True


@compiles(_Has, "sqlite")
def _has_sqlite(element: _Has, compiler: SQLCompiler, **options: Any) -> str:
    return f"(instr({compiler.process(element.clauses, **options)}) > 0)"


@compiles(_Has, "postgresql")
def _has_postgresql(element: _Has, compiler: SQLCompiler, **options: Any) -> str:
    return f"(strpos({compiler.process(element.clauses, **options)}) > 0)"


def one(account_id: str, gateway_id: str, entry_id: str) -> ColumnElement[bool]:
    """Mean one entry of an account, or of one of its gateways."""
    owner = _C.account_id == account_id
    if gateway_id:
        owner &= _C.gateway_id == gateway_id
    return and_(_C.id == entry_id, owner)


def wanted(query: Query) -> ColumnElement[bool]:
    """Mean all entries of a query."""
    account, gateway = _owner_columns(query)
    found = [account == query.account_id]
    if query.gateway_id:
        found.append(gateway == query.gateway_id)
    if query.start_us is not None:
        found.append(_C.created_us >= query.start_us)
    if query.end_us is not None:
        found.append(_C.created_us <= query.end_us)
    if query.after_id:
        # After one that is gone comes everything: what was recorded before it cannot be told any more.
        after = select(_C.seq).where(_C.id == query.after_id).scalar_subquery()
        found.append(_C.seq > func.coalesce(after, 0))
    if query.search:
        found.append(_has(_C.searched, query.search))
    return and_(*found, satisfying(query.conditions))


def satisfying(conditions: Iterable[Condition]) -> ColumnElement[bool]:
    """Mean the entries that satisfy all conditions."""
    return and_(literal(True), *(_condition(each) for each in conditions))  # noqa: FBT003 - SQL


def ordered(field: Field, *, ascending: bool) -> tuple[ColumnElement[Any], ...]:
    """Sort by a field, and what is alike in it by time; what is not known comes last either way."""
    columns: tuple[Any, ...] = (_C.created_us, _C.seq)
    if field is not Field.CREATED_AT:
        columns = (_FIELDS[field], *columns)
    directed = (column if ascending else column.desc() for column in columns)
    return tuple(
        direction.nulls_last() if column.nullable else direction
        for column, direction in zip(columns, directed, strict=True)
    )


def _owner_columns(query: Query) -> tuple[ColumnElement[str], ColumnElement[str]]:
    if not query.after_id:
        return _C.account_id, _C.gateway_id
    # As expressions no index fits them, and the database goes through the few entries after `seq` instead of
    # through all of the account's.
    return _C.account_id.concat(""), _C.gateway_id.concat("")


def _condition(condition: Condition) -> ColumnElement[bool]:
    column = _FIELDS[condition.field]
    values: tuple[Any, ...] = condition.values
    match condition.operator:
        case Operator.EQ:
            return _equal(condition.field, column, values)
        case Operator.NEQ:
            return or_(column.is_(None), not_(_equal(condition.field, column, values)))
        case Operator.CONTAINS:
            found = or_(false(), *(_has(column, value) for value in values))
            # Where there are no metadata at all, none of them holds even the empty text.
            return and_(column != "", found) if condition.field in _JOINED else found
        case Operator.LT:
            below: ColumnElement[bool] = column < max(values)
            return below
        case Operator.GT:
            above: ColumnElement[bool] = column > min(values)
            return above


def _equal(field: Field, column: ColumnElement[Any], values: tuple[Any, ...]) -> ColumnElement[bool]:
    if field in _JOINED:
        return or_(false(), *(_has(column, within(value)) for value in values))
    if field in _MILLISECONDS:
        spans = (and_(column >= value, column <= value + MILLISECOND_US - 1) for value in values)
        return or_(false(), *spans)
    return column.in_(values)


def _has(column: ColumnElement[str], text: str) -> ColumnElement[bool]:
    found: ColumnElement[bool] = _Has(column, text)
    return found
