"""Requests that must be counted in Valkey wait for it while it is away, and each counts once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kit.clock import SystemClock
from kit.valkey import Valkey
from kit.valkey_config import ValkeyConfig
from services.router.core.windows import Unit
from services.router.counters.store import CountersAwayError, Settling, Take
from services.router.counters.valkey import ValkeyCounters
from tests.contract.test_router_counters_away import HARD, LIFE_MS, RATE, SCOPE, SOFT, Harness
from tests.fakes.valkey_cluster import SentinelServers
from tests.fakes.valkey_server import PATIENT, Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from services.router.counters.store import Counters, Outcome

MANY = 300
BUDGET = replace(HARD, limit=10_000)
TOKENS = replace(BUDGET, key="tokens", unit=Unit.TOKENS)
REQUESTS = replace(RATE, limit=10_000)
# Long enough for a busy machine, and short enough for many to find out that nobody answers.
SETTINGS = ValkeyConfig(timeout_s=0.25)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.remove()


@pytest.fixture
async def harness(server: Server) -> AsyncIterator[Harness]:
    # Pauses and outages are short here, and real.
    found = Harness(server, SETTINGS, clock=SystemClock())
    yield found
    await found.stack.aclose()
    server.stop()
    server.start()


async def _reserve(counters: Counters, number: int) -> Outcome:
    takes = [Take(bucket, 1) for bucket in (REQUESTS, TOKENS, BUDGET)]
    return await counters.reserve(SCOPE, f"r{number}", takes, LIFE_MS)


async def _waited_for(harness: Harness) -> None:
    """Wait until somebody waits for Valkey."""
    async with asyncio.timeout(20):
        while True:
            await asyncio.sleep(0.01)
            if harness.outage.waited_for:
                return


async def _there(harness: Harness) -> ValkeyCounters:
    """Return the counters as they are in Valkey."""
    valkey = Valkey(harness.url, PATIENT, clock=SystemClock())
    harness.stack.push_async_callback(valkey.close)
    return ValkeyCounters(valkey)


async def test_a_restart_fails_nothing_and_each_counts_once(harness: Harness) -> None:
    """However many come while it is away, and whatever was under way."""
    counters = await harness.counters(wait_s=30)
    await _reserve(counters, -1)
    harness.server.stop()
    asking = [asyncio.create_task(_reserve(counters, number)) for number in range(MANY)]
    await _waited_for(harness)
    later = [asyncio.create_task(_reserve(counters, number)) for number in range(MANY, 2 * MANY)]
    harness.server.start()
    found = await asyncio.gather(*asking, *later)
    cells = (await (await _there(harness)).look(SCOPE, [REQUESTS, TOKENS, BUDGET])).cells

    assert {(True, True)} == {(one.granted, one.reserved) for one in found}
    # What it held before went with it.
    assert [(2 * MANY, 0), (0, 2 * MANY), (0, 2 * MANY)] == [(cell.used, cell.reserved) for cell in cells]
    assert not harness.away("refused")


async def test_a_silent_one_counts_once_what_it_did_not_answer(harness: Harness) -> None:
    """It carries out what it was sent once it goes on; the same is asked again."""
    counters = await harness.counters(wait_s=30)
    await asyncio.gather(*(_reserve(counters, -1 - number) for number in range(16)))
    harness.server.freeze()
    asking = [asyncio.create_task(_reserve(counters, number)) for number in range(MANY)]
    await _waited_for(harness)
    harness.server.thaw()
    found = await asyncio.gather(*asking)
    there = await _there(harness)
    settled: list[bool] = []
    ids = [f"r{number}" for number in range(-16, MANY)]
    amounts = {Unit.TOKENS: 2, Unit.NANO_USD: 3}
    while not settled:
        with suppress(CountersAwayError):
            settlings = [Settling(scope=SCOPE, id=each, amounts=amounts) for each in ids]
            settled = [*await counters.settle(settlings)]
    cells = (await there.look(SCOPE, [REQUESTS, TOKENS, BUDGET])).cells

    count = MANY + 16
    assert [True] * MANY == [one.granted for one in found]
    assert [True] * count == settled
    assert [(count, 0), (2 * count, 0), (3 * count, 0)] == [(cell.used, cell.reserved) for cell in cells]


async def test_a_fail_over_fails_nothing(harness: Harness) -> None:
    """The wait is for whoever takes over, too."""
    sentinels = SentinelServers()
    try:
        harness.url = sentinels.url
        counters = await harness.counters(wait_s=30)
        await _reserve(counters, -1)
        sentinels.primary.kill()
        asking = [asyncio.create_task(_reserve(counters, number)) for number in range(MANY)]
        found = await asyncio.gather(*asking)
        await harness.stack.aclose()
    finally:
        sentinels.remove()

    assert {(True, True)} == {(one.granted, one.reserved) for one in found}


async def test_requests_alone_are_known_again_by_their_id(harness: Harness) -> None:
    """Also where there is nothing to settle. Without an id nothing is known again, and it counts twice."""
    there = await _there(harness)
    for reservation_id in ("one", "one", "", ""):
        assert (await there.reserve(SCOPE, reservation_id, [Take(REQUESTS, 1)], LIFE_MS)).granted

    assert 3 == (await there.look(SCOPE, [REQUESTS])).cells[0].used


async def test_a_long_outage_refuses_hard_limits_and_no_others(server: Server) -> None:
    """At once, once it has lasted; those who waited are told, and it ends by itself."""
    harness = Harness(server)
    counters = await harness.counters(wait_s=10)
    server.stop()
    waiting = asyncio.create_task(counters.reserve(SCOPE, "a", [Take(HARD, 1)], LIFE_MS))
    soft = await counters.reserve(SCOPE, "b", [Take(SOFT, 1), Take(RATE, 1)], LIFE_MS)
    harness.clock.advance(11)
    with pytest.raises(CountersAwayError):
        await waiting
    with pytest.raises(CountersAwayError):
        await counters.reserve(SCOPE, "c", [Take(HARD, 1)], LIFE_MS)
    soft_after = await counters.reserve(SCOPE, "d", [Take(SOFT, 1), Take(RATE, 1)], LIFE_MS)
    harness.back()
    back = await counters.reserve(SCOPE, "e", [Take(HARD, 1)], LIFE_MS)
    await harness.stack.aclose()

    assert (True, True, True) == (soft.granted, soft_after.granted, back.granted)
    assert (2, 2) == (harness.away("refused"), harness.away("counted_here"))


async def test_a_full_one_is_not_waited_for(server: Server) -> None:
    """It will be full until somebody does something about it."""
    full = Server("--maxmemory", "1mb", "--maxmemory-policy", "noeviction")
    try:
        harness = Harness(full)
        counters = await harness.counters(wait_s=60)
        with pytest.raises(CountersAwayError) as caught:
            await counters.reserve(SCOPE, "a", [Take(HARD, 1)], LIFE_MS)
        await harness.stack.aclose()
    finally:
        full.remove()

    assert caught.value.lasting
