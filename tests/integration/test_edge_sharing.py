"""Requests that share an upstream call, calls that outlive their client, and answers past their time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.duration_pb2 import Duration

from headrace.common.v1 import http_pb2, usage_pb2
from headrace.ledger.v1 import log_entry_pb2
from headrace.provider.v1 import provider_service_pb2 as pb
from headrace.router.v1 import gateway_pb2
from kit.errors import GatewayError, Reason
from tests.fakes.edge_calls import ANSWER, AUTH, BODY, CHAT, failure, post
from tests.fakes.peers import Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CACHED = {"cf-aig-cache-ttl": "60"}
STREAMED = {**BODY, "stream": True}
CHAT_DIALECT = http_pb2.DIALECT_OPENAI_CHAT
DRAIN = gateway_pb2.DISCONNECT_POLICY_DRAIN


def _stream(*steps: Any) -> list[Any]:
    return [head(200, "text/event-stream", body_dialect=CHAT_DIALECT), *steps]


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path) as found:
        found.provider.script = [head(), chunk(ANSWER), tail(finish_reason="stop")]
        yield found


async def _read(peers: Peers, json: Any = STREAMED, **headers: str) -> tuple[int, bytes, str]:
    async with peers.client.post(CHAT, json=json, headers={**AUTH, **CACHED, **headers}) as answer:
        return answer.status, await answer.read(), answer.headers["cf-aig-cache-status"]


async def test_a_thousand_identical_requests_make_one_call(peers: Peers) -> None:
    """One pays; the others are answered by its call, and the log says so of each."""
    gate = asyncio.Event()
    peers.provider.script = [gate.wait, head(), chunk(ANSWER), tail()]
    asking = [asyncio.create_task(_read(peers, BODY)) for _ in range(1000)]
    while len(peers.cache.looked_up) < 1000:  # noqa: ASYNC110 - the fake has nothing to wait for
        await asyncio.sleep(0.01)
    gate.set()
    answers = await asyncio.gather(*asking)
    entries = await peers.entries(1000)

    assert 1 == len(peers.provider.requests)
    assert {(200, ANSWER)} == {(status, body) for status, body, _ in answers}
    assert (1, 999) == tuple(sum(status == word for *_, status in answers) for word in ("MISS", "HIT"))
    assert [5] == [entry.usage.output_tokens for entry in entries if not entry.cached]
    assert 999 == sum(entry.cached and entry.usage.output_tokens == 0 for entry in entries)


async def test_a_stream_is_shared_from_its_beginning(peers: Peers) -> None:
    """Who comes in the middle gets what was there at once and the rest as it comes; then it is replayed."""
    middle, rest = asyncio.Event(), asyncio.Event()
    peers.provider.script = _stream(
        chunk(b"data: 1\n\n"), middle.wait, chunk(b"data: 2\n\n"), rest.wait, chunk(b"data: 3\n\n"), tail()
    )
    async with peers.client.post(CHAT, json=STREAMED, headers={**AUTH, **CACHED}) as first:
        assert b"data: 1\n\n" == await first.content.readany()
        async with peers.client.post(CHAT, json=STREAMED, headers={**AUTH, **CACHED}) as second:
            assert b"data: 1\n\n" == await second.content.readany()
            middle.set()
            assert b"data: 2\n\n" == await second.content.readany()
            rest.set()
            whole = b"data: 1\n\ndata: 2\n\ndata: 3\n\n"
            assert (b"data: 3\n\n", whole[9:]) == (await second.read(), await first.read())
    third = await _read(peers)

    assert (200, whole, "HIT") == third
    assert 1 == len(peers.provider.requests)


async def test_the_first_may_leave(peers: Peers) -> None:
    """The call goes on for the others; its cost stands in the entry of the one that began it."""
    gate = asyncio.Event()
    peers.provider.script = _stream(chunk(b"data: 1\n\n"), gate.wait, chunk(b"data: 2\n\n"), tail())
    first = await peers.client.post(CHAT, json=STREAMED, headers={**AUTH, **CACHED})
    await first.content.readany()
    async with peers.client.post(CHAT, json=STREAMED, headers={**AUTH, **CACHED}) as second:
        await second.content.readany()
        first.close()
        await asyncio.sleep(0.1)  # the edge notices that a client has gone when it does
        gate.set()
        assert b"data: 2\n\n" == await second.read()
    entries = await peers.entries(2)

    outcomes = [(entry.outcome, entry.usage.output_tokens) for entry in entries]
    expected = [(log_entry_pb2.OUTCOME_DISCONNECTED, 5), (log_entry_pb2.OUTCOME_SUCCESS, 0)]
    assert expected == outcomes


async def test_when_all_leave_the_call_ends(peers: Peers) -> None:
    """Nobody waits for it any more."""
    peers.provider.script = _stream(chunk(b"data: 1\n\n"), asyncio.Event().wait)
    first = await peers.client.post(CHAT, json=STREAMED, headers={**AUTH, **CACHED})
    await first.content.readany()
    first.close()
    async with asyncio.timeout(5):
        await peers.provider.closed.wait()
    entry = await peers.entry()

    assert log_entry_pb2.OUTCOME_DISCONNECTED == entry.outcome
    assert {} == peers.cache.entries
    async with asyncio.timeout(5):
        while peers.cache.claims:  # noqa: ASYNC110 - the fake has nothing to wait for
            await asyncio.sleep(0.01)


async def test_those_who_share_a_failure_are_all_told(peers: Peers) -> None:
    """One call failed, and its words go to all; nothing is kept."""
    gate = asyncio.Event()
    peers.provider.script = [
        gate.wait,
        head(500, failure=failure(pb.FAILURE_CLASS_SERVER, upstream_status=500)),
        chunk(b'{"error":{"message":"theirs"}}'),
        tail(),
    ]
    asking = [asyncio.create_task(_read(peers, BODY)) for _ in range(3)]
    while len(peers.cache.looked_up) < 3:  # noqa: ASYNC110 - the fake has nothing to wait for
        await asyncio.sleep(0.01)
    gate.set()
    answers = await asyncio.gather(*asking)

    assert [(500, b'{"error":{"message":"theirs"}}')] * 3 == [answer[:2] for answer in answers]
    assert (1, {}) == (len(peers.provider.requests), peers.cache.entries)


async def test_those_who_share_a_broken_stream_are_all_told(peers: Peers) -> None:
    """Nobody takes it for the whole answer."""
    gate = asyncio.Event()
    peers.provider.script = _stream(
        chunk(b"data: 1\n\n"), gate.wait, tail(failure=failure(pb.FAILURE_CLASS_CUT, message="cut"))
    )
    asking = [asyncio.create_task(_read(peers)) for _ in range(2)]
    while len(peers.cache.looked_up) < 2:  # noqa: ASYNC110 - the fake has nothing to wait for
        await asyncio.sleep(0.01)
    gate.set()
    answers = await asyncio.gather(*asking)
    entries = await peers.entries(2)

    assert all(b'"error"' in body and b"[DONE]" not in body for _, body, _ in answers)
    assert [log_entry_pb2.OUTCOME_TRUNCATED] * 2 == [entry.outcome for entry in entries]
    assert {} == peers.cache.entries


async def test_a_gateway_may_want_a_call_for_each(peers: Peers) -> None:
    """`cache_no_sharing`: at the same time, each makes its own."""
    peers.router.settings["cache_no_sharing"] = True
    gate = asyncio.Event()
    peers.provider.script = [gate.wait, head(), chunk(ANSWER), tail()]
    asking = [asyncio.create_task(_read(peers, BODY)) for _ in range(3)]
    while len(peers.provider.requests) < 3:  # noqa: ASYNC110 - the fake has nothing to wait for
        await asyncio.sleep(0.01)
    gate.set()

    assert {(200, ANSWER, "MISS")} == {*(await asyncio.gather(*asking))}


async def test_an_answer_that_another_edge_fetches_is_waited_for(peers: Peers) -> None:
    """The cache says that somebody fetches it, and gives it as soon as it is there."""
    await post(peers, **CACHED)
    (key,) = peers.cache.entries
    kept = peers.cache.entries.pop(key)
    peers.cache.claims.add(key)
    asking = asyncio.create_task(_read(peers, BODY))
    while not peers.cache.looked_up[-1].wait.seconds:  # noqa: ASYNC110 - the fake has nothing to wait for
        await asyncio.sleep(0.01)
    await peers.cache.keep(key, kept)

    assert (200, ANSWER, "HIT") == await asking
    assert 1 == len(peers.provider.requests)


class TestDrain:
    """What becomes of a call whose client goes away, where the gateway wants it read on."""

    @pytest.mark.parametrize("headers", [{}, CACHED])
    async def test_to_the_end(self, peers: Peers, headers: dict[str, str]) -> None:
        """The usage is the provider's own, to the token."""
        peers.router.settings["on_disconnect"] = DRAIN
        gate = asyncio.Event()
        usage = usage_pb2.Usage(input_tokens=3, output_tokens=77)
        peers.provider.script = _stream(
            chunk(b"data: 1\n\n"), gate.wait, chunk(b"data: 2\n\n"), tail(usage=usage)
        )
        answer = await peers.client.post(CHAT, json=STREAMED, headers={**AUTH, **headers})
        await answer.content.readany()
        answer.close()
        await asyncio.sleep(0.1)  # the edge notices that a client has gone when it does
        gate.set()
        entry = await peers.entry()

        assert (log_entry_pb2.OUTCOME_DISCONNECTED, 77) == (entry.outcome, entry.usage.output_tokens)
        assert not entry.usage.estimated

    async def test_up_to_a_cap(self, peers: Peers) -> None:
        """After the cap the call is closed, and what was used until then is recorded."""
        peers.router.settings |= {"on_disconnect": DRAIN, "drain_timeout": Duration(nanos=50_000_000)}
        seen = usage_pb2.Usage(input_tokens=3, output_tokens=2, estimated=True)
        first = pb.InvokeResponse(chunk=pb.Chunk(data=b"data: 1\n\n", usage=seen))
        peers.provider.script = _stream(first, asyncio.Event().wait)
        answer = await peers.client.post(CHAT, json=STREAMED, headers=AUTH)
        await answer.content.readany()
        answer.close()
        async with asyncio.timeout(5):
            await peers.provider.closed.wait()
        entry = await peers.entry()

        assert (log_entry_pb2.OUTCOME_DISCONNECTED, 2) == (entry.outcome, entry.usage.output_tokens)

    async def test_a_client_that_stays_gets_everything(self, peers: Peers) -> None:
        """The setting changes nothing for it."""
        peers.router.settings["on_disconnect"] = DRAIN
        peers.provider.script = _stream(chunk(b"data: 1\n\n"), chunk(b"data: 2\n\n"), tail())
        async with peers.client.post(CHAT, json=STREAMED, headers=AUTH) as answer:
            assert b"data: 1\n\ndata: 2\n\n" == await answer.read()
        entry = await peers.entry()

        assert (log_entry_pb2.OUTCOME_SUCCESS, 5) == (entry.outcome, entry.usage.output_tokens)


