"""
SQLite for `kit.database`: a file opened safely, and an engine with the PRAGMAs that stores rely on.

Owns what an operator is told when a file cannot be used.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine

from kit.database_errors import DatabaseUnusableError

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from kit.database_location import SqliteFile

__all__ = ["WRITER", "prepare", "sqlite_engine"]

WRITER: Final = "headrace_writer"
"""Execution option of connections that write."""


async def prepare(file: SqliteFile) -> None:
    """
    Make the file where it is missing, and see that it can be used.

    Raises:
        DatabaseUnusableError: It cannot.
    """
    await asyncio.to_thread(_prepare, file.path, busy_timeout_s=file.busy_timeout_s, verify=file.verify)


def sqlite_engine(file: SqliteFile, *, patience_s: float) -> AsyncEngine:
    """
    Return an engine for a file that was prepared.

    Args:
        file: The file.
        patience_s: How long to wait for a connection of the pool.
    """
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(file.path)),
        pool_size=file.readers + 2,  # one writes, and one tells whether the database answers
        max_overflow=0,
        pool_timeout=patience_s,
        # The connection used last knows the pages and the statements; another one would start cold.
        pool_use_lifo=True,
        hide_parameters=True,  # what is stored does not belong into error texts
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _set_up(connection: Any, _: object) -> None:
        # The driver's own transactions begin late and silently; ours are begun below.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(file.busy_timeout_s * 1000)}")
        cursor.execute(f"PRAGMA synchronous = {file.synchronous}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        # A transaction that begins by reading and then writes can fail at once, whatever the time-out, when
        # another process wrote meanwhile. One that says so at the beginning waits its turn.
        writer = connection.get_execution_options().get(WRITER, False)
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
