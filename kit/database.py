"""
A service's database, SQLite or PostgreSQL: opened safely, and used in turns.

Stores hold a `Database` and speak SQLAlchemy Core to its connections, in statements that both understand.
Owns transactions, who waits for whom, and what callers are told when the database fails; what is particular
to one kind is in `kit.database_sqlite` and `kit.database_postgres`. Must never know a table of a service.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from kit.database_errors import DatabaseUnusableError, explained, may_repeat, overloaded
from kit.database_location import (
    Location,
    PostgresSchema,
    SqliteFile,
    Synchronous,
    location,
    location_of,
    sqlite_file,
)
from kit.database_migrate import Migrations, bring_up_to_date, make_tables
from kit.database_postgres import postgres_engine, wait_for_server
from kit.database_sqlite import WRITER, prepare, sqlite_engine
from kit.database_tables import NAMING, key_text, upsert
from kit.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from sqlalchemy import MetaData
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

__all__ = [
    "NAMING",
    "Database",
    "DatabaseUnusableError",
    "Location",
    "Migrations",
    "PostgresSchema",
    "SqliteFile",
    "Synchronous",
    "connect_database",
    "key_text",
    "location",
    "location_of",
    "open_database",
    "sqlite_file",
    "upsert",
]

_T = TypeVar("_T")

_UNCOUNTED: Final = "headrace_uncounted"
# Longest wait for a turn. Callers' own limits are shorter; this one is for those that have none.
_PATIENCE_S: Final = 30.0
# Each try waits for its locks anew, and two that block one another do so seldom.
_TRIES: Final = 5
_PAUSE_S: Final = 0.01


class Database:
    """
    One service's database.

    Use `read` for queries, `change` for anything that must be wholly done or not at all even when whoever
    asked for it goes away, and `write` for writes that may be cut off (and are then undone).

    Whoever wants a connection waits for a turn, first come, first served. Readers and writers queue apart.
    SQLite has one writer at a time, PostgreSQL several.

    Args:
        engine: Made for the location.
        location: What it is an engine for.
        name: The service, as it is named in errors.
        log: Where failures are told.
    """

    def __init__(self, *, engine: AsyncEngine, location: Location, name: str, log: Any) -> None:
        self.name: Final = name
        self.location: Final = location
        self.log: Final = log
        self._engine = engine
        if isinstance(location, SqliteFile):
            self.dialect: Literal["sqlite", "postgresql"] = "sqlite"
            self._reader, readers, writers = engine, location.readers, 1
        else:
            self.dialect = "postgresql"
            self._reader = engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            writers = location.settings.pool_size // 2
            readers = location.settings.pool_size - writers
        self._writer = engine.execution_options(**{WRITER: True})
        self._checker = engine.execution_options(**{_UNCOUNTED: True})
        self._readers = asyncio.Semaphore(readers)
        self._writers = asyncio.Semaphore(writers)
        self._changes: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection that sees one state of the database throughout."""
        await self._take_turn(self._readers)
        try:
            with explained(self.name, self.log):
                async with self._reader.begin() as connection:
                    yield connection
        finally:
            self._readers.release()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Give a writing connection. Commits at the end; undoes everything on an error or cancellation."""
        await self._take_turn(self._writers)
        try:
            with explained(self.name, self.log):
                async with self._writer.begin() as connection:
                    yield connection
        finally:
            self._writers.release()

    async def change(
        self,
        work: Callable[[AsyncConnection], Awaitable[_T]],
        then: Callable[[_T], None] | None = None,
    ) -> _T:
        """
        Do something in one transaction, to its end once it has begun.

        A caller that is cancelled meanwhile stops waiting; the transaction and what follows from it still
        happen, so nobody is left uninformed of a change that was made.

        Args:
            work: Does it; its connection commits when it returns. Called again when PostgreSQL undid the
                transaction because of another one, so it must leave nothing outside the database.
            then: Is called with what `work` returned, after the commit; with SQLite, before any later change.
        """
        await self._take_turn(self._writers)
        task = asyncio.get_running_loop().create_task(self._carry_out(work, then))
        self._changes.add(task)
        task.add_done_callback(self._carried_out)
        return await asyncio.shield(task)

    async def check(self) -> None:
        """Fail when the database does not answer. Waits for no turn."""
        with explained(self.name, self.log):
            async with self._checker.connect() as connection:
                await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Wait for running changes, then close all connections."""
        while self._changes:
            await asyncio.wait(set(self._changes))
        await self._engine.dispose()

    async def _take_turn(self, turns: asyncio.Semaphore) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await turns.acquire()
        except TimeoutError:
            raise overloaded(self.name) from None

    async def _carry_out(
        self, work: Callable[[AsyncConnection], Awaitable[_T]], then: Callable[[_T], None] | None
    ) -> _T:
        with explained(self.name, self.log):
            result = await self._transact(work)
        if then is not None:
            then(result)
        return result

    async def _transact(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        left = _TRIES
        while True:
            left -= 1
            try:
                async with self._writer.begin() as connection:
                    return await work(connection)
            except DBAPIError as error:
                if not left or not may_repeat(error):
                    raise
            await asyncio.sleep(_PAUSE_S * (_TRIES - left))

    def _carried_out(self, task: asyncio.Task[Any]) -> None:
        self._writers.release()
        self._changes.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may be gone; the failure is then nobody's


@asynccontextmanager
async def connect_database(location: Location, *, name: str, log: Any) -> AsyncIterator[Database]:
    """
    Connect to a database, whatever its tables are; waits for a server that is not there yet.

    Raises:
        DatabaseUnusableError: It cannot be used.
    """
    application = f"headrace {name}"
    if isinstance(location, SqliteFile):
        await prepare(location)
        engine = sqlite_engine(location, patience_s=_PATIENCE_S)
    else:
        await wait_for_server(location, application=application, log=log)
        engine = postgres_engine(location, application=application, patience_s=_PATIENCE_S)
    if location.on_statement is not None:
        _count_statements(engine, location.on_statement)
    database = Database(engine=engine, location=location, name=name, log=log)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def open_database(
    location: Location,
    metadata: MetaData,
    *,
    name: str,
    log: Any,
    migrations: Migrations | None = None,
    whole: bool = False,
) -> AsyncIterator[Database]:
    """
    Open a service's database, with its tables up to date.

    Args:
        location: Where it is.
        metadata: The tables.
        name: The service, as it is named in errors.
        log: Where failures are told.
        migrations: How tables came to be what they are; without any, missing ones are made as they should be.
        whole: The tables are all that the migrations leave, so that a new database needs no migration: they
            write no rows, and every module that has tables or triggers is imported.

    Raises:
        DatabaseUnusableError: It cannot be used, or its tables do not fit to this release.
    """
    async with connect_database(location, name=name, log=log) as database:
        try:
            if migrations is None:
                await make_tables(database, metadata)
            else:
                await bring_up_to_date(database, migrations, whole=metadata if whole else None)
        except GatewayError as error:
            reason = getattr(error.__cause__, "orig", error)
            raise DatabaseUnusableError(f"The database {location.shown} cannot be used: {reason}.") from error
        yield database


def _count_statements(engine: AsyncEngine, told: Callable[[str], None]) -> None:
    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def _count(connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        options = connection.get_execution_options()
        if not options.get(_UNCOUNTED) and not statement.startswith("BEGIN"):
            told("write" if options.get(WRITER) else "read")
