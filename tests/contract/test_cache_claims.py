"""How claims on answers are renewed, in memory and in a real Valkey that two replicas share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from kit.secret import Secret
from kit.valkey import Trouble
from services.cache.core.key import unpack
from services.cache.store import Answer, Claim, Wanted
from tests.fakes.cache_stores import OPENAI, Stores, key_of, purge_of, stores, valkey_store
from tests.fakes.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.cache.core.key import Key
    from services.cache.store import Found

KEY = key_of()
CLAIM = Wanted(claims=True)
LIFE_S = 0.3


@pytest.fixture(params=["memory", "valkey", "cluster"])
async def both(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    async with stores(request.param) as opened:
        yield opened


@pytest.fixture(params=["memory", "valkey"])
async def hasty(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    async with stores(request.param, claim_s=LIFE_S) as opened:
        yield opened


def _as_told(key: Key, found: Found) -> Claim:
    told = unpack(key.pack(found.born))
    assert told is not None
    return Claim(key=told, id=found.claim_id)


async def _claim(both: Stores, key: Key = KEY) -> Claim:
    found = await both.other.find(key, CLAIM)
    assert found.claimed
    return _as_told(key, found)


async def test_a_claim_that_is_renewed_outlives_one_that_is_not(hasty: Stores) -> None:
    """It is whose it was as long as it is renewed in time, through whichever replica."""
    found, number = None, 0
    async with asyncio.timeout(30):
        while found is None:
            number += 1
            found = await _after_another(hasty, key_of(b"mine %d" % number), key_of(b"%d" % number))

    assert (True, False) == (found.taken, found.claimed)


async def _after_another(both: Stores, mine: Key, other: Key) -> Found | None:
    """Renew a claim until another one is over, and say how it stands then; None on too slow a machine."""
    loop, claim = asyncio.get_running_loop(), await _claim(both, mine)
    await _claim(both, other)
    renewed_s, was_late = loop.time(), False
    while not (await both.ask(other, claims=True)).claimed:
        await asyncio.sleep(LIFE_S / 10)
        was_late = was_late or loop.time() - renewed_s > LIFE_S / 2
        kept, renewed_s = await both.one.renew([claim]), loop.time()
        assert was_late or [True] == kept
    found = await both.ask(mine, claims=True)
    return None if was_late or loop.time() - renewed_s > LIFE_S / 2 else found


async def test_a_claim_that_was_not_renewed_is_over(hasty: Stores) -> None:
    """Once its time has passed it cannot be had back, whether or not somebody else has it now."""
    claim = await _claim(hasty)
    async with asyncio.timeout(10):
        while (await hasty.ask(KEY)).taken:
            await hasty.one.changed(KEY, 10)
    free = await hasty.other.renew([claim])
    theirs = await hasty.ask(KEY, claims=True)
    taken = await hasty.other.renew([claim])

    assert ([False], True, [False]) == (free, theirs.claimed, taken)


@pytest.mark.parametrize("ended_by", ["put", "release", "purge"])
async def test_the_claim_of_somebody_else_is_not_renewed(both: Stores, ended_by: str) -> None:
    """Who has had a key before has no say in it, though the key is the same; who has it now has."""
    mine = await _claim(both)
    if ended_by == "put":
        await both.other.put(mine.key, Answer(value=b"", provider=OPENAI, ttl_s=0.001))
        await asyncio.sleep(0.005)
    elif ended_by == "release":
        await both.other.release(mine.key)
    else:
        await both.other.purge(purge_of())
    theirs = _as_told(KEY, await both.ask(KEY, claims=True))

    assert [[False], [True]] == [await both.other.renew([claim]) for claim in (mine, theirs)]
    assert mine.id != theirs.id


async def test_a_claim_that_has_ended_stays_ended(both: Stores) -> None:
    """A renewal that crosses the end of its call claims nothing anew."""
    claim = await _claim(both)
    await both.other.release(claim.key)

    assert [False] == await both.one.renew([claim])
    assert (await both.ask(KEY, claims=True)).claimed


async def test_many_claims_are_renewed_at_once(both: Stores) -> None:
    """They may be of several accounts; what is told of each is in their order."""
    keys = [key_of(b"%d" % number, account_id=f"account-{number % 3}") for number in range(9)]
    claims = [await _claim(both, key) for key in keys]
    for claim in claims[::4]:
        await both.one.release(claim.key)

    assert [number % 4 > 0 for number in range(9)] == await both.one.renew(claims)
    assert [] == await both.one.renew([])


async def test_only_who_claims_is_told_a_name(both: Stores) -> None:
    """Of those who ask together one has it, and nobody has it of a key that is not claimed."""
    found = await asyncio.gather(*(both.one.find(KEY, CLAIM) for _ in range(5)))
    others = [await both.ask(KEY), await both.ask(key_of(b"other"))]

    assert 1 == sum(each.claim_id > 0 for each in found)
    assert [each.claimed for each in found] == [each.claim_id > 0 for each in found]
    assert [0, 0] == [each.claim_id for each in others]


async def test_a_claim_with_an_idempotency_key_is_renewed_with_its_request(both: Stores) -> None:
    """Another request under the same key conflicts after it as before."""
    first, second = key_of(b"one", idempotency_key="i"), key_of(b"two", idempotency_key="i")
    claim = await _claim(both, first)

    assert [True] == await both.one.renew([claim])
    assert (True, True) == ((await both.ask(second)).conflict, (await both.ask(first)).taken)


async def test_a_store_that_is_away_says_of_no_claim_that_it_is_over() -> None:
    """It may be back before the claim's time has passed, and is asked again."""
    troubles: list[Trouble] = []
    key = unpack(KEY.pack(1))
    assert key is not None
    async with valkey_store(Secret(f"valkey://127.0.0.1:{free_port()}"), troubles=troubles) as store:
        kept = await store.renew([Claim(key=key, id=1), Claim(key=key, id=2)])
        found = await store.find(KEY, CLAIM)

    assert [True, True] == kept
    assert (True, 0) == (found.claimed, found.claim_id)
    assert {Trouble.AWAY} == set(troubles)
