"""`Idempotency-Key` of a universal request and of a WebSocket, in front of a cache that keeps to its word."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest
from google.protobuf.duration_pb2 import Duration

from headrace.common.v1 import http_pb2
from headrace.provider.v1 import provider_service_pb2 as pb
from kit.errors import GatewayError, Reason
from tests.fakes.edge_calls import ANSWER, failure
from tests.fakes.peers import TOKEN, FakeCache, Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

URL = "/v1/local/default"
AUTH = {"cf-aig-authorization": f"Bearer {TOKEN}"}
KEYED = {**AUTH, "Idempotency-Key": "k"}
STEP = {
    "provider": "openai", "endpoint": "chat/completions", "config": {"maxAttempts": 1},
    "query": {"model": "m"},
}  # fmt: skip
OTHER = {**STEP, "provider": "groq"}
FAILS = [
    head(500, failure=failure(pb.FAILURE_CLASS_SERVER, upstream_status=500)), chunk(b"{}"), tail(),
]  # fmt: skip


class StrictCache(FakeCache):
    """As the real one does, refuses another request under a key that stands for one."""

    def __init__(self) -> None:
        super().__init__()
        self._meant: dict[str, bytes] = {}

    async def Lookup(self, request: Any, context: Any) -> Any:
        asked = request.provider.encode() + request.body
        if request.idempotency_key and asked != self._meant.setdefault(request.idempotency_key, asked):
            raise GatewayError(Reason.CONFLICT, "This key stands for another request.")
        return await super().Lookup(request, context)


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path, cache=StrictCache()) as found:
        found.router.settings["idempotency_ttl"] = Duration(seconds=300)
        found.provider.script = [head(body_dialect=http_pb2.DIALECT_NATIVE), chunk(ANSWER), tail()]
        yield found


async def _ask(peers: Peers, asked: Any, headers: dict[str, str] = KEYED) -> tuple[int, str, str]:
    async with peers.client.post(URL, json=asked, headers={"cf-aig-cache-ttl": "0", **headers}) as answer:
        await answer.read()
        return (
            answer.status,
            answer.headers.get("cf-aig-cache-status", ""),
            answer.headers.get("cf-aig-step", ""),
        )


def _keys(peers: Peers) -> list[list[bytes]]:
    """Give the keys that each call of a provider had among its headers."""
    return [
        [each.value for each in request.headers if each.name == "idempotency-key"]
        for request in peers.provider.requests
    ]


async def _kept(peers: Peers, count: int) -> None:
    async with asyncio.timeout(5):
        while len(peers.cache.entries) < count:  # noqa: ASYNC110 - the fake has nothing to wait for
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("as_list", [False, True])
async def test_the_key_of_the_request_stands_for_it(peers: Peers, *, as_list: bool) -> None:
    """The same again is answered from what was kept; another body is refused; the provider sees no key."""
    another = {**STEP, "query": {"model": "m", "n": 2}}
    first = await _ask(peers, [STEP] if as_list else STEP)
    await _kept(peers, 1)
    again = await _ask(peers, [STEP] if as_list else STEP)
    refused = await _ask(peers, [another] if as_list else another)

    assert [(200, "MISS", "0"), (200, "HIT", "0")] == [first, again]
    assert 409 == refused[0]
    assert [[]] == _keys(peers)


async def test_each_element_has_the_key_with_its_place(peers: Peers) -> None:
    """What the second one answered is not given for the first, though both ask the same."""
    peers.provider.earlier = [FAILS]
    first = await _ask(peers, [STEP, OTHER])
    await _kept(peers, 1)
    peers.provider.earlier = [FAILS]
    again = await _ask(peers, [STEP, OTHER])
    asked = [request.provider for request in peers.provider.requests]

    assert [(200, "MISS", "1"), (200, "HIT", "1")] == [first, again]
    assert ["openai", "groq", "openai"] == asked
    assert {"t1\nk", "t1\nk\n1"} == {each.idempotency_key for each in peers.cache.looked_up}


async def test_a_steps_own_key_stands_and_is_sent(peers: Peers) -> None:
    """It is in place of the request's for this step, and its provider gets it."""
    own = {**STEP, "headers": {"idempotency-key": "own"}}
    await _ask(peers, own)
    await _kept(peers, 1)

    assert (200, "HIT", "0") == await _ask(peers, own, AUTH)
    assert 409 == (await _ask(peers, {**own, "query": {"model": "other"}}, AUTH))[0]
    assert [[b"own"]] == _keys(peers)


async def test_a_key_that_is_none(peers: Peers) -> None:
    """It has 1 to 255 characters, wherever it stands."""
    assert 400 == (await _ask(peers, STEP, {**AUTH, "Idempotency-Key": "k" * 256}))[0]
    assert [] == peers.provider.requests


async def test_without_a_time_to_live_it_means_nothing(peers: Peers) -> None:
    """Each request is a call of its own, and the request's key goes to nobody."""
    del peers.router.settings["idempotency_ttl"]

    assert [(200, "MISS", "0")] * 2 == [await _ask(peers, STEP), await _ask(peers, STEP)]
    assert [[], []] == _keys(peers)


async def test_a_message_has_the_key_in_a_steps_headers(peers: Peers) -> None:
    """Each request of a connection has its own."""
    found = []
    async with peers.client.ws_connect(URL, headers=AUTH) as socket, asyncio.timeout(10):
        for key, count in (("a", 1), ("a", 1), ("b", 2)):
            step = {**STEP, "headers": {"idempotency-key": key}}
            await socket.send_str(orjson.dumps({"type": "universal.create", "request": step}).decode())
            found.append(orjson.loads((await socket.receive()).data)["metadata"]["cacheStatus"])
            await _kept(peers, count)

    assert ["MISS", "HIT", "MISS"] == found


async def test_a_handshake_has_none(peers: Peers) -> None:
    """One key cannot stand for all that a connection asks; a client is told so rather than billed twice."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await peers.client.ws_connect(URL, headers=KEYED)

    assert 400 == refused.value.status
