"""What every store of the cache does alike, in memory and in a real Valkey that two replicas share."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from services.cache.core.epochs import MOST_EPOCHS
from services.cache.core.key import scope_of
from services.cache.store import Answer, Wanted
from tests.fakes.cache_stores import OPENAI, Stores, key_of, purge_of, stores

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = key_of()
CLAIM = Wanted(claims=True)
# Shorter than any caller may ask for: the stores themselves know no shortest time.
BLINK_S = 0.005


@pytest.fixture(params=["memory", "valkey", "cluster"])
async def both(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    async with stores(request.param) as opened:
        yield opened


@pytest.fixture(params=["memory", "valkey"])
async def hasty(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    async with stores(request.param, claim_s=0.05) as opened:
        yield opened


async def test_what_was_put_is_got(both: Stores) -> None:
    """A value comes back as it was, as often as it is asked for, an empty one too."""
    odd = bytes(range(256))
    assert await both.keep(KEY, odd)
    assert await both.keep(key_of(b"other"), b"")

    assert [odd, odd, b""] == [await both.value(key) for key in (KEY, KEY, key_of(b"other"))]


async def test_a_long_value_comes_whole(both: Stores) -> None:
    """Length alone makes no difference."""
    long = bytes(range(256)) * 2000
    await both.keep(KEY, long)

    assert long == await both.value(KEY)


async def test_what_was_not_put_is_a_miss(both: Stores) -> None:
    """An unknown key is no error, and nobody is fetching it."""
    found = await both.ask(KEY)

    assert (None, False, False, False) == (found.value, found.stale, found.claimed, found.taken)


async def test_the_latest_value_stays(both: Stores) -> None:
    """A second value under a key takes the place of the first, and so does its time."""
    await both.keep(KEY, b"first", ttl_s=BLINK_S)
    await both.keep(KEY, b"second", ttl_s=60)
    await asyncio.sleep(BLINK_S * 2)

    assert b"second" == await both.value(KEY)


async def test_a_value_past_its_time_is_not_given_out(both: Stores) -> None:
    """After its time a value is gone, for those who take older ones as well once that is over, too."""
    await both.keep(KEY, b"value", ttl_s=BLINK_S, stale_s=BLINK_S)
    await asyncio.sleep(BLINK_S * 4)

    assert [None, None] == [await both.value(KEY), await both.value(KEY, stale_s=3600)]


async def test_an_old_value_is_given_to_those_who_take_it(both: Stores) -> None:
    """Past its time and before the end of its grace, a value is for those alone who take one as old."""
    await both.keep(KEY, b"value", ttl_s=BLINK_S, stale_s=60)
    await asyncio.sleep(BLINK_S * 2)

    old = await both.ask(KEY, stale_s=60)
    assert (b"value", True) == (old.value, old.stale)
    assert [None, None] == [await both.value(KEY), await both.value(KEY, stale_s=BLINK_S / 5)]


async def test_an_old_value_comes_with_a_claim_for_one(both: Stores) -> None:
    """Of those who get an old value one is to fetch a new one; there is nothing to claim of a fresh one."""
    await both.keep(KEY, b"old", ttl_s=BLINK_S, stale_s=60)
    await asyncio.sleep(BLINK_S * 2)
    first = await both.ask(KEY, stale_s=60, claims=True)
    second = await both.ask(KEY, stale_s=60, claims=True)
    await both.keep(KEY, b"new", ttl_s=60, stale_s=60)
    third = await both.ask(KEY, stale_s=60, claims=True)

    assert [(b"old", True, False), (b"old", False, True), (b"new", False, False)] == [
        (found.value, found.claimed, found.taken) for found in (first, second, third)
    ]


async def test_one_of_a_thousand_fetches(both: Stores) -> None:
    """Of a thousand lookups at once exactly one is to fetch; all others are told that somebody does."""
    doors = (both.one, both.other)
    found = await asyncio.gather(*(doors[number % 2].find(KEY, CLAIM) for number in range(1000)))

    assert (1, 999) == (sum(each.claimed for each in found), sum(each.taken for each in found))


async def test_those_who_wait_are_woken_by_the_answer(both: Stores) -> None:
    """Whoever waits goes on as soon as the answer is there, wherever it was put."""
    await both.other.find(KEY, CLAIM)
    waiting = [asyncio.create_task(both.one.changed(KEY, 30)) for _ in range(10)]
    await asyncio.sleep(0)
    await both.keep(KEY, b"answer")
    await asyncio.wait_for(asyncio.gather(*waiting), 10)

    assert b"answer" == await both.value(KEY)


async def test_a_claim_that_is_given_back_is_free_for_one(both: Stores) -> None:
    """After a release, waiting ends, and the next who asks is the one to fetch."""
    await both.other.find(KEY, CLAIM)
    waiting = asyncio.create_task(both.one.changed(KEY, 30))
    await asyncio.sleep(0)
    await both.other.release(await both.begin(KEY))
    await asyncio.wait_for(waiting, 10)

    assert [True, False] == [(await both.ask(KEY, claims=True)).claimed for _ in range(2)]


async def test_a_claim_ends_by_itself(hasty: Stores) -> None:
    """Whoever fetches an answer and dies is waited for only so long."""
    await hasty.other.find(KEY, CLAIM)
    assert (await hasty.ask(KEY, claims=True)).taken
    async with asyncio.timeout(10):
        while not (found := await hasty.ask(KEY, claims=True)).claimed:
            await hasty.one.changed(KEY, 10)

    assert not found.taken


async def test_waiting_ends_when_time_is_up(both: Stores) -> None:
    """Whoever waits for so long waits no longer, and the claim stays whose it is."""
    await both.other.find(KEY, CLAIM)
    await asyncio.wait_for(both.one.changed(KEY, 0.01), 10)

    assert (await both.ask(KEY, claims=True)).taken


async def test_a_cancelled_wait_leaves_nothing(both: Stores) -> None:
    """Nobody looks for a key that nobody waits for any more."""
    await both.other.find(KEY, CLAIM)
    before = asyncio.all_tasks()
    waiting = [asyncio.create_task(both.one.changed(KEY, 30)) for _ in range(3)]
    await asyncio.sleep(0.01)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    async with asyncio.timeout(10):
        while asyncio.all_tasks() - before:  # noqa: ASYNC110 - nothing tells that a task has gone
            await asyncio.sleep(0.001)

    assert 0 == len(both.one._waiting)  # type: ignore[attr-defined]  # both have it


async def test_only_the_count_is_wanted(both: Stores) -> None:
    """Whoever does not read is given no answer and no claim, but may keep one."""
    await both.keep(KEY, b"value")
    found = await both.one.find(KEY, Wanted(read=False, claims=True))
    free = await both.one.find(key_of(b"other"), Wanted(read=False, claims=True))

    assert [(None, False), (None, False)] == [(each.value, each.claimed) for each in (found, free)]
    assert found.born


async def test_an_unknown_count_keeps_nothing(both: Stores) -> None:
    """A key from a lookup that did not reach the store is older than everything."""
    answer = Answer(value=b"value", provider=OPENAI, ttl_s=60)

    assert not await both.other.put(replace(KEY, born=0), answer)
    assert await both.value(KEY) is None


@pytest.mark.parametrize("begun", ["kept", "being fetched"])
async def test_a_key_that_stands_for_another_request_conflicts(both: Stores, begun: str) -> None:
    """One idempotency key for two requests is told, while the first is fetched and once it is kept."""
    first, second = key_of(b"one", idempotency_key="i"), key_of(b"two", idempotency_key="i")
    if begun == "kept":
        await both.keep(first, b"answer")
    else:
        await both.other.find(first, CLAIM)

    assert (True, None) == ((found := await both.ask(second, claims=True)).conflict, found.value)
    assert not (await both.ask(first, claims=True)).conflict


SCOPES = {
    "everything": purge_of(),
    "gateway": purge_of(gateway_id="default"),
    "provider": purge_of(provider="openai"),
    "provider in a gateway": purge_of(gateway_id="default", provider="openai"),
    "chosen key": purge_of(gateway_id="default", custom_key="mine"),
}


@pytest.mark.parametrize("scope", SCOPES.values(), ids=list(SCOPES))
async def test_what_is_purged_is_gone(both: Stores, scope: object) -> None:
    """A purge takes what it is of, in whatever variant a chosen key came, and nothing that comes later."""
    keys = [key_of(custom_key="mine"), key_of(custom_key="mine\nnarrow")]
    for key in keys:
        await both.keep(key, b"old")
    await both.other.purge(scope)  # type: ignore[arg-type]  # a scope

    assert [None, None] == [await both.value(key, stale_s=3600) for key in keys]
    assert await both.keep(keys[0], b"new")
    assert b"new" == await both.value(keys[0])


OTHERS = {
    "another account": purge_of("other"),
    "another gateway": purge_of(gateway_id="other"),
    "another provider": purge_of(provider="anthropic"),
    "its provider in another gateway": purge_of(gateway_id="other", provider="openai"),
    "another provider in its gateway": purge_of(gateway_id="default", provider="anthropic"),
    "another chosen key": purge_of(gateway_id="default", custom_key="yours"),
    "the chosen key in another gateway": purge_of(gateway_id="other", custom_key="mine"),
}


@pytest.mark.parametrize("scope", OTHERS.values(), ids=list(OTHERS))
async def test_what_is_not_purged_stays(both: Stores, scope: object) -> None:
    """A purge of something else takes nothing, of what is kept and of what is being fetched."""
    key = key_of(custom_key="mine")
    await both.keep(key, b"kept")
    begun = await both.begin(key_of(b"fetched"))
    await both.other.purge(scope)  # type: ignore[arg-type]  # a scope

    assert b"kept" == await both.value(key)
    assert await both.other.put(begun, Answer(value=b"new", provider=OPENAI, ttl_s=60))
    assert b"new" == await both.value(begun)


@pytest.mark.parametrize("scope", SCOPES.values(), ids=list(SCOPES))
async def test_what_was_being_fetched_is_not_kept_after_a_purge(both: Stores, scope: object) -> None:
    """An answer that was asked for before a purge is as old as those that it took; nobody waits for it."""
    key = key_of(custom_key="mine")
    begun = await both.begin(key)
    await both.other.find(key, CLAIM)
    await both.other.purge(scope)  # type: ignore[arg-type]  # a scope
    again = await both.ask(key, claims=True)
    stored = await both.other.put(begun, Answer(value=b"old", provider=OPENAI, ttl_s=60))

    assert (scope is SCOPES["provider"] or scope is SCOPES["provider in a gateway"], False) == (
        again.taken,
        stored,
    )
    assert await both.value(key) is None


async def test_what_another_provider_gave_is_purged_with_that_provider(both: Stores) -> None:
    """A purge of a provider looks at who gave the answer, not at who was asked first."""
    await both.keep(KEY, b"fallback", provider=scope_of("anthropic"))
    await both.other.purge(purge_of(provider="openai"))
    stays = await both.value(KEY)
    await both.other.purge(purge_of(provider="anthropic"))

    assert (b"fallback", None) == (stays, await both.value(KEY))


async def test_very_many_purges_become_one_of_everything(both: Stores) -> None:
    """What is remembered of an account's purges is bounded; beyond that, its answers go, and no other's."""
    other = key_of(account_id="other")
    await both.keep(KEY, b"value")
    await both.keep(other, b"stays")
    scopes = [purge_of(provider=f"custom-{number}") for number in range(MOST_EPOCHS - 2)]
    await asyncio.gather(*(both.other.purge(scope) for scope in scopes))
    before = await both.value(KEY)
    for number in range(3):
        await both.other.purge(purge_of(provider=f"custom-more-{number}"))

    assert (b"value", None, b"stays") == (before, await both.value(KEY), await both.value(other))
