"""Counters of limits, in memory and in a real Valkey: they count alike."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kit.clock import SystemClock
from kit.valkey import Valkey
from services.router.core.settings import Technique
from services.router.core.windows import Admit, Bucket, Cell, Unit
from services.router.counters.memory import MemoryCounters
from services.router.counters.store import (
    Counters,
    GivingBack,
    Outcome,
    Scope,
    Settling,
    Take,
    Taken,
)
from services.router.counters.valkey import ValkeyCounters
from tests.fakes.stopped_clock import StoppedClock
from tests.fakes.valkey_cluster import empty_cluster
from tests.fakes.valkey_server import PATIENT, shared_valkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SCOPE = Scope("acme", "default")
MINUTE = Bucket(
    key="minute",
    unit=Unit.REQUESTS,
    limit=3,
    window_s=60,
    technique=Technique.FIXED,
    admit=Admit.FITS,
)
SLIDING = replace(MINUTE, key="sliding", limit=10, technique=Technique.SLIDING)
HARD = replace(MINUTE, key="hard", unit=Unit.NANO_USD, limit=100, window_s=3600)
SOFT = replace(HARD, key="soft", admit=Admit.SPENT)
TOKENS = replace(HARD, key="tokens", unit=Unit.TOKENS, admit=Admit.LEFT)
LIFE_MS = 10_000


class Pair:
    """Two clients of the same counters, as two replicas of router are."""

    def __init__(self, one: Counters, other: Counters, clock: StoppedClock, expired: list[int]) -> None:
        self.one = one
        self.other = other
        self.clock = clock
        self.expired = expired

    async def take(self, *takes: Take, reservation_id: str = "", lifetime_ms: int = LIFE_MS) -> Outcome:
        return await self.one.reserve(SCOPE, reservation_id, takes, lifetime_ms)

    async def settle(self, reservation_id: str, **amounts: int) -> bool:
        units = {Unit[name.upper()]: amount for name, amount in amounts.items()}
        return (await self.other.settle([Settling(scope=SCOPE, id=reservation_id, amounts=units)]))[0]

    async def give_back(self, *taken: Taken, id: str = "") -> None:  # noqa: A002  # as the field is named
        await self.other.give_back([GivingBack(scope=SCOPE, id=id, taken=taken)])

    async def cell(self, bucket: Bucket) -> Cell:
        return (await self.other.look(SCOPE, [bucket])).cells[0]

    async def counts(self, bucket: Bucket) -> tuple[int, int]:
        found = await self.cell(bucket)
        return found.used, found.reserved


@pytest.fixture(params=["memory", "valkey", "cluster"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    # At the beginning of a minute and of an hour.
    clock = StoppedClock(1_800_000_000.0)
    expired: list[int] = []
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            memory = MemoryCounters(clock=clock, expired=expired.append)
            yield Pair(memory, memory, clock, expired)
            return
        url = empty_cluster() if request.param == "cluster" else shared_valkey().new_url()
        both = []
        for _ in range(2):
            valkey = Valkey(url, PATIENT, clock=SystemClock())
            stack.push_async_callback(valkey.close)
            both.append(ValkeyCounters(valkey, clock=clock, expired=expired.append))
        yield Pair(both[0], both[1], clock, expired)


async def test_as_many_pass_as_the_limit_says(pair: Pair) -> None:
    """One more is refused, and counts nothing."""
    passed = [(await pair.take(Take(MINUTE, 1))).granted for _ in range(5)]

    assert [True, True, True, False, False] == passed
    assert (3, 0) == await pair.counts(MINUTE)


async def test_a_fixed_window_ends_with_the_clock_s_minute(pair: Pair) -> None:
    """What was taken in its last moment does not count in the next one."""
    pair.clock.advance(59.999)
    first = await pair.take(Take(MINUTE, 3))
    full = await pair.take(Take(MINUTE, 1))
    pair.clock.advance(0.001)
    after = await pair.take(Take(MINUTE, 1))

    assert (True, False, True) == (first.granted, full.granted, after.granted)
    assert Cell(after.now_ms // 60_000, 1, 0, 3, 0) == after.cells[0]


async def test_a_sliding_window_weighs_the_one_before(pair: Pair) -> None:
    """After a quarter of the window three quarters of what was before still count."""
    await pair.take(Take(SLIDING, 8))
    pair.clock.advance(60 + 15)
    too_many = await pair.take(Take(SLIDING, 5))
    fits = await pair.take(Take(SLIDING, 4))
    pair.clock.advance(120)
    long_after = await pair.take(Take(SLIDING, 10))

    assert (False, True, True) == (too_many.granted, fits.granted, long_after.granted)


async def test_all_buckets_or_none(pair: Pair) -> None:
    """A take that one bucket refuses is counted in no other."""
    await pair.take(Take(MINUTE, 2))
    refused = await pair.take(Take(SLIDING, 1), Take(HARD, 7), Take(MINUTE, 2), reservation_id="a")

    assert False is refused.granted
    assert [0, 0, 2] == [cell.used + cell.reserved for cell in refused.cells]
    assert (0, 0) == await pair.counts(SLIDING)
    assert False is await pair.settle("a", nano_usd=5)


async def test_a_reservation_counts_until_what_was_used_takes_its_place(pair: Pair) -> None:
    """In hard mode what is reserved counts against the limit as what is used does."""
    first = await pair.take(Take(HARD, 60), reservation_id="a")
    refused = await pair.take(Take(HARD, 60), reservation_id="b")
    known = await pair.settle("a", nano_usd=10)
    after = await pair.take(Take(HARD, 60), reservation_id="b")

    assert (True, False, True, True) == (first.granted, refused.granted, known, after.granted)
    assert True is first.reserved
    assert (10, 60) == await pair.counts(HARD)


async def test_the_same_id_reserves_once_and_settles_once(pair: Pair) -> None:
    """Repeated calls are answered as the first, and change nothing; so with one that only counts requests."""
    first = await pair.take(Take(HARD, 60), reservation_id="a")
    again = await pair.take(Take(HARD, 60), reservation_id="a")
    settled = [await pair.settle("a", nano_usd=50) for _ in range(2)]
    late = await pair.take(Take(HARD, 60), reservation_id="a")
    counts = [await pair.take(Take(MINUTE, 1), reservation_id="r") for _ in range(4)]

    assert first == again
    assert [True, False] == settled
    assert (True, False) == (late.granted, late.reserved)
    assert (50, 0) == await pair.counts(HARD)
    assert [True] * 4 == [each.granted for each in counts]
    assert (1, 0) == await pair.counts(MINUTE)


async def test_a_settlement_that_overtakes_its_reservation_leaves_nothing_reserved(pair: Pair) -> None:
    """A caller that gave up says so before its question has arrived."""
    known = await pair.settle("a", nano_usd=0)
    late = await pair.take(Take(HARD, 60), reservation_id="a")

    assert (False, True, False) == (known, late.granted, late.reserved)
    assert (0, 0) == await pair.counts(HARD)


async def test_what_is_not_settled_counts_as_used_after_its_time(pair: Pair) -> None:
    """Nothing stays reserved, no money is lost, and it is told once."""
    await pair.take(Take(HARD, 60), Take(SOFT, 60), reservation_id="a", lifetime_ms=1000)
    pair.clock.advance(0.999)
    before = (await pair.counts(HARD), await pair.counts(SOFT))
    pair.clock.advance(0.001)
    after = (await pair.counts(HARD), await pair.counts(SOFT))

    assert ((0, 60), (0, 0)) == before
    assert ((60, 0), (60, 0)) == after
    assert [1] == pair.expired


async def test_what_is_not_told_counts_as_it_was_reserved(pair: Pair) -> None:
    """Tokens may be known where the cost is not."""
    await pair.take(Take(HARD, 60), Take(TOKENS, 70), Take(SOFT, 9), reservation_id="a")
    await pair.settle("a", tokens=5)

    assert [(60, 0), (5, 0), (9, 0)] == [await pair.counts(each) for each in (HARD, TOKENS, SOFT)]


async def test_soft_limits_refuse_only_once_over(pair: Pair) -> None:
    """What is under way does not matter, and what is used counts when it is known, in the window of then."""
    day_ms = 86_400_000
    both = [await pair.take(Take(SOFT, 99), reservation_id=name, lifetime_ms=day_ms) for name in ("a", "b")]
    pair.clock.advance(3600)
    await pair.settle("a", nano_usd=100)
    refused = await pair.take(Take(SOFT, 1), reservation_id="c")
    pair.clock.advance(3600)
    again = await pair.take(Take(SOFT, 1), reservation_id="d")

    assert [True, True] == [each.granted for each in both]
    assert (False, True) == (refused.granted, again.granted)


async def test_tokens_are_let_through_while_something_is_left(pair: Pair) -> None:
    """A request whose estimate is larger than what is left passes, and the next one does not."""
    first = await pair.take(Take(TOKENS, 150), reservation_id="a")
    second = await pair.take(Take(TOKENS, 1), reservation_id="b")
    await pair.settle("a", tokens=20)
    third = await pair.take(Take(TOKENS, 1), reservation_id="b")

    assert (True, False, True) == (first.granted, second.granted, third.granted)


async def test_what_only_counts_never_refuses(pair: Pair) -> None:
    """Limits in routes decided before; they only want to know."""
    counting = replace(HARD, admit=Admit.ALWAYS)
    taken = [await pair.take(Take(counting, 80), reservation_id=name) for name in "ab"]

    assert [True, True] == [each.granted for each in taken]
    assert (0, 160) == await pair.counts(counting)


@pytest.mark.parametrize(("passed_s", "expected"), [
    (1800, Cell(0, 30, 0, 0, 0)), (3600, Cell(1, 0, 0, 30, 0)), (7200, Cell(2, 0, 0, 0, 0)),
])  # fmt: skip
async def test_it_is_settled_in_the_window_in_which_it_was_reserved(
    pair: Pair, passed_s: float, expected: Cell
) -> None:
    """There the limit let it through; a window that is over for long is no matter any more."""
    first = await pair.take(Take(HARD, 60), reservation_id="a", lifetime_ms=86_400_000)
    pair.clock.advance(passed_s)
    await pair.settle("a", nano_usd=30)

    assert replace(expected, index=first.cells[0].index + expected.index) == await pair.cell(HARD)


async def test_gateways_do_not_share_counters(pair: Pair) -> None:
    """The same bucket of another gateway is another."""
    await pair.take(Take(MINUTE, 3))
    other = await pair.one.reserve(Scope("acme", "other"), "", [Take(MINUTE, 3)], LIFE_MS)

    assert True is other.granted


async def test_of_many_at_once_exactly_as_many_pass_as_fit(pair: Pair) -> None:
    """Over two clients, for requests and for money."""
    requests, money = replace(MINUTE, limit=37), replace(HARD, limit=1000)
    found = await asyncio.gather(
        *(
            client.reserve(SCOPE, f"{place}.{name}", [take], LIFE_MS)
            for place in range(60)
            for name, client in (("one", pair.one), ("other", pair.other))
            for take in ((Take(requests, 1) if place % 2 else Take(money, 41)),)
        )
    )

    assert 37 + 1000 // 41 == sum(each.granted for each in found)
    assert (37, 0) == await pair.counts(requests)
    assert (0, 1000 // 41 * 41) == await pair.counts(money)


async def test_memory_is_bounded() -> None:
    """Counters that are full of names that somebody made up forget the oldest, and reservations count."""
    clock = StoppedClock()
    expired: list[int] = []
    memory = MemoryCounters(clock=clock, expired=expired.append, most_cells=10, most_records=5)
    for number in range(50):
        await memory.reserve(SCOPE, f"r{number}", [Take(replace(HARD, key=f"k{number}"), 1)], LIFE_MS)
    await memory.reserve(SCOPE, "again", [Take(HARD, 7)], LIFE_MS)
    for number in range(5):
        await memory.reserve(SCOPE, f"s{number}", [Take(HARD, 1)], LIFE_MS)

    assert (10, 5) == (len(memory), memory.reservations)
    assert 51 == len(expired)
    assert (7, 5) == (
        (await memory.look(SCOPE, [HARD])).cells[0].used,
        (await memory.look(SCOPE, [HARD])).cells[0].reserved,
    )


async def test_keys_of_valkey_go_by_themselves() -> None:
    """Each has a time, also once it was settled; names of callers and ids stand in none."""
    valkey = Valkey(shared_valkey().new_url(), PATIENT, clock=SystemClock())
    counters = ValkeyCounters(valkey)
    await counters.reserve(SCOPE, "very-secret", [Take(HARD, 1), Take(MINUTE, 1)], LIFE_MS)
    await counters.reserve(SCOPE, "more", [Take(MINUTE, 1)], LIFE_MS)
    await counters.settle([Settling(scope=SCOPE, id="very-secret")])
    await counters.reserve(SCOPE, "third", [Take(SOFT, 1)], LIFE_MS)
    keys = await valkey.execute("KEYS", "*")
    times = [await valkey.execute("PTTL", key) for key in keys]
    await valkey.close()

    assert 6 == len(keys)
    assert all(time > 0 for time in times), (keys, times)
    assert b"secret" not in b"".join(keys)


async def test_a_request_that_is_given_back_leaves_room_for_another(pair: Pair) -> None:
    """As many pass as the limit says, those left out that used nothing, through whichever replica."""
    counted = [await pair.take(Take(MINUTE, 1), Take(SLIDING, 1)) for _ in range(3)]
    window = counted[0].cells[0].index
    full = await pair.take(Take(MINUTE, 1))
    await pair.give_back(Taken(MINUTE, window), Taken(SLIDING, window), id="a")
    passed = [(await pair.take(Take(MINUTE, 1))).granted for _ in range(2)]

    assert (False, [True, False]) == (full.granted, passed)
    assert [(3, 0), (2, 0)] == [await pair.counts(bucket) for bucket in (MINUTE, SLIDING)]


async def test_one_id_gives_back_once(pair: Pair) -> None:
    """A message may come twice; two without an id are two."""
    found = await pair.take(Take(SLIDING, 5))
    taken = Taken(SLIDING, found.cells[0].index)
    for each in ("a", "a", "b", "", ""):
        await pair.give_back(taken, id=each)

    assert (1, 0) == await pair.counts(SLIDING)


async def test_what_is_given_back_was_counted_in_its_own_window(pair: Pair) -> None:
    """In the one before it matters where windows slide; earlier ones are over. Nothing falls below zero."""
    found = await pair.take(Take(SLIDING, 5))
    taken = Taken(SLIDING, found.cells[0].index, 2)
    pair.clock.advance(60)
    await pair.take(Take(SLIDING, 1))
    await pair.give_back(taken)
    one = await pair.cell(SLIDING)
    pair.clock.advance(60)
    await pair.take(Take(SLIDING, 1))
    await pair.give_back(taken)
    two = await pair.cell(SLIDING)
    await pair.give_back(Taken(SLIDING, two.index, 7))

    assert [(1, 3), (1, 1)] == [(cell.used, cell.past_used) for cell in (one, two)]
    assert (0, 0) == await pair.counts(SLIDING)


async def test_a_counter_that_is_not_there_is_not_made_by_giving_back(pair: Pair) -> None:
    """It is of before a restart, or was forgotten; others that are given back with it are not concerned."""
    found = await pair.take(Take(MINUTE, 2))
    window = found.cells[0].index
    await pair.give_back(Taken(replace(MINUTE, key="gone"), window), Taken(MINUTE, window), id="a")
    await pair.other.give_back([])

    assert [(0, 0), (1, 0)] == [await pair.counts(bucket) for bucket in (replace(MINUTE, key="gone"), MINUTE)]
