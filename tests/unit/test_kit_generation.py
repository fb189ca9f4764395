"""Generations and watchers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import MetaData

from kit.database import open_database, sqlite_file
from kit.errors import GatewayError, Reason
from kit.generation import EVERYTHING, Generation, GenerationCounter, WatchHub

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

LOG = structlog.get_logger()


async def _next(events: AsyncGenerator[Generation, None]) -> Generation:
    return await asyncio.wait_for(anext(events), 1)


async def test_a_watch_begins_with_the_generation_and_an_empty_scope() -> None:
    """The first event tells the state, so that a client knows whether it missed something."""
    async with aclosing(WatchHub(7).watch()) as events:
        assert Generation(7, EVERYTHING) == await _next(events)


async def test_each_watcher_is_told_of_each_change() -> None:
    """A change reaches all who watch, with its scope."""
    hub = WatchHub(1)
    async with AsyncExitStack() as stack:
        watches = [await stack.enter_async_context(aclosing(hub.watch())) for _ in range(20)]
        for watch in watches:
            await _next(watch)
        hub.advance(2, "acme")
        hub.advance(3, "other")

        for watch in watches:
            assert Generation(2, "acme") == await _next(watch)
            assert Generation(3, "other") == await _next(watch)


async def test_a_slow_watcher_is_told_that_everything_is_void() -> None:
    """What waits for a watcher is bounded: too many scopes become one event for all of them."""
    hub = WatchHub(0, scopes_each=4)
    async with aclosing(hub.watch()) as events:
        await _next(events)
        for number in range(1, 1001):
            hub.advance(number, f"account-{number}")
        (watcher,) = hub._watchers

        assert len(watcher.pending) <= 4
        told = []
        while watcher.pending:
            told.append(await _next(events))
        assert EVERYTHING in {event.scope for event in told}
        assert told[-1].number == 1000


async def test_changes_of_one_scope_are_told_once() -> None:
    """A watcher that was away for many changes of one account hears the newest of them."""
    hub = WatchHub(0)
    async with aclosing(hub.watch()) as events:
        await _next(events)
        for number in range(1, 51):
            hub.advance(number, "acme")

        assert Generation(50, "acme") == await _next(events)
        assert not next(iter(hub._watchers)).pending


@given(
    changes=st.lists(st.sampled_from("abcdefgh"), max_size=40),
    reads=st.lists(st.integers(0, 3), max_size=40),
    scopes=st.integers(1, 5),
)
async def test_a_watcher_misses_nothing(changes: list[str], reads: list[int], scopes: int) -> None:
    """However slowly it reads, a watcher hears of each change itself or of everything, in rising order."""
    hub = WatchHub(0, scopes_each=scopes)
    heard: list[Generation] = []
    async with aclosing(hub.watch()) as events:
        heard.append(await _next(events))
        (watcher,) = hub._watchers
        for index, scope in enumerate(changes):
            hub.advance(index + 1, scope)
            wanted = reads[index] if index < len(reads) else 0
            heard += [await _next(events) for _ in range(min(wanted, len(watcher.pending)))]
        heard += [await _next(events) for _ in range(len(watcher.pending))]

    numbers = [event.number for event in heard]
    assert sorted(numbers) == numbers
    for index, scope in enumerate(changes):
        assert any(event.number > index and event.scope in {scope, EVERYTHING} for event in heard)


async def test_closing_ends_every_watch_after_what_is_pending() -> None:
    """A stop tells watchers what they have not heard yet, then ends their streams."""
    hub = WatchHub(1)
    watch = hub.watch()
    await _next(watch)
    hub.advance(2, "acme")
    hub.close()

    assert [Generation(2, "acme")] == [event async for event in watch]
    assert [event async for event in hub.watch()] == []
    assert hub.watching == 0


async def test_a_waiting_watch_ends_on_close() -> None:
    """A watch with nothing to tell does not hold up a stop."""
    hub = WatchHub(1)

    async def follow() -> int:
        return len([event async for event in hub.watch()])

    task = asyncio.create_task(follow())
    await asyncio.sleep(0)
    hub.close()

    assert await asyncio.wait_for(task, 1) == 1


async def test_a_cancelled_watch_is_forgotten() -> None:
    """A watcher that goes away leaves nothing behind."""
    hub = WatchHub(1)

    async def follow() -> None:
        async with aclosing(hub.watch()) as events:
            async for _ in events:
                pass

    task = asyncio.create_task(follow())
    await asyncio.sleep(0.01)
    assert hub.watching == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert hub.watching == 0


async def test_the_number_of_watchers_is_bounded() -> None:
    """Beyond the limit a watch is refused instead of taking memory."""
    hub = WatchHub(1, watchers=1)
    async with aclosing(hub.watch()) as first, aclosing(hub.watch()) as second:
        await _next(first)
        with pytest.raises(GatewayError) as caught:
            await _next(second)

    assert caught.value.reason == Reason.OVERLOADED


async def test_a_generation_survives_and_only_grows(tmp_path: Path) -> None:
    """The counter goes on from where it was when the database is opened again."""
    metadata = MetaData()
    counter = GenerationCounter(metadata)
    path = tmp_path / "x.db"
    async with (
        open_database(sqlite_file(path), metadata, name="x", log=LOG) as database,
        database.write() as connection,
    ):
        first = await counter.begin(connection, now_s=1000.0)
        second = await counter.advance(connection)
    async with open_database(sqlite_file(path), metadata, name="x", log=LOG) as database:
        async with database.write() as connection:
            again = await counter.begin(connection, now_s=5.0)
        async with database.read() as connection:
            read = await counter.read(connection)

    assert (first, second, again, read) == (1_000_000, 1_000_001, 1_000_001, 1_000_001)
