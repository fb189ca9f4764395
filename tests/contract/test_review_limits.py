"""Counters when a request takes longer than its reservation, when Valkey is full, and when clocks jump."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kit.clock import SystemClock
from kit.valkey import Trouble, Valkey, ValkeyError
from services.router.core.settings import Technique
from services.router.core.windows import Admit, Bucket, Unit
from services.router.counters.memory import MemoryCounters
from services.router.counters.store import Counters, CountersAwayError, Scope, Settling, Take
from services.router.counters.valkey import ValkeyCounters
from tests.fakes.stopped_clock import StoppedClock
from tests.fakes.valkey_server import PATIENT, Server, shared_valkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SCOPE = Scope("acme", "default")
HARD = Bucket(
    key="hard",
    unit=Unit.NANO_USD,
    limit=100,
    window_s=3600,
    technique=Technique.FIXED,
    admit=Admit.FITS,
)
SOFT = replace(HARD, key="soft", admit=Admit.SPENT)
TOKENS = replace(HARD, key="tokens", unit=Unit.TOKENS, admit=Admit.LEFT)
REQUESTS = replace(HARD, key="requests", unit=Unit.REQUESTS, window_s=60)
LIFE_MS = 10_000

_Both = tuple[Counters, StoppedClock]


@pytest.fixture(params=["memory", "valkey"])
async def both(request: pytest.FixtureRequest) -> AsyncIterator[_Both]:
    # At the beginning of a minute and of an hour.
    clock = StoppedClock(1_800_000_000.0)
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            yield MemoryCounters(clock=clock), clock
            return
        valkey = Valkey(shared_valkey().new_url(), PATIENT, clock=SystemClock())
        stack.push_async_callback(valkey.close)
        yield ValkeyCounters(valkey, clock=clock), clock


@pytest.fixture(scope="module")
def small() -> Iterator[Server]:
    found = Server("--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
    yield found
    found.remove()


async def _counts(counters: Counters, *buckets: Bucket) -> list[tuple[int, int]]:
    found = await counters.look(SCOPE, buckets)
    return [(cell.used, cell.reserved) for cell in found.cells]


async def _fill(valkey: Valkey) -> None:
    for number in range(10_000):
        await valkey.execute("SET", f"filling{number}", b"x" * 10_000)


def _settling(reservation_id: str, amount: int) -> Settling:
    return Settling(scope=SCOPE, id=reservation_id, amounts={Unit.NANO_USD: amount, Unit.TOKENS: amount})


@pytest.mark.parametrize("used", [3, 70])
async def test_a_request_longer_than_its_reservation_counts_as_it_was_in_the_end(
    both: _Both, used: int
) -> None:
    """Meanwhile as reserved: else whoever holds a session open for long would spend without a limit."""
    counters, clock = both
    takes = [Take(HARD, 20), Take(SOFT, 20), Take(TOKENS, 20)]
    await counters.reserve(SCOPE, "long", takes, LIFE_MS)
    clock.advance(11)
    meanwhile = await _counts(counters, HARD, SOFT, TOKENS)
    clock.advance(120)
    known = [(await counters.settle([_settling("long", used)]))[0] for _ in range(2)]

    assert [(20, 0)] * 3 == meanwhile
    assert [True, False] == known
    assert [(used, 0)] * 3 == await _counts(counters, HARD, SOFT, TOKENS)


@pytest.mark.parametrize(("used", "then"), [(3, (0, 3, 0, 3)), (70, (0, 70, 50, 20))])
async def test_what_is_known_after_the_window_is_put_right_where_it_counted(
    both: _Both, used: int, then: tuple[int, ...]
) -> None:
    """In the window before; only what a soft limit did not know of counts when it is known."""
    counters, clock = both
    clock.advance(3590)
    await counters.reserve(SCOPE, "long", [Take(HARD, 20), Take(SOFT, 20)], 5_000)
    clock.advance(6)
    await _counts(counters, HARD)
    clock.advance(10)
    await counters.settle([_settling("long", used)])
    hard, soft = (await counters.look(SCOPE, [HARD, SOFT])).cells

    assert then == (hard.used, hard.past_used, soft.used, soft.past_used)


async def test_a_clock_that_was_far_ahead_for_a_moment_closes_no_limit(both: _Both) -> None:
    """What was counted in the wrong year does not hold until that year comes."""
    counters, clock = both
    clock.advance(10 * 365 * 86_400)
    await counters.reserve(SCOPE, "", [Take(REQUESTS, 100)], 0)
    clock.advance(-10 * 365 * 86_400)
    refused = await counters.reserve(SCOPE, "", [Take(REQUESTS, 1)], 0)
    clock.advance(120)
    later = await counters.reserve(SCOPE, "", [Take(REQUESTS, 1)], 0)

    assert (False, True) == (refused.granted, later.granted)


async def test_a_connection_to_what_has_become_a_replica_is_given_up() -> None:
    """The address may lead to another server by now, which takes what this one refuses."""
    server = Server()
    valkey = Valkey(server.new_url(), PATIENT, clock=SystemClock())
    try:
        before = await valkey.execute("CLIENT", "ID")
        await valkey.execute("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(CountersAwayError) as caught:
            await ValkeyCounters(valkey).reserve(SCOPE, "a", [Take(HARD, 1)], LIFE_MS)
        after = await valkey.execute("CLIENT", "ID")

        assert "read only replica" in str(caught.value)
        assert before != after
    finally:
        await valkey.close()
        server.remove()


async def test_a_full_valkey_takes_settlements_that_it_does_not_know(small: Server) -> None:
    """Else one of them would hold up all that come after it, and what they reserved would count whole."""
    valkey = Valkey(small.new_url(), PATIENT, clock=SystemClock())
    counters = ValkeyCounters(valkey)
    try:
        await counters.reserve(SCOPE, "known", [Take(HARD, 60)], 60_000)
        with pytest.raises(ValkeyError) as caught:
            await _fill(valkey)
        known = await counters.settle([_settling("unknown", 0), _settling("known", 5)])

        assert Trouble.FULL is caught.value.trouble
        assert [False, True] == [*known]
        assert [(5, 0)] == await _counts(counters, HARD)
    finally:
        await valkey.close()
