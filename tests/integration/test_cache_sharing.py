"""The cache over gRPC, with answers in memory and in Valkey: claims, waiting, purges, streams."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING

import pytest
import structlog

from headrace.cache.v1 import cache_service_pb2 as pb
from headrace.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from kit.clock import SystemClock
from kit.errors import GatewayError, Reason
from kit.valkey import Valkey
from services.cache.app import build
from tests.fakes.one_service import OneService, serve
from tests.fakes.valkey_server import PATIENT, shared_valkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from headrace.cache.v1.cache_service_pb2_grpc import CacheServiceAsyncStub

BODY = b'{"model":"m","messages":[{"role":"user","content":"canary-question"}]}'
STREAMED = BODY[:-1] + b',"stream":true,"stream_options":{"include_usage":true}}'


@pytest.fixture(params=["memory", "valkey"])
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OneService]:
    env = {"HEADRACE_DATA_DIR": str(tmp_path), "HEADRACE_CACHE_MAX_ENTRY_BYTES": "1000000"}
    if request.param == "valkey":
        env["HEADRACE_CACHE_VALKEY_URL"] = shared_valkey().new_url().reveal()
        env["HEADRACE_VALKEY_TIMEOUT_S"] = "20"
    async with serve(build, env) as one:
        yield one


@pytest.fixture
def cache(service: OneService) -> CacheServiceAsyncStub:
    return CacheServiceStub(service.channel("edge"))


def _lookup(wait_s: float = 0, **changes: object) -> pb.LookupRequest:
    request = pb.LookupRequest(provider="openai", model="m", endpoint="e", body=BODY, read=True, claim=True)
    request.caller.account_id, request.caller.gateway_id = "acme", "default"
    request.wait.FromMilliseconds(int(wait_s * 1000))
    request.MergeFrom(pb.LookupRequest(**changes))  # type: ignore[arg-type]  # by name
    return request


def _store(key: bytes, body: bytes = b"canary-answer" * 500, provider: str = "openai") -> pb.StoreRequest:
    request = pb.StoreRequest(key=key, entry=pb.Entry(status=200, body=body, provider=provider, model="m-1"))
    request.ttl.seconds = 60
    return request


def _count(service: OneService, name: str, **labels: str) -> float:
    return service.metrics.get_sample_value(name, labels) or 0


async def test_one_of_a_thousand_fetches_and_all_are_answered(
    service: OneService, cache: CacheServiceAsyncStub
) -> None:
    """Of a thousand that ask the same at once one is told to fetch; the others get what it stored."""
    first = await cache.Lookup(_lookup())
    others = [asyncio.ensure_future(cache.Lookup(_lookup(30))) for _ in range(999)]
    await asyncio.sleep(0.05)
    await cache.Store(_store(first.key))
    answers = await asyncio.gather(*others)

    assert first.claimed
    assert {(False, b"canary-answer" * 500)} == {(each.claimed, each.entry.body) for each in answers}
    assert 1 == _count(service, "headrace_cache_claims_total", what="claimed")
    assert 999 == _count(service, "headrace_cache_lookups_total", result="hit")


async def test_those_who_wait_take_over_one_by_one(cache: CacheServiceAsyncStub) -> None:
    """When whoever fetches gives up, exactly one of those who wait is told to; the others go on waiting."""
    first = await cache.Lookup(_lookup())
    others = [asyncio.ensure_future(cache.Lookup(_lookup(30))) for _ in range(20)]
    await asyncio.sleep(0.05)
    await cache.Release(pb.ReleaseRequest(key=first.key))
    done, pending = await asyncio.wait(others, timeout=10, return_when=asyncio.FIRST_COMPLETED)

    assert (1, 19, True) == (len(done), len(pending), (await done.pop()).claimed)
    await cache.Store(_store(first.key))
    assert {True} == {each.HasField("entry") for each in await asyncio.gather(*pending)}


async def test_waiting_ends(service: OneService, cache: CacheServiceAsyncStub) -> None:
    """Nobody waits longer than it said, and nobody at all that did not ask to wait."""
    await cache.Lookup(_lookup())
    answers = [await cache.Lookup(_lookup(wait_s)) for wait_s in (0, 0.01)]

    assert [(False, False)] * 2 == [(each.claimed, each.HasField("entry")) for each in answers]
    assert 1 == _count(service, "headrace_cache_waits_total", result="ended")


async def test_a_call_that_was_cancelled_while_it_waited_takes_nothing(
    cache: CacheServiceAsyncStub,
) -> None:
    """The claim goes to somebody who is there."""
    first = await cache.Lookup(_lookup())
    gone = asyncio.ensure_future(cache.Lookup(_lookup(30)))
    await asyncio.sleep(0.05)
    gone.cancel()
    await asyncio.wait((gone,))
    await cache.Release(pb.ReleaseRequest(key=first.key))

    assert (await cache.Lookup(_lookup(10))).claimed


@pytest.mark.parametrize("first", ["stream", "one piece"])
async def test_an_answer_is_found_in_either_form(cache: CacheServiceAsyncStub, first: str) -> None:
    """A question is one key however it is asked, and the entry says what it is."""
    forms = [_lookup(body=STREAMED, stream=True), _lookup(body=BODY)]
    if first == "one piece":
        forms.reverse()
    key = (await cache.Lookup(forms[0])).key
    request = _store(key)
    request.entry.pieces.add(size=6500, at_ms=3)
    await cache.Store(request)
    found = await cache.Lookup(forms[1])

    assert (key, [(6500, 3)]) == (found.key, [(each.size, each.at_ms) for each in found.entry.pieces])


async def test_one_idempotency_key_for_two_requests_is_a_conflict(
    service: OneService, cache: CacheServiceAsyncStub
) -> None:
    """The same request is answered again; another one under its key is refused, while it runs and after."""
    same, other = (_lookup(idempotency_key="t\nonce", body=body) for body in (BODY, b"{}"))
    key = (await cache.Lookup(same)).key
    with pytest.raises(GatewayError) as running:
        await cache.Lookup(other)
    await cache.Store(_store(key))
    with pytest.raises(GatewayError) as kept:
        await cache.Lookup(other)

    assert [Reason.CONFLICT] * 2 == [each.value.reason for each in (running, kept)]
    assert (await cache.Lookup(same)).HasField("entry")
    assert not (await cache.Lookup(_lookup(body=BODY))).HasField("entry")
    assert 2 == _count(service, "headrace_cache_lookups_total", result="conflict")


@pytest.mark.parametrize(
    "purge",
    [
        {"account_id": "acme"},
        {"account_id": "acme", "gateway_id": "default"},
        {"account_id": "acme", "provider": "anthropic"},
        {"account_id": "acme", "gateway_id": "default", "custom_key": "mine"},
    ],
)
async def test_a_purge_while_an_answer_is_stored(cache: CacheServiceAsyncStub, purge: dict[str, str]) -> None:
    """What was kept is gone, and what was asked for before is not kept after."""
    request = _lookup(custom_key="mine")
    key = (await cache.Lookup(request)).key
    await cache.Store(_store(key, provider="anthropic"))
    before = await cache.Lookup(request)
    await cache.Purge(pb.PurgeRequest(**purge))
    stored = await cache.Store(_store(key, provider="anthropic"))

    assert (True, False) == (before.HasField("entry"), stored.stored)
    after = await cache.Lookup(request)
    assert (False, True) == (after.HasField("entry"), after.claimed)


@pytest.mark.parametrize(
    ("purge", "param"),
    [
        ({}, "account_id"),
        ({"account_id": "acme", "custom_key": "mine"}, "gateway_id"),
        ({"account_id": "acme", "gateway_id": "g", "custom_key": "k", "provider": "openai"}, "provider"),
    ],
)
async def test_a_purge_says_of_what(cache: CacheServiceAsyncStub, purge: dict[str, str], param: str) -> None:
    """A purge of nobody's answers, or of a key in no gateway, is refused."""
    with pytest.raises(GatewayError) as caught:
        await cache.Purge(pb.PurgeRequest(**purge))

    assert (Reason.INVALID_REQUEST, param) == (caught.value.reason, caught.value.metadata["param"])


