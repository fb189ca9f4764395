"""A process that is killed among many writes leaves each of them wholly there or not at all."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import structlog
from sqlalchemy import Column, Integer, MetaData, Table, func, select

from kit.database import NAMING, Location, PostgresSchema, open_database
from kit.generation import GenerationCounter

ROOT = Path(__file__).resolve().parents[2]
METADATA = MetaData(naming_convention=NAMING)
GENERATION = GenerationCounter(METADATA)
PARTS = Table(
    "parts",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("part", Integer, primary_key=True, autoincrement=False),
)
WRITES, PARTS_EACH, ACKNOWLEDGED = 100, 3, 40

# Says the number of each write once it is acknowledged.
_WRITE = """
import asyncio, sys
sys.path.insert(0, "tests/contract")
import structlog
from sqlalchemy import insert
from pathlib import Path
from kit.database import PostgresSchema, open_database, sqlite_file
from kit.secret import Secret
from test_database_kill import GENERATION, METADATA, PARTS, PARTS_EACH, WRITES

async def main(where, schema):
    place = PostgresSchema(url=Secret(where), schema=schema) if schema else sqlite_file(Path(where))
    async with open_database(place, METADATA, name="x", log=structlog.get_logger()) as database:
        async with database.write() as connection:
            await GENERATION.begin(connection, now_s=0)

        async def write(number):
            async def work(connection):
                await GENERATION.advance(connection, "acme")
                for part in range(PARTS_EACH):
                    await connection.execute(insert(PARTS).values(number=number, part=part))
            await database.change(work)
            print(number, flush=True)

        await asyncio.gather(*(write(number) for number in range(WRITES)))

asyncio.run(main(*sys.argv[1:]))
"""


def _write_until_killed(location: Location) -> set[int]:
    """Kill a process in the middle of its writes; return the numbers of those that it was told are done."""
    if isinstance(location, PostgresSchema):
        where = [location.url.reveal(), location.schema]
    else:
        where = [str(location.path), ""]
    command = [sys.executable, "-c", _WRITE, *where]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = [int(next(process.stdout)) for _ in range(ACKNOWLEDGED)]
        process.kill()
        acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
    assert -9 == process.returncode
    return set(acknowledged)


async def test_each_write_is_wholly_there_or_not_at_all(database_location: Location) -> None:
    """What was acknowledged is there, nothing is there in part, and generations count what is there."""
    acknowledged = await asyncio.to_thread(_write_until_killed, database_location)
    async with (
        open_database(database_location, METADATA, name="x", log=structlog.get_logger()) as database,
        database.read() as connection,
    ):
        counted = select(PARTS.c.number, func.count()).group_by(PARTS.c.number)
        found = dict(tuple(row) for row in await connection.execute(counted))
        generation = await GENERATION.read(connection)

    assert {PARTS_EACH} == set(found.values())
    assert acknowledged <= set(found)
    assert len(found) == generation
    assert WRITES > len(found), "it was killed too late to show anything"
