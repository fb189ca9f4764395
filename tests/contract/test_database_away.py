"""PostgreSQL that is not there yet, goes away, and comes back."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
import structlog
from sqlalchemy import MetaData
from structlog.testing import capture_logs

from kit.database import NAMING, Database, DatabaseUnusableError, PostgresSchema, open_database
from kit.database_watch import watch_changes
from kit.errors import GatewayError, Reason
from kit.generation import EVERYTHING, Generation, GenerationCounter, WatchHub
from kit.secret import Secret
from tests.fakes.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

METADATA = MetaData(naming_convention=NAMING)
GENERATION = GenerationCounter(METADATA)
PASSWORD = "canary-of-a-password"


@pytest.fixture(scope="module")
def only_server() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.remove()


@pytest.fixture
def server(only_server: Postgres) -> Iterator[Postgres]:
    """A server that a test may stop."""
    only_server.start()
    yield only_server
    only_server.start()


@pytest.fixture
def place(server: Postgres) -> PostgresSchema:
    made = server.new_schema()
    return dataclasses.replace(made, url=Secret(made.url.reveal().replace(":@", f":{PASSWORD}@")))


async def _generation(database: Database) -> int:
    async with database.read() as connection:
        return await GENERATION.read(connection)


async def _again(database: Database) -> int:
    """Read until it works, as callers do that are told to try again."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await _generation(database)
            except GatewayError:
                await asyncio.sleep(0.1)


async def test_a_database_that_goes_away_comes_back(
    server: Postgres, place: PostgresSchema, capsys: pytest.CaptureFixture[str]
) -> None:
    """Meanwhile calls fail and say when to try again; afterwards all goes on, and everything is void."""
    async with open_database(place, METADATA, name="x", log=structlog.get_logger()) as database:
        async with database.write() as connection:
            hub = WatchHub(await GENERATION.begin(connection, now_s=0))
        async with watch_changes(database, GENERATION, hub), aclosing(hub.watch()) as events:
            await anext(events)
            await asyncio.gather(*(_generation(database) for _ in range(10)))
            await asyncio.to_thread(server.stop)
            with pytest.raises(GatewayError) as reading:
                await _generation(database)
            with pytest.raises(GatewayError) as writing:
                await database.change(GENERATION.advance)
            with pytest.raises(GatewayError):
                await database.check()
            await asyncio.to_thread(server.start)

            assert 0 == await _again(database)
            await database.check()
            number = await database.change(lambda connection: GENERATION.advance(connection, "acme"))
            async with asyncio.timeout(30):
                heard = await anext(events)
    told = capsys.readouterr()

    assert [(Reason.SERVICE_UNAVAILABLE, 1.0)] * 2 == [
        (each.value.reason, each.value.retry_after_s) for each in (reading, writing)
    ]
    # The listener is back before the change, or after it.
    assert heard in (Generation(number, "acme"), Generation(number, EVERYTHING))
    assert PASSWORD not in told.out + told.err


async def test_a_start_waits_for_the_database(server: Postgres, place: PostgresSchema) -> None:
    """It says what it waits for, without the password, and goes on when it is there."""
    await asyncio.to_thread(server.stop)

    async def start() -> None:
        async with open_database(place, METADATA, name="x", log=structlog.get_logger()):
            pass

    with capture_logs() as lines:
        task = asyncio.create_task(start())
        async with asyncio.timeout(30):
            while not lines:  # noqa: ASYNC110 - a list of what was logged has no event
                await asyncio.sleep(0.01)
        assert not task.done()
        await asyncio.to_thread(server.start)
        await asyncio.wait_for(task, 30)

    assert lines[0]["event"].startswith("waiting for the database at /")
    assert lines[0]["event"].endswith(":5432/postgres")
    assert PASSWORD not in str(lines)


async def test_a_start_does_not_wait_for_ever(server: Postgres, place: PostgresSchema) -> None:
    """After the time that the settings give, it ends with one sentence."""
    await asyncio.to_thread(server.stop)
    hasty = dataclasses.replace(place, settings=dataclasses.replace(place.settings, start_wait_s=0))
    with pytest.raises(DatabaseUnusableError) as caught:
        async with open_database(hasty, METADATA, name="x", log=structlog.get_logger()):
            pass

    assert f"The database at {place.shown} did not answer within 0 s: " in str(caught.value)
    assert PASSWORD not in str(caught.value)


async def test_a_database_that_refuses_us_is_not_waited_for(server: Postgres, place: PostgresSchema) -> None:
    """A user that does not exist will not come by waiting."""
    stranger = dataclasses.replace(place, url=Secret(place.url.reveal().replace("//postgres:", "//nobody:")))
    with pytest.raises(DatabaseUnusableError, match='does not let us in: role "nobody" does not exist'):
        async with open_database(stranger, METADATA, name="x", log=structlog.get_logger()):
            pass
