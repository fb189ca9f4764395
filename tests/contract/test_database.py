"""What every kind of database promises: transactions, turns, cancellation, and what callers are told."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest
import structlog
from sqlalchemy import BigInteger, Column, MetaData, Table, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from kit.database import NAMING, Database, Location, PostgresSchema, key_text, open_database, upsert
from kit.database_config import DatabaseConfig
from kit.database_postgres import connect
from kit.errors import GatewayError, Reason
from kit.generation import GenerationCounter
from tests.fakes.postgres import shared_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

LOG = structlog.get_logger()
METADATA = MetaData(naming_convention=NAMING)
GENERATION = GenerationCounter(METADATA)
ROWS = Table(
    "rows",
    METADATA,
    Column("id", key_text(64), primary_key=True),
    Column("number", BigInteger, nullable=False),
)
# Hundreds at once take turns, on a machine that others use as well.
PATIENT = DatabaseConfig(connect_timeout_s=60, statement_timeout_s=60, lock_timeout_s=60)


@pytest.fixture
def counts() -> Counter[str]:
    return Counter()


@pytest.fixture
async def database(database_location: Location, counts: Counter[str]) -> AsyncIterator[Database]:
    place = dataclasses.replace(database_location, on_statement=lambda kind: counts.update((kind,)))
    if isinstance(place, PostgresSchema):
        place = dataclasses.replace(place, settings=PATIENT)
    async with open_database(place, METADATA, name="x", log=LOG) as found:
        async with found.write() as connection:
            await GENERATION.begin(connection, now_s=0)
        yield found


async def _count(database: Database) -> int:
    async with database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(ROWS))).scalar_one())


async def _add(connection: AsyncConnection, number: int) -> None:
    await connection.execute(insert(ROWS).values(id=f"row-{number}", number=number))


async def test_a_thousand_mixed_reads_and_writes_lose_nothing(database: Database) -> None:
    """All succeed, every write is there, and generations and rows agree in every state that is read."""

    async def add(connection: AsyncConnection, number: int) -> int:
        generation = await GENERATION.advance(connection, "acme")
        await _add(connection, number)
        return generation

    async def look() -> tuple[int, int]:
        async with database.read() as connection:
            generation = await GENERATION.read(connection)
            counted = select(func.count()).select_from(ROWS)
            return generation, (await connection.execute(counted)).scalar_one()

    writes = [database.change(partial(add, number=number)) for number in range(500)]
    generations, states = await asyncio.gather(
        asyncio.gather(*writes), asyncio.gather(*(look() for _ in range(500)))
    )

    assert list(range(1, 501)) == sorted(generations)
    assert [(each, each) for each, _ in states] == states
    assert 500 == await _count(database)


async def test_changes_that_hold_the_generation_take_turns(database: Database) -> None:
    """What one of them reads after that, no other changes before it commits."""

    async def work(connection: AsyncConnection) -> None:
        await GENERATION.hold(connection)
        highest = (await connection.execute(select(func.max(ROWS.c.number)))).scalar_one()
        await _add(connection, (highest or 0) + 1)

    await asyncio.gather(*(database.change(work) for _ in range(60)))

    assert 60 == await _count(database)


async def test_an_error_undoes_a_change(database: Database) -> None:
    """A change that fails leaves nothing, a violated constraint comes as such, and the next goes on."""

    async def work(connection: AsyncConnection) -> None:
        await _add(connection, 1)
        raise GatewayError(Reason.CONFLICT, "No.")

    with pytest.raises(GatewayError):
        await database.change(work)
    await database.change(lambda connection: _add(connection, 2))
    with pytest.raises(IntegrityError):
        await database.change(lambda connection: _add(connection, 2))

    assert 1 == await _count(database)


async def test_a_change_outlives_whoever_asked_for_it(database: Database) -> None:
    """Cancelling the caller neither cuts the transaction nor what must follow it."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    told = asyncio.Queue[str]()

    async def work(connection: AsyncConnection) -> str:
        await _add(connection, 1)
        begun.set()
        await go_on.wait()
        return "done"

    task = asyncio.create_task(database.change(work, told.put_nowait))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()

    assert "done" == await asyncio.wait_for(told.get(), 5)
    assert 1 == await _count(database)