class TestPastItsTime:
    """Answers that are given though their time is over."""

    async def test_while_a_new_one_is_fetched(self, peers: Peers) -> None:
        """The client waits for nobody; the next one gets the new answer; the fetching is logged by itself."""
        peers.router.settings["cache_stale_while_revalidate"] = Duration(seconds=600)
        await post(peers, **CACHED)
        await peers.cache.age(seconds=100)
        peers.provider.script = [head(), chunk(b'{"new":1}'), tail()]
        old = await _read(peers, BODY)
        entries = await peers.entries(3)
        peers.cache.stale = False
        new = await _read(peers, BODY)

        assert (200, ANSWER, "STALE") == old
        assert (200, b'{"new":1}', "HIT") == new
        assert 2 == len(peers.provider.requests)
        assert [False, True, False] == [entry.cached for entry in entries]

    async def test_not_longer_than_allowed(self, peers: Peers) -> None:
        """Beyond the window the client waits for the new one."""
        peers.router.settings["cache_stale_while_revalidate"] = Duration(seconds=10)
        await post(peers, **CACHED)
        await peers.cache.age(seconds=100)

        assert (200, ANSWER, "MISS") == await _read(peers, BODY)

    async def test_when_the_provider_fails(self, peers: Peers) -> None:
        """An old answer is better than none, but not where the request itself is refused."""
        peers.router.settings["cache_stale_if_error"] = Duration(seconds=600)
        await post(peers, **CACHED)
        await peers.cache.age(seconds=100)
        peers.provider.script = [GatewayError(Reason.UPSTREAM_UNREACHABLE, "no")]
        old = await _read(peers, BODY)
        refused = failure(pb.FAILURE_CLASS_INVALID_REQUEST, upstream_status=400)
        peers.provider.script = [head(400, failure=refused), chunk(b"{}"), tail()]

        assert (200, ANSWER, "STALE") == old
        assert 400 == (await _read(peers, BODY))[0]