async def test_an_answer_takes_less_room_than_it_has(
    service: OneService, cache: CacheServiceAsyncStub
) -> None:
    """What operators see tells how much smaller answers are kept than given."""
    key = (await cache.Lookup(_lookup())).key
    await cache.Store(_store(key))
    await cache.Lookup(_lookup())
    taken, packed, given = (
        _count(service, "headrace_cache_moved_bytes_total", what=what)
        for what in ("taken", "packed", "given")
    )

    assert packed < taken / 10
    assert taken == given


async def test_too_large_an_answer_ends_its_claim(cache: CacheServiceAsyncStub) -> None:
    """Nobody waits for an answer that will not be kept."""
    first = await cache.Lookup(_lookup())
    waiting = asyncio.ensure_future(cache.Lookup(_lookup(30)))
    await asyncio.sleep(0.01)

    assert not (await cache.Store(_store(first.key, b"x" * 1_000_001))).stored
    assert (await waiting).claimed


async def test_nothing_that_was_asked_is_told(
    service: OneService, cache: CacheServiceAsyncStub, caplog: pytest.LogCaptureFixture
) -> None:
    """Questions, answers, chosen names and keys are in no log, no metric and no error."""
    caplog.set_level(logging.DEBUG)
    errors = []
    with structlog.testing.capture_logs() as logs:
        request = _lookup(custom_key="canary-name", idempotency_key="canary-once")
        key = (await cache.Lookup(request)).key
        await cache.Store(_store(key))
        await cache.Lookup(request)
        request.body = b"canary-other"
        for call in (cache.Lookup(request), cache.Store(_store(b"canary-key"))):
            with pytest.raises(GatewayError) as caught:
                await call
            errors.append(str(caught.value) + repr(caught.value.metadata))
    samples = [str(sample) for metric in service.metrics.collect() for sample in metric.samples]
    told = json.dumps([*map(str, logs), *errors, *samples, caplog.text])

    assert "canary" not in told
    assert key.hex() not in told


