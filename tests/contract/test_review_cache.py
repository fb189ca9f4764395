"""Claims on answers after a purge, in both stores; and what is kept and cannot be read."""

from __future__ import annotations

import prometheus_client
import pytest

from headrace.cache.v1 import cache_service_pb2 as pb
from headrace.common.v1 import caller_pb2
from kit.clock import SystemClock
from services.cache.config import CacheConfig
from services.cache.core.key import Key, unpack
from services.cache.metrics import CacheMetrics
from services.cache.packing import Packing
from services.cache.server import CacheServicer
from services.cache.store import Answer, Found
from services.cache.store_memory import MemoryAnswerStore
from tests.fakes.cache_stores import OPENAI, key_of, purge_of, stores


def _as_told(key: Key, found: Found) -> Key:
    told = unpack(key.pack(found.born))
    assert told is not None
    return told


@pytest.mark.parametrize("kind", ["memory", "valkey"])
@pytest.mark.parametrize("ends_by", ["put", "release"])
async def test_who_fetched_before_a_purge_does_not_end_the_claim_of_who_fetches_after_it(
    kind: str, ends_by: str
) -> None:
    """Else a third one would fetch the same answer beside the second."""
    key = key_of()
    async with stores(kind) as both:
        first = await both.ask(key, claims=True)
        await both.other.purge(purge_of())
        second = await both.ask(key, claims=True)
        if ends_by == "put":
            kept = await both.other.put(_as_told(key, first), Answer(value=b"old", provider=OPENAI, ttl_s=60))
        else:
            kept = False
            await both.other.release(_as_told(key, first))
        third = await both.ask(key, claims=True)
        await both.other.release(_as_told(key, second))
        fourth = await both.ask(key, claims=True)

    assert (True, True, False) == (first.claimed, second.claimed, kept)
    assert (False, True) == (third.claimed, third.taken)
    assert fourth.claimed


@pytest.mark.parametrize("value", [b"\x00\xff\xff", b"\x00\x0a\x7f", b"\x07", b""])
async def test_what_cannot_be_read_is_a_miss(value: bytes) -> None:
    """Of another release, or nothing of ours: the answer is fetched and kept in its place."""
    store = MemoryAnswerStore(max_bytes=10**6, claim_s=60, clock=SystemClock())
    servicer = CacheServicer(
        store=store,
        packing=Packing(level=3, from_bytes=100, most_bytes=1000),
        config=CacheConfig(),
        clock=SystemClock(),
        metrics=CacheMetrics(prometheus_client.CollectorRegistry()),
    )
    asked = pb.LookupRequest(
        caller=caller_pb2.Caller(account_id="acme", gateway_id="default"), body=b"{}", read=True, claim=True
    )
    key = unpack((await servicer.Lookup(asked, None)).key)
    assert key is not None
    await store.put(key, Answer(value=value, provider=OPENAI, ttl_s=60))
    found = await servicer.Lookup(asked, None)

    assert (False, True) == (found.HasField("entry"), found.claimed)
