"""A Valkey that is dead, slow or full is only misses, and is used again once it is back."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from headrace.cache.v1 import cache_service_pb2 as pb
from headrace.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from kit.errors import GatewayError, Reason
from services.cache.app import build
from tests.fakes.one_service import OneService, serve
from tests.fakes.valkey_server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from headrace.cache.v1.cache_service_pb2_grpc import CacheServiceAsyncStub


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server("--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
    yield started
    started.remove()


@asynccontextmanager
async def _served(server: Server, tmp_path: Path) -> AsyncIterator[tuple[OneService, CacheServiceAsyncStub]]:
    env = {
        "HEADRACE_DATA_DIR": str(tmp_path),
        "HEADRACE_CACHE_VALKEY_URL": server.new_url().reveal(),
        "HEADRACE_VALKEY_TIMEOUT_S": "0.3",
    }
    async with serve(build, env) as service:
        yield service, CacheServiceStub(service.channel("edge"))


def _lookup(body: bytes = b"{}", wait_s: int = 0) -> pb.LookupRequest:
    request = pb.LookupRequest(provider="p", model="m", endpoint="e", body=body, read=True, claim=True)
    request.caller.account_id, request.caller.gateway_id = "acme", "default"
    request.wait.seconds = wait_s
    return request


def _store(key: bytes, body: bytes = b"answer") -> pb.StoreRequest:
    request = pb.StoreRequest(key=key, entry=pb.Entry(status=200, body=body))
    request.ttl.seconds = 60
    return request


def _troubles(service: OneService, trouble: str) -> float:
    found = service.metrics.get_sample_value("headrace_cache_valkey_troubles_total", {"trouble": trouble})
    return found or 0


async def _works_again(cache: CacheServiceAsyncStub) -> None:
    async with asyncio.timeout(20):
        while True:
            key = (await cache.Lookup(_lookup(b"again"))).key
            if (await cache.Store(_store(key))).stored:
                break
            await asyncio.sleep(0.02)

    assert (await cache.Lookup(_lookup(b"again"))).HasField("entry")


@pytest.mark.parametrize("how", ["away", "slow"])
async def test_a_valkey_that_does_not_answer_is_a_miss(server: Server, tmp_path: Path, how: str) -> None:
    """Everybody is told to fetch, nothing fails and nothing is kept, and the service says that it is well."""
    async with _served(server, tmp_path) as (service, cache):
        key = (await cache.Lookup(_lookup())).key
        assert (await cache.Store(_store(key))).stored
        (server.stop if how == "away" else server.freeze)()
        answers = [await cache.Lookup(_lookup(wait_s=10)) for _ in range(6)]
        stored = await cache.Store(_store(key))
        await cache.Release(pb.ReleaseRequest(key=key))
        with pytest.raises(GatewayError) as refused:
            await cache.Purge(pb.PurgeRequest(account_id="acme"))
        await service.service.check()

        assert {(False, True)} == {(each.HasField("entry"), each.claimed) for each in answers}
        assert (False, Reason.SERVICE_UNAVAILABLE) == (stored.stored, refused.value.reason)
        assert _troubles(service, how)
        # After a few failures, it is not even asked.
        assert _troubles(service, "paused")
        (server.start if how == "away" else server.thaw)()
        await _works_again(cache)


async def test_whoever_waits_when_valkey_dies_fetches(server: Server, tmp_path: Path) -> None:
    """Nobody waits for an answer that cannot come."""
    async with _served(server, tmp_path) as (_, cache):
        await cache.Lookup(_lookup())
        waiting = asyncio.ensure_future(cache.Lookup(_lookup(wait_s=60)))
        await asyncio.sleep(0.05)
        server.stop()

        assert (await asyncio.wait_for(waiting, 20)).claimed


async def test_a_full_valkey_gives_what_it_has(server: Server, tmp_path: Path) -> None:
    """New answers are not kept, which is no error; old ones are found, and a purge works."""
    async with _served(server, tmp_path) as (service, cache):
        first = (await cache.Lookup(_lookup())).key
        assert (await cache.Store(_store(first))).stored
        for number in range(200):
            key = (await cache.Lookup(_lookup(b"%d" % number))).key
            if not (await cache.Store(_store(key, os.urandom(100_000)))).stored:
                break
        else:
            pytest.fail("it never got full")
        missed = await cache.Lookup(_lookup(b"new"))
        found = await cache.Lookup(_lookup())

        assert _troubles(service, "full")
        assert (False, True) == (missed.HasField("entry"), missed.claimed)
        assert found.HasField("entry")
        await cache.Purge(pb.PurgeRequest(account_id="acme"))
        assert not (await cache.Lookup(_lookup())).HasField("entry")