async def test_a_claim_is_renewed_by_its_name(service: OneService, cache: CacheServiceAsyncStub) -> None:
    """Who claims is told how long that lasts; others cannot renew it, and not too many come at once."""
    first = await cache.Lookup(_lookup())
    claims = [pb.Claim(key=first.key, id=each) for each in (first.claim_id, first.claim_id + 1)]
    answer = await cache.Renew(pb.RenewRequest(claims=claims))
    with pytest.raises(GatewayError) as many:
        await cache.Renew(pb.RenewRequest(claims=claims[:1] * 1001))
    with pytest.raises(GatewayError) as odd:
        await cache.Renew(pb.RenewRequest(claims=[pb.Claim(key=b"odd", id=1)]))

    assert (30, [True, False]) == (first.claim_lifetime.seconds, list(answer.kept))
    assert ["claims", "key"] == [each.value.metadata["param"] for each in (many, odd)]
    assert [1, 1] == [
        _count(service, "headrace_cache_claims_total", what=what) for what in ("renewed", "lost")
    ]


async def test_names_in_valkey_say_nothing(tmp_path: Path) -> None:
    """Neither who asked nor what they called it is in the names of what Valkey keeps."""
    url = shared_valkey().new_url()
    env = {"HEADRACE_DATA_DIR": str(tmp_path), "HEADRACE_CACHE_VALKEY_URL": url.reveal()}
    async with serve(build, {**env, "HEADRACE_VALKEY_TIMEOUT_S": "20"}) as service:
        cache: CacheServiceAsyncStub = CacheServiceStub(service.channel("edge"))
        key = (await cache.Lookup(_lookup(custom_key="canary-name"))).key
        await cache.Store(_store(key))
    valkey = Valkey(url, PATIENT, clock=SystemClock())
    names = await valkey.execute("KEYS", "*")
    lifetimes = await valkey.pipeline([("PTTL", name) for name in names])
    await valkey.close()

    assert 2 == len(names)
    assert not [name for name in names if b"canary" in name or b"acme" in name or b"default" in name]
    assert all(lifetime > 0 for lifetime in lifetimes)
