"""Realtime pass-through: a client, the edge, the provider service and a provider, by both ways between."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest
from aiohttp import WSMsgType

from headrace.ledger.v1 import log_entry_pb2
from kit.errors import GatewayError, Reason
from tests.fakes.peers import TOKEN, Peers, edge_between
from tests.fakes.provider_calls import provider_harness
from tests.fakes.realtime import FakeRealtime, gemini_turn, openai_response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

GATEWAY = "/v1/local/default"
URL = f"{GATEWAY}/openai?model=gpt-realtime"
OPERATOR_KEY = "sk-operator-0123456789"
OWN_KEY = "sk-own-0123456789abc"
AUTH = {"cf-aig-authorization": TOKEN}
OWN = {**AUTH, "authorization": f"Bearer {OWN_KEY}"}
OFFER = f"cf-aig-authorization.{TOKEN}"

Socket = aiohttp.ClientWebSocketResponse


@pytest.fixture
async def upstream() -> AsyncIterator[FakeRealtime]:
    async with FakeRealtime() as server:
        yield server


@asynccontextmanager
async def gateway(
    tmp_path: Path, upstream: FakeRealtime, *, over_grpc: bool = False, edge: Any = None, **config: Any
) -> AsyncIterator[Peers]:
    async with (
        provider_harness(upstream.url, operator_key=OPERATOR_KEY, **config) as providers,
        edge_between(tmp_path, over_grpc=over_grpc, provider=providers.servicer, **(edge or {})) as peers,
        asyncio.timeout(20),
    ):
        yield peers


@pytest.fixture
async def peers(tmp_path: Path, upstream: FakeRealtime) -> AsyncIterator[Peers]:
    async with gateway(tmp_path, upstream) as found:
        yield found


@pytest.fixture(params=[False, True], ids=["inline", "grpc"])
async def each_way(
    request: pytest.FixtureRequest, tmp_path: Path, upstream: FakeRealtime
) -> AsyncIterator[Peers]:
    async with gateway(tmp_path, upstream, over_grpc=request.param) as found:
        yield found


async def ask(socket: Socket, **what: Any) -> None:
    await socket.send_str(orjson.dumps(what).decode())


async def refused(peers: Peers, url: str, headers: dict[str, str], **more: Any) -> aiohttp.ClientResponse:
    """Give the HTTP answer that a handshake gets instead of an upgrade."""
    handshake = {
        "upgrade": "websocket", "connection": "upgrade", "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", **headers,
    }  # fmt: skip
    return await peers.client.get(url, headers=handshake, **more)


async def test_a_session(each_way: Peers, upstream: FakeRealtime) -> None:
    """Frames go both ways as they are; the entry has status, model, usage, cost, sizes and whose key paid."""
    async with each_way.client.ws_connect(URL, headers={**AUTH, "openai-beta": "realtime=v1"}) as socket:
        await ask(socket, do="usage", **{"with": openai_response(100, 50, 30, 20, cached=10)})
        event = await socket.receive_json(timeout=5)
        await socket.send_bytes(b"\x00\xff\x01")
        sound = await socket.receive_bytes(timeout=5)
        await socket.close(code=4001, message=b"done")
    entry = await each_way.entry()
    (handshake,) = upstream.handshakes

    assert ("response.done", b"\x00\xff\x01") == (event["type"], sound)
    assert ("/v1/realtime", "model=gpt-realtime") == (handshake.path, handshake.query)
    assert (f"Bearer {OPERATOR_KEY}", "realtime=v1") == (
        handshake.headers["authorization"], handshake.headers["openai-beta"],
    )  # fmt: skip
    assert [4001] == upstream.closed
    assert (101, log_entry_pb2.OUTCOME_SUCCESS, "openai", "gpt-realtime") == (
        entry.status, entry.outcome, entry.provider, entry.response_model,
    )  # fmt: skip
    assert (150, 50, 50, 20, 10) == (
        entry.usage.input_tokens, entry.usage.output_tokens, entry.usage.input_audio_tokens,
        entry.usage.output_audio_tokens, entry.usage.cache_read_tokens,
    )  # fmt: skip
    assert entry.cost.nano_usd > 0
    assert sum(len(data) for data, _ in upstream.frames) == entry.request_size
    assert len(orjson.dumps(event)) + 3 == entry.response_size
    (attempt,) = entry.attempts
    assert ("operator", 101) == (attempt.key, attempt.status)
    assert "openai" == entry.path
    assert b"" == entry.payload.response


async def test_nothing_of_ours_goes_upstream(peers: Peers, upstream: FakeRealtime) -> None:
    """Neither tokens, nor our headers, nor those of the client's own handshake reach the provider."""
    offers = ["realtime", OFFER, f"openai-insecure-api-key.{OWN_KEY}", f"x.{TOKEN}"]
    headers = {"cf-aig-metadata": "{}", "cookie": "a=b", "x-forwarded-for": "10.0.0.1"}
    async with peers.client.ws_connect(URL, protocols=offers, headers=headers) as socket:
        chosen = socket.protocol
        own = await peers.client.head("/healthz")
    (handshake,) = upstream.handshakes

    assert "realtime" == chosen
    assert ["realtime"] == handshake.offers
    assert f"Bearer {OWN_KEY}" == handshake.headers["authorization"]
    assert TOKEN not in str(handshake)
    assert not [name for name in handshake.headers if name.startswith(("cf-", "x-forwarded", "cookie"))]
    assert 200 == own.status


