"""Requests that are counted in Valkey in advance: never more pass than the limit says, and not many less."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.clock import SystemClock
from kit.valkey import Valkey
from services.router.core.settings import Technique
from services.router.core.windows import Admit, Bucket, Unit
from services.router.counters.leases import LeasingCounters
from services.router.counters.store import Outcome, Scope, Settling, Take
from services.router.counters.valkey import ValkeyCounters
from tests.fakes.stopped_clock import StoppedClock
from tests.fakes.valkey_server import PATIENT, shared_valkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

SCOPE = Scope("acme", "default")
DAY = Bucket(
    key="day", unit=Unit.REQUESTS, limit=1000, window_s=86_400, technique=Technique.FIXED, admit=Admit.FITS
)
LEASE = 50


class Counted(ValkeyCounters):
    """Counts round trips, too, and lets a test hold back a lease that was counted."""

    def __init__(self, valkey: Valkey, *, clock: StoppedClock) -> None:
        super().__init__(valkey, clock=clock)
        self.trips = 0
        self.lease_asked = asyncio.Event()
        self.lease_arrives = asyncio.Event()
        self.lease_arrives.set()

    async def reserve(
        self, scope: Scope, reservation_id: str, takes: Sequence[Take], lifetime_ms: int
    ) -> Outcome:
        """Count takes if every bucket admits them, all or none."""
        self.trips += 1
        found = await super().reserve(scope, reservation_id, takes, lifetime_ms)
        if lifetime_ms == 0 and takes[0].amount < 20:
            self.lease_asked.set()
            await self.lease_arrives.wait()
        return found


class Replicas:
    """Two routers' counters on one Valkey."""

    def __init__(self, valkeys: Sequence[Valkey], clock: StoppedClock) -> None:
        self.clock = clock
        self.plain = [Counted(valkey, clock=clock) for valkey in valkeys]
        self.both = [LeasingCounters(plain, lease=LEASE, clock=clock) for plain in self.plain]

    async def passes(self, at: int = 0, bucket: Bucket = DAY, reservation_id: str = "") -> bool:
        found = await self.both[at].reserve(SCOPE, reservation_id, [Take(bucket, 1)], 1000)
        return found.granted

    async def used(self, bucket: Bucket = DAY) -> int:
        return (await self.plain[0].look(SCOPE, [bucket])).cells[0].used

    @property
    def held(self) -> int:
        return sum(each.held for each in self.both)

    async def settle_down(self) -> None:
        """Wait for leases that are under way."""
        for each in self.both:
            await asyncio.gather(*each._taking.values())


@pytest.fixture
async def replicas() -> AsyncIterator[Replicas]:
    url = shared_valkey().new_url()
    async with AsyncExitStack() as stack:
        valkeys = [Valkey(url, PATIENT, clock=SystemClock()) for _ in range(2)]
        for valkey in valkeys:
            stack.push_async_callback(valkey.close)
        yield Replicas(valkeys, StoppedClock(1_800_000_000.0))


async def test_of_many_at_once_exactly_the_limit_passes(replicas: Replicas) -> None:
    """Who is refused has looked at what its replica holds; so nothing is left over."""
    found = await asyncio.gather(*(replicas.passes(number % 2) for number in range(2400)))
    more = [await replicas.passes(number % 2) for number in range(200)]

    assert 1000 == sum(found) + sum(more)
    assert 0 == replicas.held


async def test_who_would_be_refused_waits_for_a_lease_that_is_under_way(replicas: Replicas) -> None:
    """Valkey has nothing left, and this replica is about to have some."""
    bucket = replace(DAY, limit=40)
    replicas.plain[0].lease_arrives.clear()
    await replicas.passes(bucket=bucket)
    await replicas.plain[0].lease_asked.wait()
    await replicas.plain[1].reserve(SCOPE, "", [Take(bucket, 37)], 0)
    late = asyncio.create_task(replicas.passes(bucket=bucket))
    used = await replicas.used(bucket)
    replicas.plain[0].lease_arrives.set()

    assert (40, True, 1) == (used, await late, replicas.held)


async def test_a_busy_gateway_costs_few_round_trips(replicas: Replicas) -> None:
    """Two for each lease: the request after which it is taken, and the lease."""
    for _ in range(510):
        assert await replicas.passes(bucket=replace(DAY, limit=10**6))
        await replicas.settle_down()

    assert 20 == replicas.plain[0].trips


async def test_a_lease_is_a_small_share_of_what_is_left(replicas: Replicas) -> None:
    """It shrinks as the limit comes near, and then there is none."""
    shares = []
    passed = 0
    while await replicas.passes():
        passed += 1
        await replicas.settle_down()
        left = DAY.limit - passed
        shares.append((replicas.held, left))

    assert all(held <= min(LEASE, (left + held) / 16 + 1) for held, left in shares)
    assert {0} == {held for held, left in shares if left < 24}
    assert LEASE == max(held for held, _ in shares)
    assert 1000 == passed


