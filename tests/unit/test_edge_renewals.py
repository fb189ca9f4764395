"""Claims of calls that take long, on a clock that stands."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog

from headrace.cache.v1 import cache_service_pb2 as pb
from headrace.common.v1 import http_pb2
from kit.clock import SystemClock
from kit.errors import GatewayError, Reason
from services.edge.pipeline.flight import Flight
from services.edge.pipeline.renewals import Renewals
from tests.fakes.stopped_clock import StoppedClock

LIFE_S: Final = 30


class Cache:
    """Takes renewals: all, but of the keys in `lost`; or fails with what a test says."""

    def __init__(self) -> None:
        self.asked: list[list[bytes]] = []
        self.lost: set[bytes] = set()
        self.failure: Exception | None = None
        self.was_asked = asyncio.Event()

    async def Renew(self, request: pb.RenewRequest, *, timeout: float) -> pb.RenewResponse:  # noqa: ASYNC109  # gRPC's name
        """Answer as the cache does."""
        self.asked.append([claim.key for claim in request.claims])
        self.was_asked.set()
        if self.failure is not None:
            raise self.failure
        return pb.RenewResponse(kept=[claim.key not in self.lost for claim in request.claims])


def _renewals(cache: Cache, clock: Any) -> Renewals:
    return Renewals(cache, timeout_s=1, clock=clock, log=structlog.get_logger())  # type: ignore[arg-type]  # one method


def _found(key: bytes, *, life_s: float = LIFE_S, claim_id: int = 7) -> pb.LookupResponse:
    found = pb.LookupResponse(key=key, claimed=True, claim_id=claim_id)
    found.claim_lifetime.FromMicroseconds(int(life_s * 1e6))
    return found


def _flight(keep_bytes: int = 100) -> Flight:
    return Flight(keep_bytes=keep_bytes, left=lambda: None)


async def _asked_after(renewals: Renewals, cache: Cache, clock: StoppedClock, seconds: float) -> list[Any]:
    cache.asked.clear()
    clock.advance(seconds)
    await renewals.renew_due()
    return cache.asked


async def test_a_claim_is_renewed_every_third_of_its_life() -> None:
    """Not before, and again and again."""
    cache, clock = Cache(), StoppedClock()
    renewals = _renewals(cache, clock)
    renewals.hold(_found(b"k"), _flight())
    asked = [list(await _asked_after(renewals, cache, clock, pause_s)) for pause_s in (4, 6, 4, 6, 10)]
    await renewals.close()

    assert [[], [[b"k"]], [], [[b"k"]], [[b"k"]]] == asked


async def test_claims_that_are_due_soon_are_renewed_together() -> None:
    """One message for all, but for those that have only begun."""
    cache, clock = Cache(), StoppedClock()
    renewals = _renewals(cache, clock)
    for key in (b"first", b"second", b"third"):
        renewals.hold(_found(key), _flight())
        clock.advance(4)
    first, second = [list(await _asked_after(renewals, cache, clock, pause_s)) for pause_s in (0, 8)]
    await renewals.close()

    assert ([[b"first", b"second"]], [[b"first", b"second", b"third"]]) == (first, second)


async def test_very_many_are_renewed_in_several_messages() -> None:
    """The cache takes a thousand at once."""
    cache, clock = Cache(), StoppedClock()
    renewals = _renewals(cache, clock)
    for number in range(1001):
        renewals.hold(_found(b"%d" % number), _flight())
    asked = await _asked_after(renewals, cache, clock, 10)
    await renewals.close()

    assert [1000, 1] == [len(keys) for keys in asked]


async def test_what_is_over_before_it_is_due_is_never_sent() -> None:
    """No message, and no timer that would go on."""
    cache = Cache()
    renewals = _renewals(cache, SystemClock())
    held = renewals.hold(_found(b"k", life_s=0.01), _flight())
    assert held is not None
    renewals.let_go(held)
    await asyncio.sleep(0.02)

    assert [] == cache.asked
    assert renewals._timer is None


async def test_a_claim_that_somebody_else_has_is_renewed_no_more() -> None:
    """What the cache says is lost is lost; the others go on."""
    cache, clock = Cache(), StoppedClock()
    renewals = _renewals(cache, clock)
    cache.lost = {b"gone"}
    for key in (b"gone", b"mine"):
        renewals.hold(_found(key), _flight())
    asked = [list(await _asked_after(renewals, cache, clock, 10)) for _ in range(2)]
    await renewals.close()

    assert [[[b"gone", b"mine"]], [[b"mine"]]] == asked


async def test_a_renewal_that_failed_is_tried_again_soon() -> None:
    """While the cache is away the claim's time runs, so the next try does not wait a third of it."""
    cache, clock = Cache(), StoppedClock()
    renewals = _renewals(cache, clock)
    renewals.hold(_found(b"k"), _flight())
    cache.failure = GatewayError(Reason.SERVICE_UNAVAILABLE, "away")
    failed = list(await _asked_after(renewals, cache, clock, 10))
    again = list(await _asked_after(renewals, cache, clock, 3))
    await renewals.close()

    assert ([[b"k"]], [[b"k"]]) == (failed, again)


async def test_an_answer_that_became_too_long_to_be_kept_is_waited_for_no_longer() -> None:
    """Others would wait for what will not be there."""
    cache, clock = Cache(), StoppedClock()
    renewals = _renewals(cache, clock)
    flights = {b"long": _flight(keep_bytes=3), b"short": _flight(), b"not begun": _flight(keep_bytes=0)}
    for key, flight in flights.items():
        renewals.hold(_found(key), flight)
        if key != b"not begun":
            await flight.begin(200, [], http_pb2.DIALECT_OPENAI_CHAT)
            await flight.write(b"data")
    asked = await _asked_after(renewals, cache, clock, 10)
    await renewals.close()

    assert [[b"short", b"not begun"]] == asked


async def test_a_claim_without_a_name_is_not_renewed() -> None:
    """It is of a cache that keeps none: Valkey is away, or the cache is of an earlier release."""
    renewals = _renewals(Cache(), StoppedClock())

    assert renewals.hold(_found(b"k", claim_id=0), _flight()) is None
    assert renewals.hold(_found(b"k", life_s=0), _flight()) is None
    assert renewals._timer is None


async def test_a_timer_renews_by_itself_whatever_goes_wrong() -> None:
    """It goes on after a defect, comes sooner for a shorter life, and ends with the edge."""
    cache = Cache()
    renewals = _renewals(cache, SystemClock())
    cache.failure = ValueError("a defect")
    with structlog.testing.capture_logs() as logs:
        renewals.hold(_found(b"long", life_s=3600), _flight())
        renewals.hold(_found(b"short", life_s=0.03), _flight())
        async with asyncio.timeout(10):
            await cache.was_asked.wait()
            cache.failure = None
            while len(cache.asked) < 3:
                cache.was_asked.clear()
                await cache.was_asked.wait()
    before = asyncio.all_tasks()
    await renewals.close()

    assert [[b"short"]] * 3 == cache.asked[:3]
    assert ["claims not renewed"] == [entry["event"] for entry in logs if entry["log_level"] == "error"]
    assert not [task for task in before if task.get_name() == "renewals" and not task.done()]