@pytest.mark.parametrize(
    ("offers", "expected"),
    [
        ([OFFER], OFFER),
        ([OFFER, "convai"], "convai"),
        (["xi-api-key.k-0123456789", OFFER], "xi-api-key.k-0123456789"),
    ],
)
async def test_a_browser_gets_one_of_its_offers(
    peers: Peers, upstream: FakeRealtime, offers: list[str], expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nothing was left for the provider to choose from, the client is answered all the same."""
    caplog.set_level(logging.DEBUG)
    async with peers.client.ws_connect(f"{GATEWAY}/elevenlabs?agent_id=a", protocols=offers) as socket:
        chosen = socket.protocol

    assert expected == chosen
    assert "/v1/convai/conversation" == upstream.handshakes[0].path
    assert not [
        each for each in caplog.records if TOKEN in each.getMessage() or "k-0123" in each.getMessage()
    ]


async def test_google(each_way: Peers, upstream: FakeRealtime) -> None:
    """Google's messages, in binary frames, tell usage by turns, and the client's first one the model."""
    model = "gemini-live-2.5-flash-preview"
    async with each_way.client.ws_connect(
        f"{GATEWAY}/google-ai-studio?api_key=AIza-0123456789", protocols=[OFFER]
    ) as socket:
        await ask(socket, setup={"model": f"models/{model}"})
        await socket.receive(timeout=5)
        for turn in (gemini_turn(10, 5), gemini_turn(30, 7)):
            await ask(socket, do="usage", binary=True, **{"with": turn})
            assert WSMsgType.BINARY is (await socket.receive(timeout=5)).type
    entry = await each_way.entry()
    (handshake,) = upstream.handshakes

    assert ("/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", "") == (
        handshake.path, handshake.query,
    )  # fmt: skip
    assert "AIza-0123456789" == handshake.headers["x-goog-api-key"]
    assert (model, 40, 12) == (
        entry.response_model, entry.usage.input_tokens, entry.usage.output_tokens,
    )  # fmt: skip
    assert "request" == entry.attempts[0].key


async def test_a_refusal_is_an_http_answer(each_way: Peers, upstream: FakeRealtime) -> None:
    """A provider that refuses is heard as it is, but for the key that it repeats."""
    upstream.refuses = {OPERATOR_KEY}
    answer = await refused(each_way, URL, AUTH)
    body = await answer.json()
    entry = await each_way.entry()

    assert (401, "invalid_api_key", "req_1") == (
        answer.status, body["error"]["code"], answer.headers["x-request-id"],
    )  # fmt: skip
    assert OPERATOR_KEY not in str(body)
    assert entry.id == answer.headers["cf-aig-log-id"]
    assert (401, "AUTHENTICATION", log_entry_pb2.OUTCOME_ERROR) == (
        entry.status, entry.error_reason, entry.outcome,
    )  # fmt: skip
    assert "operator" == entry.attempts[0].key


@pytest.mark.parametrize(("status", "expected"), [(200, 502), (307, 502), (404, 404), (503, 503)])
async def test_no_upgrade(peers: Peers, upstream: FakeRealtime, status: int, expected: int) -> None:
    """An answer that is neither an upgrade nor an error is an error; a redirect is not followed."""
    upstream.status = status
    answer = await refused(peers, URL, AUTH)

    assert expected == answer.status
    assert 1 == len(upstream.handshakes)


async def test_an_unreachable_provider(tmp_path: Path) -> None:
    """A provider that is away is an HTTP answer, too."""
    async with FakeRealtime() as gone:
        pass
    async with gateway(tmp_path, gone) as peers:
        answer = await refused(peers, URL, AUTH)
        entry = await peers.entry()

    assert 502 == answer.status
    assert Reason.UPSTREAM_UNREACHABLE == entry.error_reason


@pytest.mark.parametrize(
    ("url", "headers", "status"),
    [
        (URL, {}, 401),
        (URL, {"cf-aig-authorization": "hr_wrong"}, 401),
        (f"{GATEWAY}/nope/x", AUTH, 400),
        ("/v1/local/other/openai", AUTH, 400),
        (f"{URL}&key={TOKEN}", AUTH, 400),
        (URL, {**AUTH, "sec-websocket-version": "1"}, 400),
        (URL, {**AUTH, "sec-websocket-key": "short"}, 400),
        (f"{GATEWAY}/workers-ai?model=../../x", AUTH, 400),
    ],
)
async def test_who_may_not(
    peers: Peers, upstream: FakeRealtime, url: str, headers: dict[str, str], status: int
) -> None:
    """What is refused by us is so before the provider is asked."""
    answer = await refused(peers, url, headers)

    assert status == answer.status, await answer.text()
    assert [] == upstream.handshakes


async def test_a_token_for_other_providers(peers: Peers, upstream: FakeRealtime) -> None:
    """What a token is narrowed to holds for sessions."""
    peers.auth.restrictions.providers.append("anthropic")
    answer = await refused(peers, URL, AUTH)

    assert (403, []) == (answer.status, upstream.handshakes)


async def test_a_limit_that_leaves_no_room(peers: Peers, upstream: FakeRealtime) -> None:
    """A session is refused as any request is."""
    peers.router.limited = True
    peers.router.refusals = [GatewayError(Reason.RATE_LIMITED, "Too many.", retry_after_s=3)]
    answer = await refused(peers, URL, AUTH)

    assert (429, "3", []) == (answer.status, answer.headers["retry-after"], upstream.handshakes)


async def test_limits_are_settled_by_what_was_used(peers: Peers) -> None:
    """A session is one request, and its tokens count once it has ended."""
    peers.router.limited = True
    async with peers.client.ws_connect(URL, headers=AUTH) as socket:
        for _ in range(2):
            await ask(socket, do="usage", **{"with": openai_response(1, 2, 3, 4)})
            await socket.receive(timeout=5)
    (settled,) = await peers.settlements(1)

    assert 20 == settled.tokens


@pytest.mark.parametrize(
    ("what", "code", "reason", "outcome"),
    [
        ({"do": "close", "code": 1000, "reason": "over"}, 1000, "over", log_entry_pb2.OUTCOME_SUCCESS),
        ({"do": "close", "code": 1008, "reason": "policy"}, 1008, "policy", log_entry_pb2.OUTCOME_TRUNCATED),
        ({"do": "close", "code": 4123}, 4123, "", log_entry_pb2.OUTCOME_TRUNCATED),
        ({"do": "cut"}, 1011, "", log_entry_pb2.OUTCOME_TRUNCATED),
    ],
)
async def test_the_provider_ends_it(
    each_way: Peers, what: dict[str, Any], code: int, reason: str, outcome: log_entry_pb2.Outcome.ValueType
) -> None:
    """The client is told the provider's code and reason; a connection that broke is 1011."""
    async with each_way.client.ws_connect(URL, headers=AUTH) as socket:
        # What is under way when it ends changes nothing.
        await ask(socket, **what)
        for _ in range(20):
            await socket.send_bytes(b"x" * 2000)
        message = await socket.receive(timeout=5)
        while message.type in (WSMsgType.BINARY, WSMsgType.TEXT):
            message = await socket.receive(timeout=5)
    entry = await each_way.entry()

    assert (WSMsgType.CLOSE, code, reason) == (message.type, message.data, message.extra or "")
    assert (101, outcome) == (entry.status, entry.outcome)


async def test_the_client_goes_away(each_way: Peers, upstream: FakeRealtime) -> None:
    """Without a word of the client's the provider's connection ends, and what was used is recorded."""
    socket = await each_way.client.ws_connect(URL, headers=AUTH)
    await ask(socket, do="usage", **{"with": openai_response(1, 2, 3, 4)})
    await socket.receive(timeout=5)
    socket._response.close()
    await asyncio.wait_for(upstream.ended.wait(), 5)
    entry = await each_way.entry()

    assert (log_entry_pb2.OUTCOME_DISCONNECTED, 3) == (entry.outcome, entry.usage.input_tokens)


async def test_a_frame_that_is_too_long(tmp_path: Path, upstream: FakeRealtime) -> None:
    """A frame beyond the limit ends the session with 1009, from whichever side it comes."""
    edge = {"edge_max_body_bytes": "150000"}
    async with gateway(tmp_path, upstream, edge=edge, realtime_max_frame_bytes=100_000) as peers:
        async with peers.client.ws_connect(URL, headers=AUTH, max_msg_size=0) as socket:
            await socket.send_bytes(b"x" * 120_000)
            from_provider = await socket.receive(timeout=5)
        async with peers.client.ws_connect(URL, headers=AUTH) as socket:
            await socket.send_bytes(b"x" * 151_000)
            from_client = await socket.receive(timeout=5)
        entries = await peers.entries(2)

    assert [1009, 1009] == [from_provider.data, from_client.data]
    assert [log_entry_pb2.OUTCOME_TRUNCATED] * 2 == [entry.outcome for entry in entries]


async def test_big_frames_and_many(each_way: Peers) -> None:
    """Ten megabytes are one frame, and thousands of frames keep their order though the client reads late."""
    data = hashlib.sha256(b"seed").digest() * (10 << 20 >> 5)
    async with each_way.client.ws_connect(URL, headers=AUTH, max_msg_size=0) as socket:
        await socket.send_bytes(data)
        big = await socket.receive_bytes(timeout=15)
        await ask(socket, do="count", to=2000, times=64)
        numbers = [int.from_bytes((await socket.receive_bytes(timeout=5))[:4], "big") for _ in range(2000)]

    assert data == big
    assert list(range(2000)) == numbers


async def test_silence(tmp_path: Path, upstream: FakeRealtime) -> None:
    """A session in which nothing happens is ended."""
    async with (
        gateway(tmp_path, upstream, realtime_idle_timeout_s=0.1) as peers,
        peers.client.ws_connect(URL, headers=AUTH) as socket,
    ):
        message = await socket.receive(timeout=5)

    assert (WSMsgType.CLOSE, 1001) == (message.type, message.data)


async def test_a_stop(each_way: Peers, upstream: FakeRealtime) -> None:
    """A session goes on for the grace; then its client is told, and the entry says that it was not over."""
    async with each_way.client.ws_connect(URL, headers=AUTH) as socket:
        stopping = asyncio.ensure_future(each_way.drain(2.0))
        await listens_no_more(each_way)
        await ask(socket, do="usage", **{"with": openai_response(1, 2, 3, 4)})
        event = await socket.receive_json(timeout=5)
        message = await socket.receive(timeout=5)
        await stopping
    entry = await each_way.entry()

    assert "response.done" == event["type"]
    assert (WSMsgType.CLOSE, 1012) == (message.type, message.data)
    assert (101, log_entry_pb2.OUTCOME_TRUNCATED, Reason.SERVICE_UNAVAILABLE, 3) == (
        entry.status, entry.outcome, entry.error_reason, entry.usage.input_tokens,
    )  # fmt: skip
    assert upstream.ended.is_set()


@pytest.mark.parametrize("grace_s", [0.0, 0.3])
async def test_a_stop_with_hardly_any_grace(peers: Peers, upstream: FakeRealtime, grace_s: float) -> None:
    """The provider is told, too."""
    async with peers.client.ws_connect(URL, headers=AUTH) as socket:
        stopping = asyncio.ensure_future(peers.drain(grace_s))
        message = await socket.receive(timeout=5)
        await stopping

    assert (WSMsgType.CLOSE, 1012, [1001]) == (message.type, message.data, upstream.closed)


async def test_a_session_that_ends_within_the_grace(each_way: Peers, upstream: FakeRealtime) -> None:
    """It ends as it would have without a stop, which waits for it no longer than that."""
    async with each_way.client.ws_connect(URL, headers=AUTH) as socket:
        stopping = asyncio.ensure_future(each_way.drain(60.0))
        await listens_no_more(each_way)
        await ask(socket, do="usage", **{"with": openai_response(1, 2, 3, 4)})
        await socket.receive(timeout=5)
        await socket.close(code=4001)
        await asyncio.wait_for(stopping, 15)
    entry = await each_way.entry()

    assert [4001] == upstream.closed
    assert (log_entry_pb2.OUTCOME_SUCCESS, 3) == (entry.outcome, entry.usage.input_tokens)


async def test_a_handshake_during_a_stop(peers: Peers, upstream: FakeRealtime) -> None:
    """A client on an open connection is sent elsewhere: its session would have no time."""
    async with peers.client.ws_connect(URL, headers=AUTH) as socket:
        (await peers.client.get("/healthz")).release()  # a connection that stays
        stopping = asyncio.ensure_future(peers.drain(60.0))
        await listens_no_more(peers)
        answer = await refused(peers, URL, AUTH)
        await socket.close()
        await asyncio.wait_for(stopping, 15)

    assert (503, 1) == (answer.status, len(upstream.handshakes))


async def test_a_stop_with_a_client_that_does_not_read(peers: Peers) -> None:
    """It is told nothing, as it would not hear it, and does not hold up the stop."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(peers.base.rpartition(":")[2]))
    lines = [
        f"GET {URL} HTTP/1.1", "host: x", "connection: upgrade", "upgrade: websocket",
        "sec-websocket-version: 13", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        f"cf-aig-authorization: {TOKEN}",
    ]  # fmt: skip
    writer.write("\r\n".join([*lines, "", ""]).encode())
    await reader.readuntil(b"\r\n\r\n")
    message = orjson.dumps({"do": "count", "to": 400, "times": 16_384})
    # Masked with zeros, which changes nothing.
    writer.write(bytes([0x81, 0x80 | len(message)]) + bytes(4) + message)
    await reader.readexactly(1)
    await asyncio.wait_for(peers.drain(1.2), 10)
    entry = await peers.entry()
    writer.transport.abort()

    assert log_entry_pb2.OUTCOME_TRUNCATED == entry.outcome
    assert 0 < entry.response_size < 400 * 4 * 16_384


async def listens_no_more(peers: Peers) -> None:
    """Wait until a stop has begun."""
    host, _, port = peers.base.removeprefix("http://").partition(":")
    while True:
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except ConnectionError:
            return
        writer.close()
        await asyncio.sleep(0.01)


async def test_a_key_told_back_is_masked(peers: Peers) -> None:
    """A provider that repeats the operator's key in a frame tells the client nothing."""
    async with peers.client.ws_connect(URL, headers=AUTH) as socket:
        await ask(socket, do="key")
        told = await socket.receive_str(timeout=5)

    assert "Your key is Bearer " + "*" * len(OPERATOR_KEY) + "." == told