class TestIdempotency:
    """`Idempotency-Key`, where the gateway gives it a meaning."""

    async def test_the_same_request_is_answered_once(self, peers: Peers) -> None:
        """A client that lost the answer gets it, without a second call."""
        peers.router.settings["idempotency_ttl"] = Duration(seconds=3600)
        key = {"Idempotency-Key": "k1"}
        first = await post(peers, **key)
        second = await post(peers, **key)

        assert (200, 200, first[1]) == (first[0], second[0], second[1])
        assert ("MISS", "HIT") == (first[2]["cf-aig-cache-status"], second[2]["cf-aig-cache-status"])
        assert ([3600], 1) == (peers.cache.ttls, len(peers.provider.requests))

    async def test_it_means_nothing_by_itself(self, peers: Peers) -> None:
        """SDKs send one with every request; the provider gets it as it is."""
        await post(peers, **{"Idempotency-Key": "k1"})
        (request,) = peers.provider.requests

        assert [] == peers.cache.looked_up
        assert b"k1" in [header.value for header in request.headers if header.name == "idempotency-key"]

    async def test_a_client_that_leaves_finds_its_answer(self, peers: Peers) -> None:
        """The call goes on without it, whatever the gateway does with others, and is not made again."""
        peers.router.settings["idempotency_ttl"] = Duration(seconds=3600)
        gate = asyncio.Event()
        peers.provider.script = _stream(chunk(b"data: 1\n\n"), gate.wait, chunk(b"data: 2\n\n"), tail())
        headers = {**AUTH, "Idempotency-Key": "k1"}
        answer = await peers.client.post(CHAT, json=STREAMED, headers=headers)
        await answer.content.readany()
        answer.close()
        await asyncio.sleep(0.1)  # the edge notices that a client has gone when it does
        gate.set()
        await peers.entries(1)
        async with peers.client.post(CHAT, json=STREAMED, headers=headers) as again:
            assert b"data: 1\n\ndata: 2\n\n" == await again.read()

        assert 1 == len(peers.provider.requests)

    async def test_another_request_under_the_same_key(self, peers: Peers) -> None:
        """The cache says so, and the client is told instead of getting somebody's answer."""
        peers.router.settings["idempotency_ttl"] = Duration(seconds=3600)
        peers.cache.failure = GatewayError(Reason.CONFLICT, "This key stands for another request.")
        status, body, _ = await post(peers, **{"Idempotency-Key": "k1"})

        assert (409, "conflict") == (status, body["error"]["code"])


