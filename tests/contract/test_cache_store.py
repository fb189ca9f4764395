"""What every store of the cache does alike. A store joins by one more parameter of `store`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.cache.store_memory import MemoryAnswerStore
from tests.fakes.stopped_clock import StoppedClock

if TYPE_CHECKING:
    from services.cache.store import AnswerStore

KEY = b"k" * 32


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture(params=["memory"])
def store(request: pytest.FixtureRequest, clock: StoppedClock) -> AnswerStore:
    return MemoryAnswerStore(max_bytes=10_000, max_entry_bytes=4_000, clock=clock)


async def test_what_was_put_is_got(store: AnswerStore) -> None:
    """A value comes back as it was, as often as it is asked for, an empty one too."""
    assert await store.put(KEY, b"value", ttl_s=60)
    assert await store.put(b"e" * 32, b"", ttl_s=60)

    assert [b"value", b"value", b""] == [await store.get(key) for key in (KEY, KEY, b"e" * 32)]


async def test_what_was_not_put_is_a_miss(store: AnswerStore) -> None:
    """An unknown key is no error."""
    assert await store.get(KEY) is None


async def test_the_latest_value_stays(store: AnswerStore) -> None:
    """A second value under a key takes the place of the first, and so does its time."""
    await store.put(KEY, b"first", ttl_s=3600)
    await store.put(KEY, b"second", ttl_s=60)

    assert b"second" == await store.get(KEY)


async def test_a_value_past_its_time_is_not_given_out(store: AnswerStore, clock: StoppedClock) -> None:
    """At the end of its time a value is gone; just before, it is there."""
    await store.put(KEY, b"value", ttl_s=60)
    clock.advance(59.9)
    before = await store.get(KEY)
    clock.advance(0.1)

    assert (b"value", None) == (before, await store.get(KEY))


async def test_a_value_too_large_is_not_kept(store: AnswerStore) -> None:
    """It is refused, and what stood under the key is not given out in its place."""
    await store.put(KEY, b"old", ttl_s=60)

    assert not await store.put(KEY, b"x" * 4_001, ttl_s=60)
    assert await store.get(KEY) is None


async def test_a_store_that_works_passes_its_check(store: AnswerStore) -> None:
    """The health check of a working store succeeds."""
    await store.check()
