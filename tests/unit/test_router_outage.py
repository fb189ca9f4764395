"""Waiting for Valkey: one looks whether it is back, nobody waits for longer than an outage may last."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from kit.rpc import deadline
from services.router.counters.outage import Outage
from services.router.counters.store import CountersAwayError
from tests.fakes.stopped_clock import StoppedClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WAIT_S = 10.0


class Valkey:
    """Is away until a moment of a clock that its watcher moves by sleeping."""

    def __init__(self, back_s: float = float("inf"), wait_s: float = WAIT_S) -> None:
        self.clock = StoppedClock(0.0)
        self.back_s = back_s
        self.looked: list[float] = []
        self.outage = Outage(wait_s=wait_s, clock=self.clock, sleep=self._sleep)

    async def probe(self) -> None:
        self.looked.append(self.clock.monotonic_s())
        if self.clock.monotonic_s() < self.back_s:
            raise CountersAwayError("away")

    async def waits(self) -> bool:
        """Wait as one who was refused a moment ago."""
        self.outage.noticed(self.probe)
        return await self.outage.over()

    async def until(self, now_s: float) -> None:
        """Wait for a moment of the clock, or until nobody moves it any more."""
        for _ in range(1000):
            await asyncio.sleep(0)
            if self.clock.monotonic_s() >= now_s:
                return

    async def _sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)
        # Whoever waits has his turn.
        await asyncio.sleep(0)


@asynccontextmanager
async def _valkey(back_s: float = float("inf"), wait_s: float = WAIT_S) -> AsyncIterator[Valkey]:
    valkey = Valkey(back_s, wait_s)
    async with aclosing(valkey.outage):
        yield valkey


@pytest.mark.parametrize(("back_s", "bridged"), [(0.0, True), (5.0, True), (9.7, True), (10.5, False)])
async def test_an_outage_is_bridged_up_to_a_length(back_s: float, *, bridged: bool) -> None:
    """All are told the same, and about as often as once in 0.15 s somebody looks, however many wait."""
    async with _valkey(back_s) as valkey:
        found = await asyncio.gather(*(valkey.waits() for _ in range(100)))

    assert [bridged] * 100 == found
    assert len(valkey.looked) <= WAIT_S / 0.15 + 10
    if bridged:
        assert valkey.looked[-1] <= back_s + 0.2


async def test_what_comes_later_waits_for_the_rest_of_it() -> None:
    """The limit is on the outage: who comes when it is over waits for a last look, and no longer."""
    async with _valkey() as valkey:
        first = asyncio.create_task(valkey.waits())
        await valkey.until(WAIT_S - 1)
        assert not first.done()
        assert not await valkey.waits()
        assert not await first
        assert [False] * 3 == await asyncio.gather(*(valkey.waits() for _ in range(3)))
        late = asyncio.create_task(valkey.waits())
        await asyncio.sleep(0)
        valkey.back_s = valkey.clock.monotonic_s()
        assert await late


async def test_it_is_found_again_after_a_long_time_and_waited_for_the_next_time() -> None:
    """Somebody goes on to look."""
    async with _valkey(back_s=100.0) as valkey:
        assert not await valkey.waits()
        await valkey.until(101.5)
        assert await valkey.outage.over()
        valkey.clock.advance(5)
        valkey.back_s = valkey.clock.monotonic_s() + 3
        assert await valkey.waits()


async def test_one_that_only_seems_to_be_back_keeps_nobody_for_ever() -> None:
    """It answers who looks, and nobody else."""
    async with _valkey(back_s=0.0) as valkey:
        waits = 0
        while await valkey.waits():
            waits += 1
            assert waits < 1000

    assert WAIT_S <= valkey.clock.monotonic_s() <= WAIT_S + 2


@pytest.mark.parametrize("wait_s", [0.0, WAIT_S])
async def test_nobody_waits_where_it_is_not_wanted_or_at_the_end(wait_s: float) -> None:
    """Without a time to wait, or when the process is about to stop; those who wait already are told."""
    async with _valkey(wait_s=wait_s) as valkey:
        waiting = asyncio.create_task(valkey.waits())
        await asyncio.sleep(0)
        valkey.outage.stop()

        assert not await waiting
        assert not await valkey.waits()
        assert len(valkey.looked) <= 2


async def test_a_callers_time_ends_the_wait_with_a_word() -> None:
    """Before it is over."""
    clock = StoppedClock()
    async with aclosing(Outage(wait_s=WAIT_S, clock=clock)) as outage:

        async def probe() -> None:
            raise CountersAwayError("away")

        outage.noticed(probe)
        with deadline.accept(0.05):
            assert not await outage.over()
        with deadline.accept(0):
            assert not await outage.over()
