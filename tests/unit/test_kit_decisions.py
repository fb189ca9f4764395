"""Decisions are reused for as long as their maker said, and no longer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from headrace.common.v1 import lifetime_pb2
from kit import decisions
from kit.decisions import DecisionCache, Fetched
from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Silent:
    def debug(self, *_: Any, **__: Any) -> None:
        """Say nothing."""


class World:
    """A service that decides, with a clock and a watch stream that the test holds."""

    def __init__(self, *, reuse_s: int = 60, grace_s: int = 300, capacity: int = 100) -> None:
        self.now_s = 1000.0
        self.asked = 0
        self.generation = 1
        self.scope = "a"
        self.failure: GatewayError | None = None
        self.gate: asyncio.Event | None = None
        self.reuse_s, self.grace_s = reuse_s, grace_s
        self.events: asyncio.Queue[lifetime_pb2.Invalidation | None] = asyncio.Queue()
        self.cache: DecisionCache[str, str] = DecisionCache(
            capacity=capacity, log=Silent(), clock=lambda: self.now_s
        )

    async def fetch(self) -> Fetched[str]:
        self.asked += 1
        generation = self.generation
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        lifetime = lifetime_pb2.Lifetime(generation=generation, scope=self.scope)
        lifetime.reuse_for.seconds = self.reuse_s
        lifetime.grace.seconds = self.grace_s
        return Fetched(f"answer {self.asked}", lifetime)

    async def get(self, key: str = "k") -> str:
        return await self.cache.get(key, self.fetch)

    async def watch(self) -> AsyncIterator[lifetime_pb2.Invalidation]:
        while (event := await self.events.get()) is not None:
            yield event

    async def tell(self, generation: int, scope: str = "") -> None:
        self.events.put_nowait(lifetime_pb2.Invalidation(generation=generation, scope=scope))
        await asyncio.sleep(0.01)

    async def lose_watch(self) -> None:
        self.events.put_nowait(None)
        await asyncio.sleep(0.01)


@pytest.fixture
async def here() -> AsyncIterator[World]:
    world = World()
    task = asyncio.create_task(world.cache.follow(world.watch))
    await world.tell(1)
    yield world
    task.cancel()


AWAY = GatewayError(Reason.SERVICE_UNAVAILABLE, "away")


async def test_reused_within_its_lifetime(here: World) -> None:
    """The second request does not ask."""
    answers = [await here.get(), await here.get()]

    assert (["answer 1"] * 2, 1) == (answers, here.asked)


async def test_asked_again_after_its_lifetime(here: World) -> None:
    """Once the lifetime is over the service is asked."""
    await here.get()
    here.now_s += 61

    assert await here.get() == "answer 2"


async def test_one_flight_for_many(here: World) -> None:
    """Requests at the same time ask once, and one that gives up does not spoil it for the others."""
    here.gate = asyncio.Event()
    waiting = [asyncio.create_task(here.get()) for _ in range(20)]
    await asyncio.sleep(0.01)
    waiting[0].cancel()
    here.gate.set()
    answers = await asyncio.gather(*waiting[1:])

    assert (["answer 1"] * 19, 1) == (answers, here.asked)


async def test_void_for_its_scope(here: World) -> None:
    """An event for the decision's scope voids it; one for another scope does not."""
    await here.get()
    await here.tell(2, "b")
    assert await here.get() == "answer 1"

    here.generation = 3
    await here.tell(3, "a")
    assert await here.get() == "answer 2"


async def test_void_while_on_its_way(here: World) -> None:
    """An answer made before a change that arrives after it is used once and not kept."""
    here.gate = asyncio.Event()
    late = asyncio.create_task(here.get())
    await asyncio.sleep(0.01)
    await here.tell(2, "a")
    here.gate.set()
    await late
    here.generation = 2

    assert await here.get() == "answer 2"


@pytest.mark.parametrize("scope", ["a", "b", ""])
async def test_request_after_a_change_does_not_join_an_earlier_flight(here: World, scope: str) -> None:
    """What was asked before a change was heard answers those who asked before, and nobody after."""
    here.gate = asyncio.Event()
    earlier = asyncio.create_task(here.get())
    await asyncio.sleep(0.01)
    await here.tell(2, scope)
    here.generation = 2
    later = [asyncio.create_task(here.get()) for _ in range(2)]
    await asyncio.sleep(0.01)
    here.gate.set()
    await asyncio.gather(earlier, *later)

    assert 2 == here.asked


