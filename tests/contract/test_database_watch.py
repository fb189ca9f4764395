"""Processes that share a database hear of one another's changes."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import structlog
from sqlalchemy import MetaData

from kit.database import NAMING, Database, Location, open_database
from kit.database_watch import watch_changes
from kit.errors import GatewayError, Reason
from kit.generation import EVERYTHING, Generation, GenerationCounter, WatchHub
from tests.fakes.postgres import shared_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

METADATA = MetaData(naming_convention=NAMING)
GENERATION = GenerationCounter(METADATA)


@asynccontextmanager
async def _process(place: Location) -> AsyncIterator[tuple[Database, WatchHub]]:
    """What a process of a service has."""
    async with open_database(place, METADATA, name="x", log=structlog.get_logger()) as database:
        async with database.write() as connection:
            first = await GENERATION.begin(connection, now_s=0)
        hub = WatchHub(first)
        async with watch_changes(database, GENERATION, hub):
            yield database, hub


async def _next(events: AsyncGenerator[Generation, None]) -> Generation:
    return await asyncio.wait_for(anext(events), 10)


async def _change(database: Database, hub: WatchHub, scope: str) -> int:
    return await database.change(
        lambda connection: GENERATION.advance(connection, scope), lambda number: hub.advance(number, scope)
    )


async def test_a_change_reaches_the_watchers_of_another_process() -> None:
    """With its scope, in the order of commits."""
    place = shared_postgres().new_schema()
    async with (
        _process(place) as (one, ours),
        _process(place) as (_, others),
        aclosing(others.watch()) as events,
    ):
        await _next(events)
        numbers = [await _change(one, ours, scope) for scope in ("acme", "other:1", EVERYTHING)]

        assert [
            Generation(numbers[0], "acme"),
            Generation(numbers[1], "other:1"),
            Generation(numbers[2], EVERYTHING),
        ] == [await _next(events) for _ in numbers]


async def test_what_is_undone_is_not_told() -> None:
    """Only a commit is heard of."""
    place = shared_postgres().new_schema()

    async def fail(connection: AsyncConnection) -> None:
        await GENERATION.advance(connection, "undone")
        raise GatewayError(Reason.CONFLICT, "No.")

    async with (
        _process(place) as (one, ours),
        _process(place) as (_, others),
        aclosing(others.watch()) as events,
    ):
        await _next(events)
        with pytest.raises(GatewayError):
            await one.change(fail)
        number = await _change(one, ours, "acme")

        assert Generation(number, "acme") == await _next(events)


async def test_a_process_tells_its_own_change_once() -> None:
    """The database announces it to whoever made it, too; watchers are told when it is made and not again."""
    async with (
        _process(shared_postgres().new_schema()) as (database, hub),
        aclosing(hub.watch()) as events,
    ):
        await _next(events)
        first = await _change(database, hub, "acme")
        assert Generation(first, "acme") == await _next(events)
        # A change that this process was not told of by itself: what the database says is in order, so the
        # first change's announcement has come before.
        second = await database.change(lambda connection: GENERATION.advance(connection, "other"))

        assert Generation(second, "other") == await _next(events)


async def test_after_a_lost_connection_everything_is_void() -> None:
    """Whatever was changed while nothing was heard is made good for when it is heard again."""
    server = shared_postgres()
    place = server.new_schema()
    async with (
        _process(place) as (one, ours),
        _process(place) as (_, others),
        aclosing(others.watch()) as events,
    ):
        await _next(events)
        number = await one.change(GENERATION.advance)  # tells nobody's hub by itself
        assert Generation(number, EVERYTHING) == await _next(events)
        missed = await one.change(_change_silently)
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'headrace x changes'"
        )
        assert Generation(missed, EVERYTHING) == await _next(events)
        number = await _change(one, ours, "acme")

        assert Generation(number, "acme") == await _next(events)


async def _change_silently(connection: AsyncConnection) -> int:
    table = GENERATION._table
    found = await connection.execute(
        table.update().values(number=table.c.number + 1).returning(table.c.number)
    )
    return int(found.scalar_one())


async def test_several_processes_begin_at_once() -> None:
    """All of them find the same first generation."""
    place = shared_postgres().new_schema()

    async def begin(now_s: float) -> int:
        async with (
            open_database(place, METADATA, name="x", log=structlog.get_logger()) as database,
            database.write() as connection,
        ):
            return await GENERATION.begin(connection, now_s=now_s)

    found = await asyncio.gather(*(begin(number) for number in range(1, 6)))

    assert 1 == len(set(found))


async def test_a_file_has_one_process(database_location: Location) -> None:
    """Where nobody else can change anything, the service alone tells its watchers."""
    async with _process(database_location) as (database, hub), aclosing(hub.watch()) as events:
        await _next(events)
        number = await _change(database, hub, "acme")

        assert Generation(number, "acme") == await _next(events)