async def test_a_cancelled_write_is_undone_and_gives_its_turn_back(database: Database) -> None:
    """A write cut off at any point leaves nothing behind and does not lock out the next."""
    for pause_ms in range(0, 40, 2):

        async def write(number: int = 1000 + pause_ms) -> None:
            async with database.write() as connection:
                await _add(connection, number)
                await asyncio.Event().wait()

        task = asyncio.create_task(write())
        await asyncio.sleep(pause_ms / 1000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await database.change(lambda connection: _add(connection, 1))

    assert 1 == await _count(database)


async def test_cancelled_reads_give_their_connections_back(database: Database) -> None:
    """Reads cut off at any point do not use up the connections."""
    for pause_us in range(0, 4000, 200):
        tasks = [asyncio.create_task(_count(database)) for _ in range(6)]
        await asyncio.sleep(pause_us / 1_000_000)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    assert [0] * 20 == await asyncio.wait_for(asyncio.gather(*(_count(database) for _ in range(20))), 20)


async def test_reads_go_on_beside_a_write(database: Database) -> None:
    """A reader sees the state before an unfinished change, at once."""
    async with database.write() as connection:
        await _add(connection, 1)

        assert 0 == await asyncio.wait_for(_count(database), 5)
    assert 1 == await _count(database)


async def test_a_read_sees_one_state_throughout(database: Database) -> None:
    """What is committed meanwhile does not show in it."""
    async with database.read() as connection:
        counted = select(func.count()).select_from(ROWS)
        before = (await connection.execute(counted)).scalar_one()
        await database.change(lambda writing: _add(writing, 1))

        assert before == (await connection.execute(counted)).scalar_one()


async def test_the_check_waits_for_no_turn(database: Database) -> None:
    """A service with all its connections in use is still well."""
    enough = asyncio.Event()

    async def occupy() -> None:
        async with database.read() as connection:
            await connection.execute(select(ROWS))
            await enough.wait()

    tasks = [asyncio.create_task(occupy()) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.wait_for(database.check(), 5)
    enough.set()
    await asyncio.gather(*tasks)


async def test_statements_are_counted_and_checks_are_not(database: Database, counts: Counter[str]) -> None:
    """The counter tells what a request costs; what the process does by itself would hide it."""
    counts.clear()
    await database.check()
    assert Counter() == counts
    await _count(database)
    await database.change(lambda connection: _add(connection, 1))

    assert Counter(read=1, write=1) == counts


async def test_an_upsert_changes_what_is_there(database: Database) -> None:
    """Both kinds of upsert do the same on each database."""
    async with database.write() as connection:
        await _add(connection, 1)
        same = upsert(connection, ROWS).values(id="row-1", number=7)
        await connection.execute(same.on_conflict_do_nothing(index_elements=["id"]))
        kept = (await connection.execute(select(ROWS.c.number))).scalar_one()
        await connection.execute(same.on_conflict_do_update(index_elements=["id"], set_={"number": 7}))

        assert (1, 7) == (kept, (await connection.execute(select(ROWS.c.number))).scalar_one())


async def test_identifiers_sort_by_their_bytes(database: Database) -> None:
    """Pages go on after an id, so the order must be the same everywhere, whatever the database's language."""
    names = ["A", "Z", "_", "a", "b-", "b_", "ba"]
    async with database.write() as connection:
        await connection.execute(insert(ROWS), [{"id": name, "number": 0} for name in reversed(names)])
        found = (await connection.execute(select(ROWS.c.id).order_by(ROWS.c.id))).scalars().all()

    assert names == found


async def test_what_the_database_says_while_running_is_an_unavailable_service(database: Database) -> None:
    """Its text stays inside."""
    with pytest.raises(GatewayError) as caught:
        async with database.read() as connection:
            await connection.execute(text("SELECT * FROM nothing_of_that_name"))

    assert Reason.SERVICE_UNAVAILABLE == caught.value.reason
    assert "nothing_of" not in caught.value.message


@pytest.fixture
async def postgres() -> AsyncIterator[Database]:
    async with open_database(shared_postgres().new_schema(), METADATA, name="x", log=LOG) as found:
        yield found


async def test_a_value_that_cannot_be_stored_is_the_callers_mistake(
    postgres: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """PostgreSQL has no text with a NUL; the value stands neither in the answer nor in the log."""
    with pytest.raises(GatewayError) as caught:
        async with postgres.read() as connection:
            await connection.execute(select(ROWS).where(ROWS.c.id == "hush\0"))
    with pytest.raises(GatewayError) as too_large:
        async with postgres.read() as connection:
            await connection.execute(select(ROWS).where(ROWS.c.number == 2**70))

    assert [Reason.INVALID_REQUEST] * 2 == [caught.value.reason, too_large.value.reason]
    assert "hush" not in caught.value.message + capsys.readouterr().out


async def test_transactions_that_block_one_another_are_done_again(postgres: Database) -> None:
    """A deadlock ends with both changes made."""
    both = asyncio.Barrier(2)
    tries: Counter[str] = Counter()
    await postgres.change(lambda connection: _add(connection, 1))
    await postgres.change(lambda connection: _add(connection, 2))

    async def work(connection: AsyncConnection, first: str, second: str) -> None:
        tries.update((first,))
        for name in (first, second):
            await connection.execute(update(ROWS).where(ROWS.c.id == name).values(number=ROWS.c.number + 10))
            if name == first and tries[first] == 1:
                await both.wait()

    await asyncio.gather(
        postgres.change(lambda connection: work(connection, "row-1", "row-2")),
        postgres.change(lambda connection: work(connection, "row-2", "row-1")),
    )

    async with postgres.read() as connection:
        assert [21, 22] == (
            await connection.execute(select(ROWS.c.number).order_by(ROWS.c.id))
        ).scalars().all()
    assert 3 == tries.total()


async def test_a_read_cannot_write(postgres: Database) -> None:
    """PostgreSQL refuses it, so that a mistake does not pass on one database and fail on the other."""
    with pytest.raises(GatewayError):
        async with postgres.read() as connection:
            await _add(connection, 1)


async def test_a_statement_that_takes_too_long_is_cut_off() -> None:
    """By the server, so that it does not go on for nobody; the connection is good for the next one."""
    place = shared_postgres().new_schema()
    hasty = dataclasses.replace(place, settings=dataclasses.replace(place.settings, statement_timeout_s=0.1))
    async with open_database(hasty, METADATA, name="x", log=LOG) as database:
        with pytest.raises(GatewayError) as caught:
            async with database.read() as connection:
                await connection.execute(text("SELECT pg_sleep(60)"))
        await database.check()

    assert Reason.OVERLOADED == caught.value.reason


async def test_a_row_that_is_held_for_too_long_is_an_overloaded_service() -> None:
    """A change waits for another process's transaction, but not for ever."""
    place = shared_postgres().new_schema()
    hasty = dataclasses.replace(
        place, settings=dataclasses.replace(place.settings, lock_timeout_s=0.1, statement_timeout_s=5.0)
    )
    assert isinstance(hasty, PostgresSchema)
    async with (
        open_database(place, METADATA, name="x", log=LOG) as one,
        open_database(hasty, METADATA, name="x", log=LOG) as other,
    ):
        async with one.write() as connection:
            await GENERATION.begin(connection, now_s=0)
        async with one.write() as connection:
            await GENERATION.hold(connection)
            with pytest.raises(GatewayError) as caught:
                await other.change(GENERATION.advance)

    assert Reason.OVERLOADED == caught.value.reason


async def test_a_hanging_process_holds_nothing_for_long() -> None:
    """However long a statement may take, as in a migration, the time between two of them is short."""
    place = shared_postgres().new_schema()
    patient = dataclasses.replace(
        place, settings=dataclasses.replace(place.settings, statement_timeout_s=3600)
    )
    connection = await connect(patient, application="x")
    try:
        assert "1min" == await connection.fetchval("SHOW idle_in_transaction_session_timeout")
    finally:
        await connection.close()