async def test_flight_of_before_a_change_leaves_later_ones_alone(here: World) -> None:
    """When it lands late it takes away neither the newer answer nor the flight that others may join."""
    early = asyncio.Event()
    here.gate = early
    earlier = asyncio.create_task(here.get())
    await asyncio.sleep(0.01)
    await here.tell(2, "a")
    here.generation, here.gate = 2, asyncio.Event()
    later = asyncio.create_task(here.get())
    await asyncio.sleep(0.01)
    early.set()
    await earlier
    joins = asyncio.create_task(here.get())
    await asyncio.sleep(0.01)
    here.gate.set()
    await asyncio.gather(later, joins)
    assert 2 == here.asked

    early.clear()
    here.gate = early
    here.now_s += 61
    earlier = asyncio.create_task(here.get())
    await asyncio.sleep(0.01)
    await here.tell(3, "a")
    here.generation, here.gate = 3, None
    await here.get()
    early.set()
    await earlier

    assert here.cache.fresh("k") is not None


async def test_missing_nothing_leaves_flights_alone(here: World) -> None:
    """A watch that is back at the generation that was known does not make requests ask twice."""
    await here.lose_watch()
    here.gate = asyncio.Event()
    earlier = asyncio.create_task(here.get())
    await asyncio.sleep(0.1)
    await here.tell(1)
    later = asyncio.create_task(here.get())
    await asyncio.sleep(0.01)
    here.gate.set()
    await asyncio.gather(earlier, later)

    assert 1 == here.asked


REFUSALS = {
    Reason.ALIAS_NOT_FOUND,
    Reason.ALL_STEPS_FAILED,
    Reason.BAD_CHAT_FORMAT,
    Reason.CALLER_NOT_ALLOWED,
    Reason.CREDENTIAL_MISSING,
    Reason.GATEWAY_NOT_FOUND,
    Reason.INVALID_PROVIDER,
    Reason.INVALID_REQUEST,
    Reason.NOT_FOUND,
    Reason.PERMISSION_DENIED,
    Reason.RATE_LIMITED,
    Reason.SPEND_LIMITED,
    Reason.UNAUTHENTICATED,
    Reason.UNSUPPORTED,
}


@pytest.mark.parametrize("reason", sorted(REFUSALS))
async def test_refusal_voids(here: World, reason: Reason) -> None:
    """A decision to refuse reaches the caller, and the earlier answer is not used again."""
    await here.get()
    here.now_s += 61
    here.failure = GatewayError(reason, "no")
    with pytest.raises(GatewayError) as caught:
        await here.get()
    here.failure = AWAY
    with pytest.raises(GatewayError):
        await here.get()

    assert caught.value.reason == reason


@pytest.mark.parametrize("reason", sorted(set(Reason) - REFUSALS))
async def test_trouble_of_the_service_voids_nothing(here: World, reason: Reason) -> None:
    """A service that fails has not refused: the earlier answer goes on through its grace, and not beyond."""
    await here.get()
    here.now_s += 61
    here.failure = GatewayError(reason, "trouble")
    assert ["answer 1"] * 2 == [await here.get(), await here.get()]

    here.now_s += 301
    with pytest.raises(GatewayError) as caught:
        await here.get()
    assert caught.value.reason == reason


async def test_one_bad_key_does_not_stop_questions_about_others(here: World) -> None:
    """A question that the service cannot answer is no sign that it is away."""
    await here.get("good")
    here.now_s += 61
    here.failure = GatewayError(Reason.INTERNAL, "trouble")
    with pytest.raises(GatewayError):
        await here.get("bad")
    here.failure = None

    assert await here.get("good") == "answer 3"


async def test_refusal_is_not_kept_and_ends_an_earlier_answer(here: World) -> None:
    """A refusal reaches the caller each time and takes the stale answer away."""
    await here.get()
    here.now_s += 61
    here.failure = GatewayError(Reason.UNAUTHENTICATED, "no")
    with pytest.raises(GatewayError):
        await here.get()
    here.failure = AWAY
    with pytest.raises(GatewayError) as caught:
        await here.get()

    assert caught.value.reason == Reason.SERVICE_UNAVAILABLE


