"""Counters in Valkey while it is away: what is refused, what is counted here, and that it comes back."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import prometheus_client
import pytest
import structlog

from kit.clock import SystemClock
from kit.valkey import Valkey
from kit.valkey_config import ValkeyConfig
from services.router.config import CountersDown, RouterConfig
from services.router.core.settings import Technique
from services.router.core.windows import Admit, Bucket, Unit
from services.router.counters.metrics import LimitMetrics
from services.router.counters.opening import open_counters
from services.router.counters.outage import Outage
from services.router.counters.store import (
    Counters,
    CountersAwayError,
    GivingBack,
    Scope,
    Settling,
    Take,
    Taken,
)
from services.router.counters.valkey import ValkeyCounters
from tests.fakes.stopped_clock import StoppedClock
from tests.fakes.valkey_server import PATIENT, Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from kit.clock import Clock

SCOPE = Scope("acme", "default")
RATE = Bucket(
    key="rate", unit=Unit.REQUESTS, limit=2, window_s=86_400, technique=Technique.FIXED, admit=Admit.FITS
)
SOFT = replace(RATE, key="soft", unit=Unit.NANO_USD, admit=Admit.SPENT)
HARD = replace(SOFT, key="hard", admit=Admit.FITS)
LIFE_MS = 60_000


class Harness:
    """Counters on a server of its own, in the way a router has them."""

    def __init__(
        self, server: Server, settings: ValkeyConfig = PATIENT, *, clock: Clock | None = None
    ) -> None:
        self.server = server
        self.url = server.new_url()
        self.settings = settings
        self.clock = StoppedClock(SystemClock().now_s())
        self.time: Clock = clock or self.clock
        self.registry = prometheus_client.CollectorRegistry()
        self.metrics = LimitMetrics(self.registry)
        self.stack = AsyncExitStack()

    async def counters(self, down: CountersDown = "refuse-hard", *, wait_s: float = 0) -> Counters:
        valkey = Valkey(self.url, self.settings, clock=self.time)
        self.stack.push_async_callback(valkey.close)
        self.outage = Outage(wait_s=wait_s, clock=self.time)
        return await self.stack.enter_async_context(
            open_counters(
                valkey,
                RouterConfig(counters_down=down),
                outage=self.outage,
                metrics=self.metrics,
                clock=self.time,
                log=structlog.get_logger(),
            )
        )

    def back(self) -> None:
        """Let the server be there again, and be asked again."""
        self.server.start()
        self.clock.advance(10)

    def away(self, result: str) -> float | None:
        return self.registry.get_sample_value("headrace_router_counters_away_total", {"result": result})


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.remove()


@pytest.fixture
async def harness(server: Server) -> AsyncIterator[Harness]:
    found = Harness(server)
    yield found
    await found.stack.aclose()
    server.stop()
    server.start()


async def _taken(counters: Counters, reservation_id: str, *buckets: Bucket) -> bool | None:
    """Say whether one of each was let through; None: nobody knows."""
    try:
        takes = [Take(bucket, 1) for bucket in buckets]
        return (await counters.reserve(SCOPE, reservation_id, takes, LIFE_MS)).granted
    except CountersAwayError:
        return None


@pytest.mark.parametrize(
    ("down", "rate", "soft", "hard"),
    [("refuse-hard", True, True, None), ("refuse", None, None, None), ("allow", True, True, True)],
)
async def test_the_operator_says_what_happens_without_valkey(
    harness: Harness, down: CountersDown, *, rate: bool | None, soft: bool | None, hard: bool | None
) -> None:
    """By default only what must never be overspent is refused, with all that goes with it."""
    counters = await harness.counters(down)
    harness.server.stop()

    assert (rate, soft, hard, hard) == (
        await _taken(counters, "a", RATE),
        await _taken(counters, "b", SOFT),
        await _taken(counters, "c", HARD),
        await _taken(counters, "d", RATE, HARD),
    )
    assert (harness.away("refused") or 0, harness.away("counted_here") or 0) == {
        "refuse-hard": (2, 2), "refuse": (4, 0), "allow": (0, 4)
    }[down]  # fmt: skip


async def test_it_is_told_what_is_counted_here(harness: Harness) -> None:
    """What was never in Valkey is not to be taken from it; that cannot be told to it meanwhile either."""
    counters = await harness.counters()
    before = await counters.reserve(SCOPE, "", [Take(RATE, 1)], LIFE_MS)
    harness.server.stop()
    during = await counters.reserve(SCOPE, "", [Take(RATE, 1)], LIFE_MS)
    with pytest.raises(CountersAwayError):
        await counters.give_back([GivingBack(scope=SCOPE, taken=(Taken(RATE, before.cells[0].index),))])

    assert (False, True) == (before.apart, during.apart)


async def test_what_is_counted_here_is_limited_too(harness: Harness) -> None:
    """By this router alone, from nothing; when Valkey is back, it counts again."""
    counters = await harness.counters()
    before = [await _taken(counters, "", RATE) for _ in range(3)]
    harness.server.stop()
    during = [await _taken(counters, "", RATE) for _ in range(3)]
    harness.back()
    after = [await _taken(counters, "", RATE) for _ in range(3)]

    assert [[True, True, False]] * 3 == [before, during, after]


async def test_each_reservation_is_settled_where_it_was_made(harness: Harness) -> None:
    """One made before in Valkey waits for it to come back; one made meanwhile is settled here."""
    counters = await harness.counters("allow")
    both = [Settling(scope=SCOPE, id=name, amounts={Unit.NANO_USD: 1}) for name in ("before", "during")]
    first = await _taken(counters, "before", SOFT)
    harness.server.stop()
    second = await _taken(counters, "during", SOFT)
    with pytest.raises(CountersAwayError):
        await counters.settle(both)
    harness.back()
    again = [*await counters.settle(both)]

    assert (True, True) == (first, second)
    # What was in Valkey went with it; what was here was settled at the first try.
    assert [False, False] == again


async def test_what_was_carried_out_after_all_is_settled_too(server: Server) -> None:
    """A question that Valkey answered too late is counted here and there, and settled in both."""
    harness = Harness(server, ValkeyConfig(timeout_s=0.2))
    counters = await harness.counters("allow")
    patient = Valkey(harness.url, PATIENT, clock=SystemClock())
    harness.stack.push_async_callback(patient.close)
    there = ValkeyCounters(patient)
    await there.reserve(SCOPE, "first", [Take(HARD, 1)], LIFE_MS)
    await counters.look(SCOPE, [HARD])
    server.freeze()
    late = await _taken(counters, "late", HARD)
    server.thaw()
    reserved = (await there.look(SCOPE, [HARD])).cells[0].reserved
    settled = Settling(scope=SCOPE, id="late", amounts={Unit.NANO_USD: 0})
    told: Sequence[bool] = ()
    while not told:
        harness.clock.advance(10)
        with suppress(CountersAwayError):
            told = await counters.settle([settled])
    after = (await there.look(SCOPE, [HARD])).cells[0].reserved
    await harness.stack.aclose()

    assert (True, 2) == (late, reserved)
    assert ([True], 1) == ([*told], after)


async def test_a_slow_valkey_is_as_good_as_none(server: Server) -> None:
    """Nobody waits for it longer than the settings say, and most do not wait at all."""
    harness = Harness(server, ValkeyConfig(timeout_s=0.05))
    counters = await harness.counters()
    server.freeze()
    try:
        found = [await _taken(counters, f"r{number}", SOFT) for number in range(20)]
    finally:
        server.thaw()
    await harness.stack.aclose()

    assert [True] * 20 == found
    assert 20 == harness.away("counted_here")


async def test_reading_limits_goes_on(harness: Harness) -> None:
    """As this router knows them."""
    counters = await harness.counters()
    await _taken(counters, "", RATE)
    harness.server.stop()
    await _taken(counters, "", RATE)
    await _taken(counters, "", RATE)

    assert 2 == (await counters.look(SCOPE, [RATE])).cells[0].used
