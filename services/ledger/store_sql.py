"""The ledger's store in SQLite or PostgreSQL, through SQLAlchemy Core."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, delete, func, select, text, update

from kit.database import SqliteFile, open_database
from services.ledger.adding_sql import add_rows
from services.ledger.selection_sql import one, ordered, satisfying, wanted
from services.ledger.store import Page, Ranges
from services.ledger.tables import ENTRIES, METADATA, MIGRATIONS, PAYLOADS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from kit.database import Database, Location
    from services.ledger.core.query import Deletion, Query
    from services.ledger.store import Remarks, Row

__all__ = ["SqlEntryStore", "open_store"]

_C: Final = ENTRIES.c
# Deleting these takes some 30 ms, for which recording has to wait.
_CHUNK: Final = 500
# One at a time adds or deletes, whatever its process, until it has committed: `seq` is then the order of the
# commits, and who follows the log never finds an entry before one that it went past. SQLite has one writer.
_TAKE_TURN: Final = text("SELECT pg_advisory_xact_lock(7261475, hashtext(current_schema()))")
_RANGES: Final = tuple(
    function(column)
    for column in (_C.cost_nano_usd, _C.duration_us, _C.tokens_in, _C.tokens_out, _C.tokens)
    for function in (func.min, func.max)
)


@asynccontextmanager
async def open_store(location: Location, *, log: Any) -> AsyncIterator[SqlEntryStore]:
    """
    Open the store, making its tables where they are missing.

    Raises:
        DatabaseUnusableError: It cannot be used.
    """
    if isinstance(location, SqliteFile):
        # Not looked through at start: with millions of entries that would take minutes.
        location = replace(location, verify=False)
    async with open_database(
        location, METADATA, name="ledger", log=log, migrations=MIGRATIONS, whole=True
    ) as database:
        yield SqlEntryStore(database)


class SqlEntryStore:
    """
    Keeps entries in a database.

    Args:
        database: With the ledger's tables.
    """

    def __init__(self, database: Database) -> None:
        self.database: Final = database

    async def add(self, rows: Sequence[Row]) -> int:
        """Keep entries in one transaction; return how many were new."""
        first: dict[str, Row] = {}
        for row in rows:
            first.setdefault(row.id, row)
        if not first:
            return 0

        async def work(connection: AsyncConnection) -> int:
            await self._take_turn(connection)
            return await add_rows(connection, list(first.values()))

        return await self.database.change(work)

    async def list(self, query: Query) -> Page:
        """Find entries."""
        which = wanted(query)
        order = ordered(query.order_by, ascending=query.ascending)
        if query.after_id:
            order = (_C.seq if query.ascending else _C.seq.desc(),)
        statement = select(_C.entry).where(which).order_by(*order).limit(query.limit).offset(query.offset)
        summary = select(func.count(), *(_RANGES if query.ranges else ())).select_from(ENTRIES).where(which)
        async with self.database.read() as connection:
            total, *ends = (await connection.execute(summary)).one()
            found = (await connection.scalars(statement)).all()
        pairs = [(ends[at], ends[at + 1]) for at in range(0, len(ends), 2)]
        return Page(entries=tuple(found), total_count=total, ranges=Ranges(*pairs) if pairs else None)

    async def get(self, account_id: str, gateway_id: str, entry_id: str) -> bytes | None:
        """Find an entry of an account, or of one of its gateways."""
        return await self._scalar(select(_C.entry).where(one(account_id, gateway_id, entry_id)))

    async def payload(self, account_id: str, gateway_id: str, entry_id: str) -> bytes | None:
        """Find the payload of such an entry."""
        return await self._scalar(
            select(PAYLOADS.c.payload)
            .join(ENTRIES, _C.id == PAYLOADS.c.id)
            .where(one(account_id, gateway_id, entry_id))
        )

    async def update(
        self, account_id: str, gateway_id: str, entry_id: str, change: Callable[[bytes], Remarks]
    ) -> bytes | None:
        """Change what is said of an entry; return it as it is then."""
        which = one(account_id, gateway_id, entry_id)

        async def work(connection: AsyncConnection) -> bytes | None:
            found = await connection.scalar(select(_C.entry).where(which).with_for_update())
            if found is None:
                return None
            now = change(found)
            await connection.execute(
                update(ENTRIES).where(which).values(
                    feedback=now.feedback,
                    metadata_keys=now.metadata_keys,
                    metadata_values=now.metadata_values,
                    searched=now.searched,
                    entry=now.entry,
                )
            )  # fmt: skip
            return now.entry

        return await self.database.change(work)

    async def delete(self, deletion: Deletion) -> int:
        """Delete entries with their payloads, some at a time; return how many."""
        owner = and_(_C.account_id == deletion.account_id, _C.gateway_id == deletion.gateway_id)
        chosen = (
            select(_C.id)
            .where(owner, satisfying(deletion.conditions))
            .order_by(*ordered(deletion.order_by, ascending=deletion.ascending))
        )
        gone = 0
        while gone < deletion.limit:
            size = min(_CHUNK, deletion.limit - gone)
            deleted = await self._delete(chosen.limit(size))
            gone += deleted
            if deleted < size:
                break
        return gone

    async def excess(self, max_entries: int) -> int:
        """Say how many entries are too many."""
        ends = select(func.min(_C.seq).label("first"), func.max(_C.seq).label("last"))
        async with self.database.read() as connection:
            first, last = (await connection.execute(ends)).one()
            # Counting goes through all of them; where even without gaps there were not too many, it is not
            # needed.
            if last is None or last - first < max_entries:
                return 0
            total = await connection.scalar(select(func.count()).select_from(ENTRIES))
        return max(0, (total or 0) - max_entries)

    async def trim(self, count: int) -> int:
        """Delete some of the entries recorded first, at most as many as given; return how many."""
        return await self._delete(select(_C.id).order_by(_C.seq).limit(min(count, _CHUNK)))

    async def check(self) -> None:
        """Fail when the database does not answer."""
        await self.database.check()

    async def _delete(self, chosen: Select[tuple[str]]) -> int:
        async def work(connection: AsyncConnection) -> int:
            await self._take_turn(connection)
            ids = (await connection.scalars(chosen)).all()
            await connection.execute(delete(PAYLOADS).where(PAYLOADS.c.id.in_(ids)))
            return (await connection.execute(delete(ENTRIES).where(_C.id.in_(ids)))).rowcount

        return await self.database.change(work)

    async def _scalar(self, statement: Select[tuple[bytes]]) -> bytes | None:
        async with self.database.read() as connection:
            found: bytes | None = await connection.scalar(statement)
        return found

    async def _take_turn(self, connection: AsyncConnection) -> None:
        if self.database.dialect == "postgresql":
            await connection.execute(_TAKE_TURN)