async def test_what_is_not_used_is_given_back(replicas: Replicas) -> None:
    """After a moment; then the other replica has all of it."""
    await replicas.passes()
    await replicas.settle_down()
    before = (await replicas.used(), replicas.held)
    await replicas.both[0].give_back_idle()
    still = replicas.held
    replicas.clock.advance(1)
    await replicas.both[0].give_back_idle()

    assert (51, 50) == before
    assert 50 == still
    assert (1, 0) == (await replicas.used(), replicas.held)


async def test_all_is_given_back_when_the_process_stops(replicas: Replicas) -> None:
    """Also what is under way at that moment."""
    async with replicas.both[0].running() as running:
        await running.reserve(SCOPE, "", [Take(DAY, 1)], 1000)

    assert (1, 0) == (await replicas.used(), replicas.held)


async def test_what_a_dead_replica_held_is_missing_until_the_window_is_over(replicas: Replicas) -> None:
    """That is the bound: as much as it held, and no longer."""
    await replicas.passes(0)
    await replicas.settle_down()
    passed = 1
    while await replicas.passes(1):
        passed += 1
        await replicas.settle_down()
    replicas.clock.advance(86_400)

    assert 1000 - LEASE == passed
    assert await replicas.passes(1)


async def test_a_lease_is_not_used_in_another_window_or_for_another_limit(replicas: Replicas) -> None:
    """What was counted in one window lets nothing through in the next one; a lowered limit is in force."""
    await replicas.passes()
    await replicas.settle_down()
    lowered = [await replicas.passes(bucket=replace(DAY, limit=1)) for _ in range(2)]
    replicas.clock.advance(86_400)
    trips = replicas.plain[0].trips
    after = await replicas.passes()

    assert [False, False] == lowered
    assert (True, trips + 1) == (after, replicas.plain[0].trips)


async def test_the_same_id_counts_once_here(replicas: Replicas) -> None:
    """A question that is repeated is answered from the same lease."""
    await replicas.passes()
    await replicas.settle_down()
    found = [await replicas.passes(reservation_id="a") for _ in range(3)]

    assert ([True] * 3, LEASE - 1) == (found, replicas.held)


async def test_money_is_never_taken_in_advance(replicas: Replicas) -> None:
    """It is reserved and settled one by one."""
    money = replace(DAY, key="money", unit=Unit.NANO_USD)
    for number in range(5):
        await replicas.both[0].reserve(SCOPE, f"r{number}", [Take(DAY, 1), Take(money, 10)], 60_000)
    await replicas.both[1].settle(
        [Settling(scope=SCOPE, id=f"r{number}", amounts={Unit.NANO_USD: 3}) for number in range(5)]
    )
    (cell,) = (await replicas.both[1].look(SCOPE, [money])).cells

    assert (15, 0, 0) == (cell.used, cell.reserved, replicas.held)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.integers(0, 1), st.integers(1, 60)),
        st.tuples(st.just("idle"), st.integers(0, 1), st.just(0)),
        st.tuples(st.just("wait"), st.just(0), st.integers(1, 50)),
    ),
    max_size=12,
)


@given(steps=steps, limit=st.integers(1, 200), technique=st.sampled_from(Technique))
async def test_never_more_pass_than_the_limit_says(
    steps: list[tuple[str, int, int]], limit: int, technique: Technique
) -> None:
    """Whatever two replicas do; in a fixed window what is missing is what they hold."""
    bucket = replace(DAY, limit=limit, window_s=60, technique=technique)
    url = shared_valkey().new_url()
    valkeys = [Valkey(url, PATIENT, clock=SystemClock()) for _ in range(2)]
    replicas = Replicas(valkeys, StoppedClock(1_800_000_000.0))
    passed: dict[int, int] = {}
    try:
        for kind, at, count in steps:
            window = int(replicas.clock.now_s()) // 60
            if kind == "pass":
                found = [await replicas.passes(at, bucket) for _ in range(count)]
                passed[window] = passed.get(window, 0) + sum(found)
                await replicas.settle_down()
                if technique is Technique.FIXED and not all(found):
                    assert limit - replicas.held <= passed[window]
            elif kind == "idle":
                replicas.clock.advance(1)
                await replicas.both[at].give_back_idle()
            else:
                replicas.clock.advance(count)
            assert all(each <= limit for each in passed.values())
    finally:
        await valkeys[0].execute("FLUSHDB")
        for valkey in valkeys:
            await valkey.close()
