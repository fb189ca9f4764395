"""Entries in SQLite, through SQLAlchemy Core."""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    and_,
    delete,
    false,
    func,
    or_,
    select,
)

from kit.sqlite import open_database
from services.ledger.core.query import Condition, Field, Operator, Query
from services.ledger.store import Page, Row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from kit.sqlite import Database, Synchronous

__all__ = ["SqliteEntryStore", "open_store"]

_METADATA = MetaData()
_ENTRIES = Table(
    "entries",
    _METADATA,
    Column("seq", Integer, primary_key=True),  # grows in the order of recording
    Column("id", Text, nullable=False, unique=True),
    Column("account_id", Text, nullable=False),
    Column("gateway_id", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("duration_us", BigInteger, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("success", Boolean, nullable=False),
    Column("cached", Boolean, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("tokens_in", BigInteger),
    Column("tokens_out", BigInteger),
    Column("cost_nano_usd", BigInteger),
    Column("entry", LargeBinary, nullable=False),
)
_C = _ENTRIES.c
Index("entries_by_account", _C.account_id, _C.created_us)
Index("entries_by_gateway", _C.account_id, _C.gateway_id, _C.created_us)
_PAYLOADS = Table(
    "payloads",
    _METADATA,
    Column("id", Text, primary_key=True),
    Column("payload", LargeBinary, nullable=False),
)

_COLUMNS: Final = tuple(column.name for column in _C if column.name != "seq")
# Rows in one statement; fewer are filled up with empty ones. Every statement gives up and takes back the
# interpreter's lock, which holds up the event loop of a process that serves requests as well; and one for any
# number of rows would be compiled anew nearly every time.
_ROWS: Final = 64


def _given(width: int) -> str:
    row = f"({', '.join('?' * width)})"
    return f"SELECT * FROM (VALUES {', '.join([row] * _ROWS)}) WHERE column1 IS NOT NULL"  # noqa: S608 - constants


# Written out, and given tuples: SQLAlchemy's own binding of parameters costs more than the insert itself.
_ADD_ENTRY: Final = f"INSERT OR IGNORE INTO entries ({', '.join(_COLUMNS)}) {_given(len(_COLUMNS))}"
# Before the entries, so that a payload never joins an entry that came without it.
_NOT_RECORDED: Final = "NOT EXISTS (SELECT 1 FROM entries WHERE id = column1)"
_ADD_PAYLOAD: Final = f"INSERT INTO payloads (id, payload) {_given(2)} AND {_NOT_RECORDED}"
_FIELDS: Final[dict[Field, ColumnElement[Any]]] = {
    Field.ID: _C.id,
    Field.PROVIDER: _C.provider,
    Field.MODEL: _C.model,
    Field.SUCCESS: _C.success,
    Field.CACHED: _C.cached,
    Field.EVENT_ID: _C.event_id,
    Field.COST: _C.cost_nano_usd,
    Field.TOKENS_IN: _C.tokens_in,
    Field.TOKENS_OUT: _C.tokens_out,
    Field.DURATION: _C.duration_us,
    Field.STATUS_CODE: _C.status,
}


@asynccontextmanager
async def open_store(path: Path, *, synchronous: Synchronous, log: Any) -> AsyncIterator[SqliteEntryStore]:
    """
    Open the store in a file, making it where it is missing.

    Raises:
        DatabaseUnusableError: It cannot be used.
    """
    # Not looked through at start: with millions of entries that would take minutes.
    opened = open_database(path, _METADATA, name="ledger", log=log, synchronous=synchronous, verify=False)
    async with opened as database:
        yield SqliteEntryStore(database)


class SqliteEntryStore:
    """Keeps entries in one SQLite file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, rows: Sequence[Row]) -> int:
        """Keep entries in one transaction; return how many were new."""
        first: dict[str, Row] = {}
        for row in rows:
            first.setdefault(row.id, row)
        if not first:
            return 0
        payloads = [(row.id, row.payload) for row in first.values() if row.payload is not None]
        entries = [_values(row) for row in first.values()]

        async def work(connection: AsyncConnection) -> int:
            if payloads:
                await connection.exec_driver_sql(_ADD_PAYLOAD, _filled(payloads))
            return (await connection.exec_driver_sql(_ADD_ENTRY, _filled(entries))).rowcount

        return await self._database.change(work)

    async def list(self, query: Query) -> Page:
        """Find entries."""
        wanted = and_(*_conditions(query))
        order = (_C.seq,) if query.after_id else (_C.created_us, _C.seq)
        statement = (
            select(_C.entry)
            .where(wanted)
            .order_by(*(column if query.ascending else column.desc() for column in order))
            .limit(query.limit)
            .offset(query.offset)
        )
        async with self._database.read() as connection:
            total = await connection.scalar(select(func.count()).select_from(_ENTRIES).where(wanted))
            found = (await connection.scalars(statement)).all()
        return Page(entries=tuple(found), total_count=total or 0)

    async def get(self, account_id: str, gateway_id: str, entry_id: str) -> bytes | None:
        """Find an entry of an account, or of one of its gateways."""
        async with self._database.read() as connection:
            found: bytes | None = await connection.scalar(
                select(_C.entry).where(_one(account_id, gateway_id, entry_id))
            )
        return found

    async def payload(self, account_id: str, gateway_id: str, entry_id: str) -> bytes | None:
        """Find the payload of such an entry."""
        statement = (
            select(_PAYLOADS.c.payload)
            .join(_ENTRIES, _C.id == _PAYLOADS.c.id)
            .where(_one(account_id, gateway_id, entry_id))
        )
        async with self._database.read() as connection:
            found: bytes | None = await connection.scalar(statement)
        return found

    async def trim(self, max_entries: int, *, chunk: int) -> int:
        """Delete some of the entries that are too many, those recorded first; return how many."""
        async with self._database.read() as connection:
            ends = select(func.min(_C.seq).label("first"), func.max(_C.seq).label("last"))
            first, last = (await connection.execute(ends)).one()
        # Entries are only ever deleted from this end, so the span is the count.
        if last is None or last - first < max_entries:
            return 0
        up_to = min(last - max_entries, first + chunk - 1)

        async def work(connection: AsyncConnection) -> int:
            old = select(_C.id).where(_C.seq <= up_to)
            await connection.execute(delete(_PAYLOADS).where(_PAYLOADS.c.id.in_(old)))
            return (await connection.execute(delete(_ENTRIES).where(_C.seq <= up_to))).rowcount

        return await self._database.change(work)

    async def check(self) -> None:
        """Fail when the database does not answer."""
        await self._database.check()


def _filled(rows: Sequence[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Give the parameters of as many statements as the rows need."""
    empty = (None,) * (len(rows[0]) * (-len(rows) % _ROWS))
    flat = [tuple(chain.from_iterable(rows[at : at + _ROWS])) for at in range(0, len(rows), _ROWS)]
    return [*flat[:-1], flat[-1] + empty]


def _values(row: Row) -> tuple[object, ...]:
    return (
        row.id,
        row.account_id,
        row.gateway_id,
        row.created_us,
        row.duration_us,
        row.provider,
        row.model,
        row.status,
        row.success,
        row.cached,
        row.event_id,
        row.tokens_in,
        row.tokens_out,
        row.cost_nano_usd,
        row.entry,
    )


def _one(account_id: str, gateway_id: str, entry_id: str) -> ColumnElement[bool]:
    owner = _C.account_id == account_id
    if gateway_id:
        owner &= _C.gateway_id == gateway_id
    return and_(_C.id == entry_id, owner)


def _conditions(query: Query) -> list[ColumnElement[bool]]:
    account, gateway = _owner_columns(query)
    found = [account == query.account_id]
    if query.gateway_id:
        found.append(gateway == query.gateway_id)
    if query.start_us is not None:
        found.append(_C.created_us >= query.start_us)
    if query.end_us is not None:
        found.append(_C.created_us <= query.end_us)
    if query.after_id:
        # One that is gone was among the oldest, so what is left comes after it.
        after = select(_C.seq).where(_C.id == query.after_id).scalar_subquery()
        found.append(_C.seq > func.coalesce(after, 0))
    return found + [_condition(condition) for condition in query.conditions]


def _owner_columns(query: Query) -> tuple[ColumnElement[str], ColumnElement[str]]:
    if not query.after_id:
        return _C.account_id, _C.gateway_id
    # As expressions no index fits them, and SQLite goes through the few entries after `seq` instead of
    # through all of the account's.
    return _C.account_id.concat(""), _C.gateway_id.concat("")


def _condition(condition: Condition) -> ColumnElement[bool]:
    column = _FIELDS[condition.field]
    values = condition.values
    match condition.operator:
        case Operator.EQ:
            return column.in_(values)
        case Operator.NEQ:
            return or_(column.is_(None), column.not_in(values))
        case Operator.CONTAINS:
            return or_(false(), *(func.instr(column, value) > 0 for value in values))
        case Operator.LT:
            return column < max(values)
        case Operator.GT:
            return column > min(values)
