"""The cache as its own process runs it, over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf import duration_pb2

from headrace.cache.v1 import cache_service_pb2 as pb
from headrace.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from kit.errors import GatewayError, Reason
from services.cache.app import build
from tests.fakes.one_service import OneService, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from headrace.cache.v1.cache_service_pb2_grpc import CacheServiceAsyncStub


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[OneService]:
    env = {"HEADRACE_DATA_DIR": str(tmp_path), "HEADRACE_CACHE_MAX_ENTRY_BYTES": "1000000"}
    async with serve(build, env) as one:
        yield one


@pytest.fixture
def cache(service: OneService) -> CacheServiceAsyncStub:
    return CacheServiceStub(service.channel("edge"))


def _lookup(**changes: object) -> pb.LookupRequest:
    request = pb.LookupRequest(
        provider="openai", model="m", endpoint="compat/chat/completions", body=b"{}", read=True
    )
    request.caller.account_id, request.caller.gateway_id = "acme", "default"
    request.MergeFrom(pb.LookupRequest(**changes))  # type: ignore[arg-type]  # by name
    return request


def _store(key: bytes, body: bytes = b'{"ok":true}', ttl_s: int = 60) -> pb.StoreRequest:
    request = pb.StoreRequest(key=key, entry=pb.Entry(status=200, body=body, provider="openai", model="m-1"))
    request.entry.headers.add(name="content-type", value=b"application/json")
    request.entry.usage.input_tokens = 7
    request.ttl.seconds = ttl_s
    return request


async def test_a_miss_then_a_hit(cache: CacheServiceAsyncStub) -> None:
    """What was stored under the key of a miss is found by the same request, whole and stamped."""
    missed = await cache.Lookup(_lookup())
    stored = await cache.Store(_store(missed.key))
    found = await cache.Lookup(_lookup())

    assert (False, True, True) == (missed.HasField("entry"), stored.stored, found.HasField("entry"))
    assert found.entry.store_time.seconds > 1_700_000_000
    found.entry.ClearField("store_time")
    assert _store(b"").entry == found.entry


@pytest.mark.parametrize(
    "changes",
    [
        {"body": b"{ }"},
        {"model": "n"},
        {"provider": "anthropic"},
        {"endpoint": "compat/embeddings"},
        {"credential_digest": b"d"},
        {"custom_key": "mine"},
        {"caller": {"account_id": "other"}},
        {"caller": {"gateway_id": "other"}},
    ],
)
async def test_a_different_request_misses(cache: CacheServiceAsyncStub, changes: dict[str, object]) -> None:
    """A request that differs in anything gets another key, and no answer of the first."""
    first = await cache.Lookup(_lookup())
    await cache.Store(_store(first.key))

    other = await cache.Lookup(_lookup(**changes))

    assert first.key != other.key
    assert not other.HasField("entry")


async def test_only_the_key_is_wanted(cache: CacheServiceAsyncStub) -> None:
    """Without `read` an answer that is there is not given, and the key is the same."""
    key = (await cache.Lookup(_lookup())).key
    await cache.Store(_store(key))
    request = _lookup()
    request.read = False

    answer = await cache.Lookup(request)

    assert (key, False) == (answer.key, answer.HasField("entry"))


async def test_large_bodies_work(cache: CacheServiceAsyncStub) -> None:
    """A body that is hashed in a thread has a key like any other."""
    request = _lookup(body=b"x" * 900_000)
    key = (await cache.Lookup(request)).key
    await cache.Store(_store(key))

    assert (await cache.Lookup(request)).HasField("entry")


async def test_too_large_a_request_is_refused(cache: CacheServiceAsyncStub) -> None:
    """A body above the limit is an error, which callers treat as a miss."""
    with pytest.raises(GatewayError) as caught:
        await cache.Lookup(_lookup(body=b"x" * 1_000_001))

    assert (Reason.TOO_LARGE, "1000000") == (caught.value.reason, caught.value.metadata["limit_bytes"])


async def test_too_large_an_answer_is_not_stored(cache: CacheServiceAsyncStub) -> None:
    """It is said that the answer was not kept; that is no error."""
    key = (await cache.Lookup(_lookup())).key

    assert not (await cache.Store(_store(key, body=b"x" * 1_000_001))).stored
    assert not (await cache.Lookup(_lookup())).HasField("entry")


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (_store(b"short"), "key"),
        (_store(bytes(64), ttl_s=59), "ttl"),
        (_store(bytes(64), ttl_s=30 * 86_400 + 1), "ttl"),
        (pb.StoreRequest(key=bytes(64), ttl=duration_pb2.Duration(seconds=60)), "entry"),
    ],
    ids=["not a key", "too short", "too long", "no entry"],
)
async def test_what_cannot_be_stored_is_refused(
    cache: CacheServiceAsyncStub, request_: pb.StoreRequest, param: str
) -> None:
    """A wrong key, time or no answer at all is told by name."""
    with pytest.raises(GatewayError) as caught:
        await cache.Store(request_)

    assert (Reason.INVALID_REQUEST, param) == (caught.value.reason, caught.value.metadata["param"])


async def test_who_asks_must_be_said(cache: CacheServiceAsyncStub) -> None:
    """A lookup without an account is refused rather than answered for nobody."""
    with pytest.raises(GatewayError) as caught:
        await cache.Lookup(pb.LookupRequest(body=b"{}", read=True))

    assert "caller" == caught.value.metadata["param"]


@pytest.mark.parametrize("caller", ["cli", "providers", "external"])
async def test_only_the_edge_may_ask(service: OneService, caller: str) -> None:
    """Others are refused."""
    cache: CacheServiceAsyncStub = CacheServiceStub(service.channel(caller))
    with pytest.raises(GatewayError) as caught:
        await cache.Lookup(_lookup())

    assert Reason.CALLER_NOT_ALLOWED is caught.value.reason


async def test_the_service_is_healthy(service: OneService) -> None:
    """Its check succeeds."""
    await service.service.check()
