"""What an edge gives back to limits in routes: the count of requests for which nothing was tried."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from google.protobuf.duration_pb2 import Duration

from headrace.common.v1 import decision_pb2
from kit.errors import GatewayError, Reason
from tests.fakes.edge_calls import ANSWER, BODY, post
from tests.fakes.peers import Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CACHED = {"cf-aig-cache-ttl": "60"}
OTHER = {**BODY, "messages": [{"role": "user", "content": "other"}]}


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path) as found:
        found.provider.script = [head(), chunk(ANSWER), tail(finish_reason="stop")]
        found.router.decision = decision_pb2.Decision(route="support", version_id="v")
        found.router.counted = b"counted"
        yield found


async def _given_back(peers: Peers) -> list[tuple[str, bytes, str, str]]:
    """Say what was given back by now: once that of a hit is there which comes last, so is all from before."""
    async with asyncio.timeout(10):
        await post(peers, json=OTHER, **CACHED)
        _, _, last = await post(peers, json=OTHER, **CACHED)
        assert "HIT" == last["cf-aig-cache-status"]
        own = f"{last['cf-aig-request-id']}.route"
        async with peers.router.settling:
            await peers.router.settling.wait_for(lambda: own in peers.router.settled)
    return [
        (key, each.counted, each.caller.account_id, each.caller.gateway_id)
        for key, each in sorted(peers.router.settled.items())
        if key != own
    ]


async def test_a_hit_gives_its_count_back(peers: Peers) -> None:
    """By an id of its own; the call itself stays counted."""
    statuses = [(await post(peers, **CACHED))[2] for _ in range(3)]
    found = await _given_back(peers)

    assert ["MISS", "HIT", "HIT"] == [each["cf-aig-cache-status"] for each in statuses]
    assert [f"{each['cf-aig-request-id']}.route" for each in statuses[1:]] == [key for key, *_ in found]
    assert {(b"counted", "local", "default")} == {tuple(each) for _, *each in found}


async def test_those_who_share_a_call_count_once(peers: Peers) -> None:
    """The one that makes it is counted, the others are given back."""
    gate = asyncio.Event()
    peers.provider.script = [gate.wait, head(), chunk(ANSWER), tail()]
    asking = [asyncio.create_task(post(peers, **CACHED)) for _ in range(5)]
    while len(peers.cache.looked_up) < 5:  # noqa: ASYNC110 - the fake has nothing to wait for
        await asyncio.sleep(0.01)
    gate.set()
    await asyncio.gather(*asking)

    assert 4 == len(await _given_back(peers))


async def test_what_is_fetched_anew_stays_counted(peers: Peers) -> None:
    """The client has an older answer at once, and its count is that of the call that is made meanwhile."""
    peers.router.settings["cache_stale_while_revalidate"] = Duration(seconds=600)
    await post(peers, **CACHED)
    await peers.cache.age(seconds=100)
    stale = await post(peers, **CACHED)
    await peers.entries(3)
    peers.cache.stale = False
    await post(peers, **CACHED)
    found = await _given_back(peers)

    assert ("STALE", 1, 3) == (stale[2]["cf-aig-cache-status"], len(found), len(peers.provider.requests))


async def test_a_request_that_is_refused_stays_counted(peers: Peers) -> None:
    """Nothing was tried for it, but it was no hit either: who asks nonsense does not ask for nothing."""
    peers.router.settings["idempotency_ttl"] = Duration(seconds=3600)
    peers.cache.failure = GatewayError(Reason.CONFLICT, "another request")
    refused = await post(peers, **{"Idempotency-Key": "k1"})
    peers.cache.failure = None

    assert 409 == refused[0]
    assert [] == await _given_back(peers)


async def test_what_was_tried_in_vain_stays_counted(peers: Peers) -> None:
    """Whether an older answer helps then, or nothing does."""
    peers.router.settings["cache_stale_if_error"] = Duration(seconds=600)
    await post(peers, **CACHED)
    await peers.cache.age(seconds=100)
    peers.provider.script = [GatewayError(Reason.UPSTREAM_UNREACHABLE, "no")]
    stale = await post(peers, **CACHED)
    peers.cache.stale = False
    peers.cache.entries.clear()
    failed = await post(peers, **CACHED)
    peers.provider.script = [head(), chunk(ANSWER), tail(finish_reason="stop")]

    assert ("STALE", 502) == (stale[2]["cf-aig-cache-status"], failed[0])
    assert [] == await _given_back(peers)
