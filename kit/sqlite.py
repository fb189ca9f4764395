"""
A SQLite file as a store: opened safely, read by many, written by one.

Owns the PRAGMAs, the single-writer discipline and what an operator is told when the file cannot be used.
Stores hold a `Database` and speak SQLAlchemy Core to its connections, so that the same store can later be
given a database of another kind. Must never know a table.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from sqlalchemy import event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from sqlalchemy import MetaData

__all__ = ["Database", "DatabaseUnusableError", "Synchronous", "open_database"]

_T = TypeVar("_T")

Synchronous = Literal["NORMAL", "FULL"]

_WRITER = "headrace_writer"


class DatabaseUnusableError(OSError):
    """
    The file cannot serve as a database.

    An `OSError`, whose text is one sentence for the operator, so that a start that fails with it says that.
    """


class Database:
    """
    One SQLite file.

    Use `read` for queries, `change` for anything that must be wholly done or not at all even when whoever
    asked for it goes away, and `write` for writes that may be cut off (and are then undone).

    Args:
        engine: Engine made by `open_database`.
        name: What holds it, as it is named in errors.
        log: Where failures are told.
    """

    def __init__(self, *, engine: AsyncEngine, name: str, log: Any) -> None:
        self._engine = engine
        self._writer = engine.execution_options(**{_WRITER: True})
        self._name = name
        self._log = log
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection that sees one state of the database throughout."""
        with self._explained():
            async with self._engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Give the writing connection. Commits at the end; undoes everything on an error or cancellation."""
        async with self._lock:
            with self._explained():
                async with self._writer.begin() as connection:
                    yield connection

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
            work: Does it; its connection commits when it returns.
            then: Is called with what `work` returned, after the commit and before any later change.
        """
        await self._lock.acquire()
        task = asyncio.get_running_loop().create_task(self._carry_out(work, then))
        task.add_done_callback(self._carried_out)
        return await asyncio.shield(task)

    async def check(self) -> None:
        """Fail when the database does not answer."""
        async with self.read() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Wait for the running change, then close all connections."""
        async with self._lock:
            await self._engine.dispose()

    async def _carry_out(
        self, work: Callable[[AsyncConnection], Awaitable[_T]], then: Callable[[_T], None] | None
    ) -> _T:
        with self._explained():
            async with self._writer.begin() as connection:
                result = await work(connection)
        if then is not None:
            then(result)
        return result

    def _carried_out(self, task: asyncio.Task[Any]) -> None:
        self._lock.release()
        if not task.cancelled():
            task.exception()  # whoever asked may be gone; the failure is then nobody's

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except PoolTimeoutError as error:
            raise GatewayError(
                Reason.OVERLOADED, f"The {self._name} service has too much to do.", resource="database"
            ) from error
        except DBAPIError as error:
            self._log.error("database failed", database=self._name, error=str(error.orig))
            raise GatewayError(
                Reason.SERVICE_UNAVAILABLE,
                f"The {self._name} service cannot use its database.",
                retry_after_s=1.0,
                service=self._name,
            ) from error


@asynccontextmanager
async def open_database(
    path: Path,
    metadata: MetaData,
    *,
    name: str,
    log: Any,
    synchronous: Synchronous = "FULL",
    readers: int = 4,
    busy_timeout_s: float = 5.0,
    verify: bool = True,
) -> AsyncIterator[Database]:
    """
    Open a database file, making it and its tables where they are missing.

    Args:
        path: The file; made with mode 0600, its directory with 0700.
        metadata: The tables.
        name: What holds it, as it is named in errors.
        log: Where failures are told.
        synchronous: `FULL` to lose nothing when the machine loses power, `NORMAL` to lose nothing when the
            process is killed.
        readers: Most reads at the same time; each has a connection and a thread.
        busy_timeout_s: How long to wait for another process that is writing.
        verify: Whether to look through the whole file for damage first; takes time with its size.

    Raises:
        DatabaseUnusableError: It cannot be used.
    """
    await asyncio.to_thread(_prepare, path, busy_timeout_s=busy_timeout_s, verify=verify)
    engine = _engine(path, synchronous=synchronous, pool_size=readers + 1, busy_timeout_s=busy_timeout_s)
    database = Database(engine=engine, name=name, log=log)
    try:
        try:
            await database.change(lambda connection: connection.run_sync(metadata.create_all))
        except GatewayError as error:
            reason = getattr(error.__cause__, "orig", error)
            raise DatabaseUnusableError(f"The database {path} cannot be used: {reason}.") from error
        yield database
    finally:
        await database.close()


def _engine(path: Path, *, synchronous: Synchronous, pool_size: int, busy_timeout_s: float) -> AsyncEngine:
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=busy_timeout_s,
        # The connection used last knows the pages and the statements; another one would start cold.
        pool_use_lifo=True,
        hide_parameters=True,  # what is stored does not belong into error texts
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _set_up(connection: Any, _: object) -> None:
        # The driver's own transactions begin late and silently; ours are begun below.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(busy_timeout_s * 1000)}")
        cursor.execute(f"PRAGMA synchronous = {synchronous}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        # A transaction that begins by reading and then writes can fail at once, whatever the time-out, when
        # another process wrote meanwhile. One that says so at the beginning waits its turn.
        writer = connection.get_execution_options().get(_WRITER, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")

    return engine


def _prepare(path: Path, *, busy_timeout_s: float, verify: bool) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            # Closing a second descriptor of a file in use would drop this process's locks on it, so an
            # existing file is left to SQLite. Its side files take their mode from it.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0] if verify else "ok"
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except OSError as error:
        raise DatabaseUnusableError(f"The database {path} cannot be made: {error.strerror}.") from error
    except sqlite3.DatabaseError as error:
        raise DatabaseUnusableError(_sentence(path, error)) from error
    if damage != "ok":
        raise DatabaseUnusableError(_DAMAGED.format(path=path))


_DAMAGED = "The database {path} is damaged: restore it from a backup, or move it away to start anew."
_SENTENCES = {
    "SQLITE_NOTADB": "The file {path} is not a SQLite database: restore it, or move it away to start anew.",
    "SQLITE_CORRUPT": _DAMAGED,
    "SQLITE_READONLY": "The database {path} cannot be written to: it or its directory is read-only.",
    "SQLITE_CANTOPEN": "The database {path} cannot be opened: check that it is a file and its permissions.",
    "SQLITE_BUSY": "The database {path} is locked by another program.",
    "SQLITE_FULL": "The database {path} cannot be written to: the disk is full.",
}


def _sentence(path: Path, error: sqlite3.DatabaseError) -> str:
    code = "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])
    return _SENTENCES.get(code, f"The database {{path}} cannot be used: {error}.").format(path=path)
