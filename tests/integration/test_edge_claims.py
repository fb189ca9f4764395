"""A call that takes longer than a claim lasts, between two edges and one cache."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import prometheus_client
import pytest

from kit.clock import SystemClock
from kit.errors import GatewayError, Reason
from services.cache.config import CacheConfig
from services.cache.metrics import CacheMetrics
from services.cache.packing import Packing
from services.cache.server import CacheServicer
from services.cache.store_memory import MemoryAnswerStore
from tests.fakes.edge_calls import ANSWER, AUTH, BODY, CHAT
from tests.fakes.peers import Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from headrace.cache.v1 import cache_service_pb2 as pb

CLAIM_S: Final = 0.6
# Each comes a third of a claim's time after the one before: two times and more of it have passed.
RENEWALS: Final = 7


class Cache(CacheServicer):
    """The cache, which counts renewals and may refuse them."""

    def __init__(self) -> None:
        super().__init__(
            store=MemoryAnswerStore(max_bytes=10**6, claim_s=CLAIM_S, clock=SystemClock()),
            packing=Packing(level=3, from_bytes=1000, most_bytes=10**6),
            config=CacheConfig(claim_s=CLAIM_S),
            clock=SystemClock(),
            metrics=CacheMetrics(prometheus_client.CollectorRegistry()),
        )
        self.is_away = False
        self.renewals = 0
        self.lookups = 0
        self.lost = 0
        self.renewed = asyncio.Event()

    async def Lookup(self, request: pb.LookupRequest, context: Any) -> pb.LookupResponse:
        """Look up, and count it."""
        self.lookups += 1
        return await super().Lookup(request, context)

    async def Renew(self, request: pb.RenewRequest, context: Any) -> pb.RenewResponse:
        """Renew, unless it is away."""
        if self.is_away:
            self.renewed.set()
            raise GatewayError(Reason.SERVICE_UNAVAILABLE, "away")
        answer = await super().Renew(request, context)
        self.renewals += all(answer.kept)
        self.lost += not all(answer.kept)
        if self.renewals >= RENEWALS:
            self.renewed.set()
        return answer


@pytest.fixture
def cache() -> Cache:
    return Cache()


@pytest.fixture
async def edges(tmp_path: Path, cache: Cache) -> AsyncIterator[tuple[Peers, Peers]]:
    async with (
        edge_between(tmp_path / "one", cache=cache) as one,
        edge_between(tmp_path / "other", cache=cache) as other,
    ):
        yield one, other


async def _ask(peers: Peers) -> tuple[bytes, str | None]:
    async with peers.client.post(CHAT, json=BODY, headers={**AUTH, "cf-aig-cache-ttl": "60"}) as answer:
        return await answer.read(), answer.headers.get("cf-aig-cache-status")


async def test_a_long_call_is_shared_over_edges_to_its_end(edges: tuple[Peers, Peers], cache: Cache) -> None:
    """Its claim is renewed while it runs, so whoever asks another edge waits for it, and pays nothing."""
    one, other = edges
    gate = asyncio.Event()
    for peers in edges:
        peers.provider.script = [gate.wait, head(), chunk(ANSWER), tail(finish_reason="stop")]
    async with asyncio.timeout(30):
        first = asyncio.create_task(_ask(one))
        while not one.provider.requests:  # noqa: ASYNC110 - the fake has nothing to wait for
            await asyncio.sleep(0.01)
        second = asyncio.create_task(_ask(other))
        await cache.renewed.wait()
        gate.set()
        answers = [await first, await second]

    assert [(ANSWER, "MISS"), (ANSWER, "HIT")] == answers
    assert (1, 0) == (len(one.provider.requests), len(other.provider.requests))


async def test_a_claim_that_was_lost_is_not_given_back(edges: tuple[Peers, Peers], cache: Cache) -> None:
    """Somebody else has one on the key by then, and its call is still the only one."""
    one, other = edges
    gates = asyncio.Event(), asyncio.Event()
    one.provider.script = [gates[0].wait, GatewayError(Reason.UPSTREAM_ERROR, "gone")]
    other.provider.script = [gates[1].wait, head(), chunk(ANSWER), tail(finish_reason="stop")]
    async with asyncio.timeout(30):
        cache.is_away = True
        first = asyncio.create_task(_ask(one))
        await cache.renewed.wait()
        second = asyncio.create_task(_ask(other))
        while not other.provider.requests:  # noqa: ASYNC110 - the fake has nothing to wait for
            await asyncio.sleep(0.01)
        cache.is_away, before = False, cache.lost
        while cache.lost == before:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
        gates[0].set()
        await first
        third = asyncio.create_task(_ask(one))
        await asyncio.sleep(0.1)
        gates[1].set()
        answers = [await second, await third]

    assert [(ANSWER, "MISS"), (ANSWER, "HIT")] == answers
    assert (1, 1) == (len(one.provider.requests), len(other.provider.requests))


async def test_a_renewal_that_fails_changes_nothing_for_the_request(
    edges: tuple[Peers, Peers], cache: Cache
) -> None:
    """The call goes on, and its answer is kept for others."""
    one, other = edges
    gate = asyncio.Event()
    cache.is_away = True
    one.provider.script = [gate.wait, head(), chunk(ANSWER), tail(finish_reason="stop")]
    async with asyncio.timeout(30):
        first = asyncio.create_task(_ask(one))
        await cache.renewed.wait()
        gate.set()
        answers = [await first, await _ask(other)]

    assert [(ANSWER, "MISS"), (ANSWER, "HIT")] == answers
    assert (1, 0) == (len(one.provider.requests), len(other.provider.requests))
