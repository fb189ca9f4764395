"""SQLite files as stores: set-up, one writer, and what the operator is told."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from sqlalchemy import Column, Integer, MetaData, Table, func, insert, select, text

from kit.database import DatabaseUnusableError, SqliteFile, open_database, sqlite_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from kit.database import Database

LOG = structlog.get_logger()
ROOT = Path(__file__).resolve().parents[2]
METADATA = MetaData()
ROWS = Table("rows", METADATA, Column("id", Integer, primary_key=True))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(sqlite_file(tmp_path / "dir" / "x.db"), METADATA, name="x", log=LOG) as found:
        yield found


async def _count(database: Database) -> int:
    async with database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(ROWS))).scalar_one())


async def _add(connection: AsyncConnection, number: int) -> None:
    await connection.execute(insert(ROWS).values(id=number))


async def test_the_file_is_set_up(database: Database, tmp_path: Path) -> None:
    """WAL, waiting instead of failing, foreign keys, and nothing readable by others."""
    async with database.read() as connection:
        found = [
            (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "dir").iterdir()}

    assert found == ["wal", 2, 1, 5000]
    assert modes == {"x.db": 0o600, "x.db-shm": 0o600, "x.db-wal": 0o600}
    assert stat.S_IMODE((tmp_path / "dir").stat().st_mode) == 0o700


async def test_another_process_that_writes_is_waited_for(database: Database, tmp_path: Path) -> None:
    """A lock held elsewhere delays a change and does not fail it."""
    with closing(sqlite3.connect(tmp_path / "dir" / "x.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        task = asyncio.create_task(database.change(lambda connection: _add(connection, 1)))
        await asyncio.sleep(0.1)
        assert not task.done()
        other.execute("COMMIT")
        await task

    assert await _count(database) == 1


async def test_a_change_is_the_writer_from_its_beginning(database: Database, tmp_path: Path) -> None:
    """No other process writes between what a change reads and what it writes."""
    with closing(sqlite3.connect(tmp_path / "dir" / "x.db", isolation_level=None, timeout=0)) as other:

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(select(ROWS.c.id))
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
            await _add(connection, 1)

        await database.change(work)

    assert 1 == await _count(database)


async def _sentence(path: Path) -> str:
    place = SqliteFile(path=path, busy_timeout_s=0.1)
    with pytest.raises(DatabaseUnusableError) as caught:
        async with open_database(place, METADATA, name="x", log=LOG):
            pass
    return str(caught.value)


async def test_a_file_of_another_kind_is_one_sentence(tmp_path: Path) -> None:
    """A file that is no database is named, not overwritten."""
    path = tmp_path / "x.db"
    path.write_bytes(b"these are not the rows you are looking for" * 100)

    assert f"The file {path} is not a SQLite database" in await _sentence(path)
    assert path.read_bytes().startswith(b"these are not")


async def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    """Damage is found at the start and not in the middle of the work."""
    path = tmp_path / "x.db"
    async with open_database(sqlite_file(path), METADATA, name="x", log=LOG) as database:
        for base in range(0, 50_000, 10_000):
            numbers = [{"id": base + each} for each in range(10_000)]
            async with database.write() as connection:
                await connection.execute(insert(ROWS), numbers)
    content = bytearray(path.read_bytes())
    content[8192:20_480] = os.urandom(20_480 - 8192)
    path.write_bytes(content)

    assert f"The database {path} is damaged" in await _sentence(path)


async def test_a_directory_in_its_place_is_one_sentence(tmp_path: Path) -> None:
    """What cannot be opened is said so."""
    assert f"The database {tmp_path} cannot be opened" in await _sentence(tmp_path)


async def test_a_locked_file_is_one_sentence(tmp_path: Path) -> None:
    """Another program that holds the file is said to do so."""
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")

        assert f"The database {path} is locked by another program." == await _sentence(path)


_OPEN = """
import asyncio, concurrent.futures.thread, os, sys
from pathlib import Path
import structlog
from sqlalchemy import MetaData
from kit.database import DatabaseUnusableError, open_database, sqlite_file

async def main():
    place = sqlite_file(Path(sys.argv[1]))
    async with open_database(place, MetaData(), name="x", log=structlog.get_logger()):
        pass

if os.getuid() == 0:  # root may write anywhere, so the attempt is made by nobody
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    asyncio.run(main())
except DatabaseUnusableError as error:
    print(error)
"""


def _open_unwritable(directory: Path) -> subprocess.CompletedProcess[str]:
    (directory / "x.db").chmod(0o444)
    directory.chmod(0o555)
    directory.parent.chmod(0o755)
    try:
        return subprocess.run(
            [sys.executable, "-c", _OPEN, str(directory / "x.db")],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
    finally:
        directory.chmod(0o755)


async def test_a_read_only_file_is_one_sentence() -> None:
    """A file that we may read and not write is refused at the start."""
    with tempfile.TemporaryDirectory() as parent:  # unlike tmp_path, every user can be let in
        path = Path(parent, "dir", "x.db")
        async with open_database(sqlite_file(path), METADATA, name="x", log=LOG):
            pass
        done = await asyncio.to_thread(_open_unwritable, path.parent)

    assert (f"The database {path} cannot be written to: it or its directory is read-only.\n", "") == (
        done.stdout,
        done.stderr,
    )