async def test_grace_while_the_service_is_away(here: World) -> None:
    """A decision goes on through its grace, and not beyond."""
    await here.get()
    here.failure = AWAY
    here.now_s += 61
    assert await here.get() == "answer 1"

    here.now_s += 301
    with pytest.raises(GatewayError):
        await here.get()


async def test_a_question_of_nobody_before_waits_for_a_service_that_comes_back(here: World) -> None:
    """It is asked once more when the service is heard of, so that a restart fails nobody."""
    here.failure = AWAY
    await here.lose_watch()
    asked = asyncio.create_task(here.get())
    await asyncio.sleep(0.1)
    waited = not asked.done()
    here.failure = None
    await here.tell(1)

    assert waited
    assert "answer 2" == await asked


async def test_a_question_of_nobody_before_does_not_wait_for_ever(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not heard of in time, or fails again, fails; and so does one that was never there, at once."""
    monkeypatch.setattr(decisions, "_PATIENCE_S", 0.1)
    here.failure = AWAY
    with pytest.raises(GatewayError):
        await here.get()
    assert 2 == here.asked
    await here.lose_watch()
    with pytest.raises(GatewayError):
        await here.get()
    assert 3 == here.asked

    never = World()
    never.failure = AWAY
    monkeypatch.setattr(decisions, "_PATIENCE_S", 3600)
    with pytest.raises(GatewayError):
        await never.get()


async def test_away_service_is_not_asked_for_each_request(here: World) -> None:
    """While it is known to be away, requests within the grace do not knock each time."""
    await here.get()
    here.failure = AWAY
    here.now_s += 61
    for _ in range(50):
        await here.get()

    assert here.asked == 2


async def test_lost_watch_means_asking(here: World) -> None:
    """Without the stream that would void it, a decision is not reused unasked."""
    await here.get()
    await here.lose_watch()

    assert here.cache.fresh("k") is None
    assert await here.get() == "answer 2"


async def test_watch_back_at_the_same_generation_keeps_decisions(here: World) -> None:
    """When nothing changed meanwhile, what is known stays."""
    await here.get()
    await here.lose_watch()
    await asyncio.sleep(0.1)
    await here.tell(1)

    assert await here.get() == "answer 1"


async def test_watch_back_at_another_generation_drops_decisions(here: World) -> None:
    """When something changed meanwhile, everything is asked anew."""
    await here.get()
    await here.lose_watch()
    await asyncio.sleep(0.1)
    here.generation = 5
    await here.tell(5)

    assert await here.get() == "answer 2"


async def test_bounded() -> None:
    """No more than the capacity is kept."""
    world = World(capacity=10)
    task = asyncio.create_task(world.cache.follow(world.watch))
    await world.tell(1)
    for number in range(50):
        await world.get(str(number))

    assert world.cache.fresh("39") is None
    assert world.cache.fresh("49") is not None
    task.cancel()


async def test_for_one_request_only() -> None:
    """An answer without a lifetime is never reused."""
    world = World(reuse_s=0)
    task = asyncio.create_task(world.cache.follow(world.watch))
    await world.tell(1)
    await world.get()
    await world.get()

    assert world.asked == 2
    task.cancel()


async def test_purged_once_its_grace_is_over() -> None:
    """What may not be used any more is not kept either, as it may hold secrets."""
    world = World(reuse_s=60, grace_s=300)
    await world.get("old")
    world.now_s += 300
    await world.get("new")

    world.cache.purge()
    assert 2 == len(world.cache)
    world.now_s += 60
    world.cache.purge()
    assert 1 == len(world.cache)


async def test_what_may_not_be_reused_is_for_one_alone() -> None:
    """Whoever waited beside the one that asked gets an answer of their own: it may be drawn, or counted."""
    world = World(reuse_s=0)
    world.gate = asyncio.Event()
    waiting = [asyncio.create_task(world.get()) for _ in range(5)]
    await asyncio.sleep(0)
    world.gate.set()

    assert 5 == len(set(await asyncio.gather(*waiting)))
