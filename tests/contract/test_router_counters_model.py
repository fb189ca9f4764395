"""
Counters under random sequences of what can happen: callers that reserve, settle, repeat it and vanish.

In memory alone against a model of what a budget may do, and in memory and Valkey side by side.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kit.clock import SystemClock
from kit.valkey import Valkey
from services.router.core.settings import Technique
from services.router.core.windows import Admit, Bucket, Unit
from services.router.counters.memory import MemoryCounters
from services.router.counters.store import KNOWN_AGAIN_MS, Counters, Scope, Settling, Take
from services.router.counters.valkey import ValkeyCounters
from tests.fakes.stopped_clock import StoppedClock
from tests.fakes.valkey_server import PATIENT, shared_valkey

SCOPE = Scope("acme", "default")
LIMIT = 100
HARD = Bucket(
    key="hard",
    unit=Unit.NANO_USD,
    limit=LIMIT,
    window_s=60,
    technique=Technique.FIXED,
    admit=Admit.FITS,
)
BUCKETS = [
    HARD,
    *(
        replace(
            HARD, key=f"{unit.name}-{technique}-{admit.name}", unit=unit, technique=technique, admit=admit
        )
        for unit in Unit
        for technique in Technique
        for admit in Admit
    ),
]
LIFE_MS = 7_000

amounts = st.integers(0, 60)
names = st.sampled_from("abcdef")
reserving = st.tuples(st.just("reserve"), names, amounts)
settling = st.tuples(st.just("settle"), names, amounts)
passing = st.tuples(st.just("wait"), st.just(""), st.integers(1, 40_000))


@given(steps=st.lists(st.one_of(reserving, settling, passing), max_size=40))
@settings(max_examples=200)
async def test_a_hard_budget_is_never_overspent_and_nothing_stays_reserved(
    steps: list[tuple[str, str, int]],
) -> None:
    """
    Whoever vanishes: what is spent and reserved is never above the limit of its window.

    Each name reserves anew under a number of its own; settlements are of what was really used, which is never
    more than was reserved. In the end, what counts is exactly what was used, and whole where nobody told.
    """
    clock = StoppedClock()
    counters = MemoryCounters(clock=clock)
    # By id: who has it, how much, in which window, and until when.
    held: dict[str, tuple[str, int, int, int]] = {}
    spent: dict[int, int] = {}

    async def check() -> None:
        (cell,) = (await counters.look(SCOPE, [HARD])).cells
        assert cell.used + cell.reserved <= LIMIT

    for number, (kind, name, value) in enumerate([*steps, ("wait", "", LIFE_MS)]):
        if kind == "wait":
            clock.advance(value / 1000)
            now_ms = clock.now_ns() // 1_000_000
            for reservation_id, (_, amount, window, until_ms) in [*held.items()]:
                # Those that have run out count whole.
                if until_ms <= now_ms:
                    spent[window] += amount
                    del held[reservation_id]
        elif kind == "reserve":
            found = await counters.reserve(SCOPE, f"{name}{number}", [Take(HARD, value)], LIFE_MS)
            if found.granted:
                window = found.cells[0].index
                spent.setdefault(window, 0)
                held[f"{name}{number}"] = (name, value, window, found.now_ms + LIFE_MS)
        else:
            mine = next((key for key, each in held.items() if each[0] == name), None)
            if mine is not None:
                _, amount, window, _ = held.pop(mine)
                used = min(value, amount)
                settled = Settling(scope=SCOPE, id=mine, amounts={Unit.NANO_USD: used})
                assert [True] == [*await counters.settle([settled])]
                assert [False] == [*await counters.settle([settled])]
                spent[window] += used
        await check()

    (cell,) = (await counters.look(SCOPE, [HARD])).cells
    assert (spent.get(cell.index, 0), 0) == (cell.used, cell.reserved)
    assert (spent.get(cell.index - 1, 0), 0) == (cell.past_used, cell.past_reserved)
    assert all(each <= LIMIT for each in spent.values())
    assert 0 == counters.reservations


takes = st.lists(
    st.tuples(st.integers(0, len(BUCKETS) - 1), amounts), max_size=4, unique_by=lambda each: each[0]
)
anything = st.one_of(
    st.tuples(st.just("reserve"), st.sampled_from(["", "a", "b", "c"]), takes),
    st.tuples(st.just("settle"), names, st.dictionaries(st.sampled_from(Unit), amounts)),
    st.tuples(st.just("wait"), st.just(""), st.integers(0, 70_000)),
)


@given(steps=st.lists(anything, min_size=1, max_size=25))
@example(steps=[("reserve", "b", []), ("wait", "", 60_000), ("reserve", "b", [(0, 0)])])
async def test_both_kinds_of_counters_do_the_same(steps: list[tuple[str, str, Any]]) -> None:
    """
    Whatever happens, with every kind of limit.

    Ids are new ones before they would be forgotten: Valkey forgets them by a clock of its own, which no test
    moves.
    """
    clock = StoppedClock()
    passed_ms, generation = 0, 0
    valkey = Valkey(shared_valkey().new_url(), PATIENT, clock=SystemClock())
    both: tuple[Counters, Counters] = (MemoryCounters(clock=clock), ValkeyCounters(valkey, clock=clock))
    try:
        for kind, name, value in steps:
            if kind == "wait":
                clock.advance(value / 1000)
                passed_ms += value
                if passed_ms >= KNOWN_AGAIN_MS:
                    passed_ms, generation = 0, generation + 1
                continue
            reservation_id = f"{name}{generation}" if name else ""
            if kind == "reserve":
                wanted = [Take(BUCKETS[place], amount) for place, amount in value]
                found = [await each.reserve(SCOPE, reservation_id, wanted, LIFE_MS) for each in both]
                assert found[0] == found[1]
            else:
                settled = [Settling(scope=SCOPE, id=reservation_id, amounts=value)]
                assert [*await both[0].settle(settled)] == [*await both[1].settle(settled)]
            looks = [await each.look(SCOPE, BUCKETS) for each in both]
            assert looks[0] == looks[1]
    finally:
        await valkey.execute("FLUSHDB")
        await valkey.close()


@pytest.mark.parametrize("kind", ["memory", "valkey"])
async def test_many_callers_that_vanish_cannot_overspend_a_dollar(kind: str) -> None:
    """
    64 callers at once, over two clients of which one dies, with callers that are gone in the middle.

    What the provider charged is never more than the budget, and when the time of what nobody settled is over,
    nothing is reserved: what was charged counts, and what was lost counts whole.
    """
    dollar = replace(HARD, key="dollar", limit=1_000_000_000, window_s=86_400)
    clock = StoppedClock(1_800_000_000.0)
    valkeys = [Valkey(url, PATIENT, clock=SystemClock()) for url in [shared_valkey().new_url()] * 2]
    memory = MemoryCounters(clock=clock)
    clients: list[Counters] = (
        [memory, memory] if kind == "memory" else [ValkeyCounters(each, clock=clock) for each in valkeys]
    )
    charged: list[int] = []
    lost: list[int] = []
    half_way = asyncio.Event()
    chance = random.Random(7)

    async def call(number: int) -> None:
        client = clients[number % 2]
        for turn in range(20):
            estimate = chance.randrange(1, 20_000_000)
            reservation_id = f"{number}.{turn}"
            found = await client.reserve(SCOPE, reservation_id, [Take(dollar, estimate)], LIFE_MS)
            if not found.granted:
                continue
            await asyncio.sleep(0)
            used = chance.randrange(estimate + 1)
            charged.append(used)
            if len(charged) == 40:
                half_way.set()
            if chance.random() < 0.2:
                # The caller is gone with what it knew.
                lost.append(estimate - used)
                return
            await client.settle([Settling(scope=SCOPE, id=reservation_id, amounts={Unit.NANO_USD: used})])

    tasks = [asyncio.create_task(call(number)) for number in range(64)]
    await half_way.wait()
    for task in tasks[1::2]:
        # One router dies, whatever it was doing: what it reserved for its callers nobody settles.
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    during = (await clients[0].look(SCOPE, [dollar])).cells[0]
    clock.advance(LIFE_MS / 1000)
    after = (await clients[0].look(SCOPE, [dollar])).cells[0]
    for valkey in valkeys:
        await valkey.close()

    assert sum(charged) <= during.used + during.reserved <= 1_000_000_000
    assert during.used + during.reserved == after.used
    assert 0 == after.reserved
    assert sum(charged) + sum(lost) <= after.used
