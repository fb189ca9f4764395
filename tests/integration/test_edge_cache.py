"""The edge and the cache: what is asked for, what is kept, and for how long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headrace.provider.v1 import provider_service_pb2
from kit.errors import GatewayError, Reason
from tests.fakes.edge_calls import ANSWER, failure, post
from tests.fakes.peers import Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path) as found:
        found.provider.script = [head(), chunk(ANSWER), tail()]
        yield found


async def test_answer_in_pieces_is_cached(peers: Peers) -> None:
    """Whether an answer is cached does not depend on how many reads it took."""
    peers.provider.script = [head(), chunk(ANSWER[:5]), chunk(ANSWER[5:]), tail()]
    first = await post(peers, **{"cf-aig-cache-ttl": "60"})
    second = await post(peers, **{"cf-aig-cache-ttl": "60"})

    assert ("MISS", "HIT") == (first[2]["cf-aig-cache-status"], second[2]["cf-aig-cache-status"])
    assert first[1] == second[1]


async def test_cache_miss_then_hit(peers: Peers) -> None:
    """The second request is answered from the cache, costs no provider call and uses nothing."""
    first = await post(peers, **{"cf-aig-cache-ttl": "60"})
    second = await post(peers, **{"cf-aig-cache-ttl": "60"})

    assert ("MISS", "HIT") == (first[2]["cf-aig-cache-status"], second[2]["cf-aig-cache-status"])
    assert (first[1], 1, [60]) == (second[1], len(peers.provider.requests), peers.cache.ttls)


@pytest.mark.parametrize(
    ("headers", "ttl"),
    [
        ({"cf-aig-cache-ttl": "5"}, 60),
        ({"cf-aig-cache-key": "k"}, 300),
        ({"cf-aig-cache-ttl": "99999999"}, 2_592_000),
    ],
)
async def test_cache_lifetimes(peers: Peers, headers: dict[str, str], ttl: int) -> None:
    """Lifetimes are clamped to what is allowed; a key of one's own without any gets five minutes."""
    await post(peers, **headers)
    await asyncio.sleep(0.05)

    assert peers.cache.ttls == [ttl]


async def test_cache_skipped_for_reading(peers: Peers) -> None:
    """`cf-aig-skip-cache` asks the provider though there is an entry."""
    await post(peers, **{"cf-aig-cache-ttl": "60"})
    await post(peers, **{"cf-aig-cache-ttl": "60", "cf-aig-skip-cache": "true"})

    assert len(peers.provider.requests) == 2


async def test_dead_cache_is_a_miss(peers: Peers) -> None:
    """A cache that fails changes nothing for the client."""
    peers.cache.failure = GatewayError(Reason.SERVICE_UNAVAILABLE, "away")
    status, _, headers = await post(peers, **{"cf-aig-cache-ttl": "60"})

    assert (200, "MISS") == (status, headers["cf-aig-cache-status"])


async def test_errors_are_not_cached(peers: Peers) -> None:
    """Only whole, successful answers are kept."""
    peers.provider.script = [
        head(400, failure=failure(provider_service_pb2.FAILURE_CLASS_INVALID_REQUEST)),
        chunk(b"{}"),
        tail(),
    ]
    await post(peers, **{"cf-aig-cache-ttl": "60"})
    await asyncio.sleep(0.05)

    assert peers.cache.entries == {}