async def test_a_stream_is_replayed_at_its_pace(peers: Peers) -> None:
    """Where the gateway wants it: pauses and pieces are those of the first time."""
    peers.router.settings["cache_replay_paced"] = True

    async def pause() -> None:
        await asyncio.sleep(0.15)

    peers.provider.script = _stream(chunk(b"data: 1\n\n"), pause, chunk(b"data: 2\n\n"), tail())
    await _read(peers)
    (kept,) = peers.cache.entries.values()
    async with peers.client.post(CHAT, json=STREAMED, headers={**AUTH, **CACHED}) as answer:
        pieces = [piece async for piece in answer.content.iter_any()]

    assert [9, 9] == [piece.size for piece in kept.pieces]
    assert kept.pieces[1].at_ms - kept.pieces[0].at_ms >= 100
    assert [b"data: 1\n\n", b"data: 2\n\n"] == pieces


class TestOtherForm:
    """A kept answer in one piece where a stream is asked for, and the other way round."""

    async def test_a_stream_from_one_piece(self, peers: Peers) -> None:
        """The provider is not asked again, and what is kept stays as it is."""
        peers.provider.reshaped = b"data: [DONE]\n\n"
        await _read(peers, BODY)
        await peers.cache.age(seconds=0)
        peers.cache.stale = False
        async with peers.client.post(CHAT, json=STREAMED, headers={**AUTH, **CACHED}) as answer:
            found = (await answer.read(), answer.headers["cf-aig-cache-status"], answer.content_type)

        assert (b"data: [DONE]\n\n", "HIT", "text/event-stream") == found
        assert (200, ANSWER, "HIT") == await _read(peers, BODY)
        assert 1 == len(peers.provider.requests)

    async def test_without_another_form(self, peers: Peers) -> None:
        """Then it is a miss, and the provider is asked."""
        await _read(peers, BODY)
        await peers.cache.age(seconds=0)
        peers.cache.stale = False
        peers.provider.script = _stream(chunk(b"data: 1\n\n"), tail())

        assert (200, b"data: 1\n\n", "MISS") == await _read(peers, STREAMED)
        assert 2 == len(peers.provider.requests)

    async def test_at_the_same_time(self, peers: Peers) -> None:
        """Who wants one piece while a stream of it is under way gets one piece, without a second call."""
        gate = asyncio.Event()
        peers.provider.reshaped = ANSWER
        peers.provider.script = _stream(chunk(b"data: 1\n\n"), gate.wait, chunk(b"data: 2\n\n"), tail())
        async with peers.client.post(CHAT, json=STREAMED, headers={**AUTH, **CACHED}) as first:
            await first.content.readany()
            asking = asyncio.create_task(_read(peers, {**BODY, "stream": False}))
            while not peers.cache.looked_up[-1].wait.seconds:  # noqa: ASYNC110 - the fake tells nobody
                await asyncio.sleep(0.01)
            gate.set()
            await first.read()

        assert (200, ANSWER, "HIT") == await asking
        assert 1 == len(peers.provider.requests)
