"""
Adding entries: what happens all the time, so each database is told in its own words.

Statements are written out and given plain tuples: SQLAlchemy's own binding of parameters costs more than the
insert itself.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from sqlalchemy import BigInteger, Boolean, Double, Integer, LargeBinary

from services.ledger.tables import ENTRIES, PAYLOADS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.ledger.store import Row

__all__ = ["COLUMNS", "add_rows", "values"]

COLUMNS: Final = tuple(column.name for column in ENTRIES.c if column.name != "seq")
"""Columns that a row fills, in the order of `values`."""

# Rows in one statement for SQLite; fewer are filled up with empty ones. Every statement gives up and takes
# back the interpreter's lock, which holds up the event loop of a process that serves requests as well; and
# one for any number of rows would be compiled anew nearly every time.
_ROWS: Final = 64
# Before the entries, so that a payload never joins an entry that came without it.
_NOT_RECORDED: Final = "NOT EXISTS (SELECT 1 FROM entries WHERE entries.id = given.{id})"


def _given(width: int) -> str:
    row = f"({', '.join('?' * width)})"
    return f"SELECT * FROM (VALUES {', '.join([row] * _ROWS)}) AS given WHERE column1 IS NOT NULL"  # noqa: S608 - constants


_SQLITE_ENTRIES: Final = f"INSERT OR IGNORE INTO entries ({', '.join(COLUMNS)}) {_given(len(COLUMNS))}"
_SQLITE_PAYLOADS: Final = (
    f"INSERT INTO payloads (id, payload) {_given(2)} AND {_NOT_RECORDED.format(id='column1')}"
)


def _postgres_type(table: Table, name: str) -> str:
    kind = table.c[name].type
    for known, written in (
        (BigInteger, "bigint"), (Integer, "integer"), (Boolean, "boolean"),
        (Double, "double precision"), (LargeBinary, "bytea"),
    ):  # fmt: skip
        if isinstance(kind, known):
            return written
    return "text"


def _arrays(table: Table, columns: Sequence[str]) -> str:
    """Give rows that come as one array for each column, in their order."""
    types = (_postgres_type(table, name) for name in columns)
    arrays = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(types, 1))
    names = ", ".join(columns)
    return f"SELECT {names} FROM unnest({arrays}) WITH ORDINALITY AS given ({names}, place)"  # noqa: S608 - constants


_POSTGRES_ENTRIES: Final = (
    f"INSERT INTO entries ({', '.join(COLUMNS)}) {_arrays(ENTRIES, COLUMNS)} "
    "ORDER BY place ON CONFLICT DO NOTHING"
)
_POSTGRES_PAYLOADS: Final = (
    f"INSERT INTO payloads (id, payload) {_arrays(PAYLOADS, ('id', 'payload'))} "
    f"WHERE {_NOT_RECORDED.format(id='id')}"
)


async def add_rows(connection: AsyncConnection, rows: Sequence[Row]) -> int:
    """Add rows, no two with the same id; return how many were new."""
    payloads = [(row.id, row.payload) for row in rows if row.payload is not None]
    entries = [values(row) for row in rows]
    if connection.dialect.name == "postgresql":
        if payloads:
            await connection.exec_driver_sql(_POSTGRES_PAYLOADS, _by_column(payloads))
        return (await connection.exec_driver_sql(_POSTGRES_ENTRIES, _by_column(entries))).rowcount
    if payloads:
        await connection.exec_driver_sql(_SQLITE_PAYLOADS, _filled(payloads))
    return (await connection.exec_driver_sql(_SQLITE_ENTRIES, _filled(entries))).rowcount


def values(row: Row) -> tuple[object, ...]:
    """Give what stands in the columns of a row."""
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
        row.tokens,
        row.cost_nano_usd,
        row.feedback,
        row.request_content_type,
        row.response_content_type,
        row.user_agent,
        row.authentication,
        row.metadata_keys,
        row.metadata_values,
        row.searched,
        row.entry,
    )


def _by_column(rows: Sequence[tuple[object, ...]]) -> tuple[list[object], ...]:
    return tuple(map(list, zip(*rows, strict=True)))


def _filled(rows: Sequence[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Give the parameters of as many statements as the rows need."""
    empty = (None,) * (len(rows[0]) * (-len(rows) % _ROWS))
    flat = [tuple(chain.from_iterable(rows[at : at + _ROWS])) for at in range(0, len(rows), _ROWS)]
    return [*flat[:-1], flat[-1] + empty]
