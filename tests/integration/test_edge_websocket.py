"""The WebSocket API of the edge: several requests on one connection, and how it begins and ends."""

from __future__ import annotations

import asyncio
import base64
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest

from headrace.common.v1 import http_pb2
from headrace.ledger.v1 import log_entry_pb2
from headrace.router.v1 import gateway_pb2
from kit.errors import GatewayError, Reason
from tests.fakes.edge_calls import ANSWER
from tests.fakes.peers import TOKEN, Peers, chunk, edge_between, head, tail
from tests.fakes.provider_calls import provider_harness
from tests.fakes.upstream import FakeUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

URL = "/v1/local/default"
AUTH = {"cf-aig-authorization": f"Bearer {TOKEN}"}
STEP = {"provider": "openai", "endpoint": "chat/completions", "query": {"model": "m"}}
STREAMED = {**STEP, "query": {"model": "m", "stream": True}}
OFFER = f"cf-aig-authorization.{TOKEN}"
NATIVE = http_pb2.DIALECT_NATIVE
EVENTS = head(content_type="text/event-stream", body_dialect=NATIVE)
UNREACHABLE = [GatewayError(Reason.UPSTREAM_UNREACHABLE, "no")]

Socket = aiohttp.ClientWebSocketResponse


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path, edge_max_body_bytes="65536", edge_websocket_requests="3") as found:
        found.provider.script = [head(body_dialect=NATIVE), chunk(ANSWER), tail(finish_reason="stop")]
        yield found


@pytest.fixture
async def socket(peers: Peers) -> AsyncIterator[Socket]:
    async with peers.client.ws_connect(URL, headers=AUTH) as found, asyncio.timeout(10):
        yield found


async def create(socket: Socket, request: Any = None, event_id: str = "e1", **members: Any) -> None:
    request = (
        {**(request or STEP), "eventId": event_id, **members} if not isinstance(request, list) else request
    )
    await socket.send_str(orjson.dumps({"type": "universal.create", "request": request}).decode())


async def receive(socket: Socket) -> Any:
    message = await socket.receive(timeout=5)
    assert message.type == aiohttp.WSMsgType.TEXT, message
    return orjson.loads(message.data)


async def receive_to_end(socket: Socket) -> list[Any]:
    """Receive messages until one ends a request."""
    found = [await receive(socket)]
    while found[-1]["type"] not in ("universal.done", "universal.error") and "response" not in found[0]:
        found.append(await receive(socket))
    return found


@asynccontextmanager
async def held(peers: Peers) -> AsyncIterator[asyncio.Event]:
    """Let streams stand still after their first event until the event is set."""
    go_on = asyncio.Event()
    peers.provider.script = [EVENTS, chunk(b"data: 1\n\n"), go_on.wait, chunk(b"data: 2\n\n"), tail()]
    try:
        yield go_on
    finally:
        go_on.set()


async def test_an_answer(peers: Peers, socket: Socket) -> None:
    """A request is answered by one message, with the metadata of the answer."""
    await create(socket, headers={"authorization": "Bearer sk-own"})
    told = await receive(socket)
    entry = await peers.entry()
    (request,) = peers.provider.requests

    assert ("universal.created", orjson.loads(ANSWER)) == (told["type"], told["response"])
    assert {
        "eventId": "e1", "logId": entry.id, "step": "0", "cacheStatus": "MISS", "status": 200,
        "contentType": "application/json", "provider": "openai",
    }.items() <= told["metadata"].items()  # fmt: skip
    assert [b"Bearer sk-own"] == [each.value for each in request.headers if each.name == "authorization"]
    assert {"sec-websocket-key", "sec-websocket-version"}.isdisjoint(each.name for each in request.headers)


async def test_a_stream_by_the_second_step(peers: Peers, socket: Socket) -> None:
    """Each event is a message; all that is known is told at the beginning and again at the end."""
    peers.provider.earlier = [UNREACHABLE]
    peers.provider.script = [EVENTS, chunk(b'data: {"n":1}\n\nda'), chunk(b"ta: [DONE]\n\n"), tail()]
    await create(socket, [STREAMED, {**STREAMED, "provider": "groq", "eventId": "e2"}])
    begun, *events, ended = await receive_to_end(socket)

    assert ("universal.created", "universal.done", "1") == (
        begun["type"], ended["type"], begun["metadata"]["step"],
    )  # fmt: skip
    assert begun["metadata"] == ended["metadata"]
    assert [("universal.stream", "e2", {"n": 1}), ("universal.stream", "e2", "[DONE]")] == [
        (each["type"], each["metadata"]["eventId"], each["response"]) for each in events
    ]


async def test_several_at_a_time(peers: Peers, socket: Socket) -> None:
    """A request is answered while another's stream is under way, and each in its own order."""
    async with held(peers) as go_on:
        await create(socket, STREAMED, "slow")
        assert ["universal.created", "universal.stream"] == [
            (await receive(socket))["type"] for _ in range(2)
        ]
        peers.provider.earlier = [[head(body_dialect=NATIVE), chunk(ANSWER), tail()]]
        await create(socket, event_id="quick")
        quick = await receive(socket)
        go_on.set()
        slow = [await receive(socket), await receive(socket)]

    assert ("quick", "universal.created") == (quick["metadata"]["eventId"], quick["type"])
    assert [("slow", "universal.stream"), ("slow", "universal.done")] == [
        (each["metadata"]["eventId"], each["type"]) for each in slow
    ]


async def test_no_more_than_allowed_at_a_time(peers: Peers, socket: Socket) -> None:
    """A request too many is refused; those under way are not disturbed, and leave room when they end."""
    async with held(peers) as go_on:
        for number in range(4):
            await create(socket, STREAMED, str(number))
        begun = [await receive(socket) for _ in range(7)]
        go_on.set()
        ended = [await receive(socket) for _ in range(6)]
    await create(socket, STREAMED, "later")
    later = await receive_to_end(socket)

    assert [("3", 503)] == [
        (each["metadata"]["eventId"], each["metadata"]["status"])
        for each in begun
        if each["type"] == "universal.error"
    ]
    assert {"0", "1", "2"} == {
        each["metadata"]["eventId"] for each in ended if each["type"] == "universal.done"
    }
    assert "universal.done" == later[-1]["type"]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("{", None),
        ("[]", "type"),
        ('{"type":"universal.create"}', "request"),
        ('{"type":"universal.create","request":[{"eventId":"e1","provider":1}]}', "request.0.provider"),
        ('{"type":"universal.create","request":{"eventId":7}}', "request.eventId"),
    ],
)
async def test_a_message_that_makes_no_sense(socket: Socket, message: str, param: str | None) -> None:
    """It is answered by an error that says where, and the connection goes on."""
    await socket.send_str(message)
    told = await receive(socket)
    await create(socket)
    after = await receive(socket)

    assert ("universal.error", 400, 7001) == (
        told["type"], told["metadata"]["status"], told["error"]["internalCode"],
    )  # fmt: skip
    assert param == told["metadata"].get("param")
    assert "universal.created" == after["type"]


async def test_errors_of_a_request(peers: Peers, socket: Socket) -> None:
    """A refusal of ours has the envelope of HTTP; what breaks off ends in an error, not as if whole."""
    await create(socket, provider="nope")
    refused = await receive(socket)
    peers.provider.script = [EVENTS, chunk(b"data: 1\n\n"), GatewayError(Reason.UPSTREAM_CUT, "cut")]
    await create(socket, STREAMED)
    cut = await receive_to_end(socket)

    assert (2008, "e1") == (refused["error"]["internalCode"], refused["metadata"]["eventId"])
    assert ["universal.created", "universal.stream", "universal.error"] == [each["type"] for each in cut]
    assert ("e1", 502) == (cut[-1]["metadata"]["eventId"], cut[-1]["metadata"]["status"])


async def test_bytes(peers: Peers, socket: Socket) -> None:
    """What is neither JSON nor text is in base64; a message may be binary itself."""
    peers.provider.script = [
        head(content_type="audio/mpeg", body_dialect=NATIVE), chunk(b"ID3"), chunk(b"\x00\xff"), tail(),
    ]  # fmt: skip
    await socket.send_bytes(orjson.dumps({"type": "universal.create", "request": STEP}))
    told = await receive(socket)

    assert b"ID3\x00\xff" == base64.b64decode(told["response"])
    assert ("base64", "audio/mpeg") == (told["metadata"]["encoding"], told["metadata"]["contentType"])


@pytest.mark.parametrize(
    ("offered", "chosen"), [([OFFER], OFFER), ([OFFER, "mine"], "mine"), (["mine", OFFER], "mine")]
)
async def test_a_token_among_subprotocols(
    peers: Peers, caplog: pytest.LogCaptureFixture, offered: list[str], chosen: str
) -> None:
    """A browser's token is taken from where it can put one, and a subprotocol it offered is chosen."""
    with caplog.at_level(logging.DEBUG):
        async with peers.client.ws_connect(URL, protocols=offered) as socket:
            await create(socket)
            told = await receive(socket)
    entry = await peers.entry()

    assert ("universal.created", chosen) == (told["type"], socket.protocol)
    assert TOKEN not in caplog.text + str(entry) + str(peers.provider.requests)


@pytest.mark.parametrize(
    ("url", "headers", "expected"),
    [
        (URL, {}, 401),
        (URL, {"cf-aig-authorization": "Bearer undefined"}, 401),
        (URL, {"sec-websocket-protocol": "cf-aig-authorization.hr_nope"}, 401),
        ("/v1/local/nope", AUTH, 400),
        (URL, {**AUTH, "sec-websocket-version": "1"}, 400),
        (URL, {**AUTH, "cf-aig-cache-ttl": "soon"}, 400),
    ],
)
async def test_a_handshake_that_is_refused(
    peers: Peers, caplog: pytest.LogCaptureFixture, url: str, headers: dict[str, str], expected: int
) -> None:
    """It is answered as over HTTP."""
    upgrade = {
        "connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
        "sec-websocket-key": base64.b64encode(bytes(16)).decode(),
    }  # fmt: skip
    async with peers.client.get(url, headers={**upgrade, **headers}) as answer:
        told = orjson.loads(await answer.read())

    assert (expected, "AiGatewayError") == (answer.status, told["name"])
    assert [] == [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_token_for_other_providers(peers: Peers) -> None:
    """A token's restrictions are held to by each request, not by the handshake."""
    peers.auth.restrictions.providers.append("groq")
    async with peers.client.ws_connect(URL, headers=AUTH) as socket:
        await create(socket)
        refused = await receive(socket)
        await create(socket, provider="groq")
        answered = await receive(socket)

    assert (403, "universal.created") == (refused["metadata"]["status"], answered["type"])


async def test_a_token_that_may_not_run(peers: Peers) -> None:
    """It opens no connection."""
    peers.auth.permissions.clear()
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await peers.client.ws_connect(URL, headers=AUTH)

    assert 403 == caught.value.status


async def test_a_gateway_without_authentication(peers: Peers) -> None:
    """There, whoever brings their own key needs no token."""
    peers.router.settings["authentication"] = False
    async with peers.client.ws_connect(URL) as socket:
        await create(socket, authorization="Bearer sk-own")
        told = await receive(socket)
    (request,) = peers.provider.requests

    assert "universal.created" == told["type"]
    assert request.credential.request_only


async def test_headers_of_the_handshake(peers: Peers) -> None:
    """What they ask of the gateway applies to each request, where that says nothing else."""
    async with peers.client.ws_connect(URL, headers={**AUTH, "cf-aig-collect-log": "false"}) as socket:
        await create(socket)
        first = await receive(socket)
        await create(socket, headers={"cf-aig-collect-log": True})
        second = await receive(socket)

    assert [False, True] == ["logId" in each["metadata"] for each in (first, second)]


async def test_a_client_that_goes_away(peers: Peers) -> None:
    """Its requests are ended, and recorded as such."""
    async with held(peers):
        socket = await peers.client.ws_connect(URL, headers=AUTH)
        await create(socket, STREAMED)
        await receive(socket)
        await socket.close()
        entry = await peers.entry()
        await asyncio.wait_for(peers.provider.closed.wait(), 5)

    assert log_entry_pb2.OUTCOME_DISCONNECTED == entry.outcome


async def test_a_message_that_is_too_long(socket: Socket) -> None:
    """It ends the connection with the code for that: nothing after it can be read."""
    await socket.send_str(" " * 70_000)
    message = await socket.receive(timeout=5)

    assert (aiohttp.WSMsgType.CLOSE, aiohttp.WSCloseCode.MESSAGE_TOO_BIG) == (message.type, message.data)


async def test_an_answer_that_is_too_long_for_a_message(tmp_path: Path) -> None:
    """In one message it is an error; what comes as a stream has no such bound."""
    async with edge_between(tmp_path, edge_websocket_answer_bytes="1024") as peers:
        piece = chunk(b"x" * 800)
        peers.provider.script = [head(content_type="text/plain", body_dialect=NATIVE), piece, piece, tail()]
        async with peers.client.ws_connect(URL, headers=AUTH) as socket:
            await create(socket)
            refused = await receive(socket)
            await create(socket, STREAMED)
            streamed = await receive_to_end(socket)

    assert 413 == refused["metadata"]["status"]
    assert ["universal.created", "universal.stream", "universal.stream", "universal.done"] == [
        each["type"] for each in streamed
    ]


@asynccontextmanager
async def unread(peers: Peers) -> AsyncIterator[Callable[[], int]]:
    """Ask for a long stream and read none of it; gives a function that counts the events that were taken."""
    taken = 0

    async def count() -> None:
        nonlocal taken
        taken += 1
        await asyncio.sleep(0)

    event = chunk(b'data: "' + b"x" * 65_536 + b'"\n\n')
    peers.provider.script = [EVENTS, *[part for _ in range(400) for part in (count, event)], tail()]
    reader, writer = await asyncio.open_connection("127.0.0.1", int(peers.base.rpartition(":")[2]))
    key = base64.b64encode(bytes(16)).decode()
    lines = [
        f"GET {URL} HTTP/1.1", "host: x", "connection: upgrade", "upgrade: websocket",
        "sec-websocket-version: 13", f"sec-websocket-key: {key}", f"cf-aig-authorization: {TOKEN}",
    ]  # fmt: skip
    writer.write("\r\n".join([*lines, "", ""]).encode())
    message = orjson.dumps({"type": "universal.create", "request": STREAMED})
    try:
        await reader.readuntil(b"\r\n\r\n")
        # Masked with zeros, which changes nothing.
        writer.write(bytes([0x81, 0x80 | len(message)]) + bytes(4) + message)
        before = -1
        while before != taken or not taken:
            before = taken
            await asyncio.sleep(0.2)
        yield lambda: taken
    finally:
        writer.transport.abort()


async def test_a_client_that_does_not_read(peers: Peers) -> None:
    """The provider is read no faster than the client reads, and a stop does not wait for it."""
    async with asyncio.timeout(10), unread(peers) as taken:
        await peers.drain(0.5)
    entry = await peers.entry()

    assert taken() < 400
    assert log_entry_pb2.OUTCOME_TRUNCATED == entry.outcome


async def test_a_connection_that_is_dead(tmp_path: Path) -> None:
    """A client that does not answer when it is asked whether it is there is given up."""
    async with (
        edge_between(tmp_path, edge_websocket_heartbeat_s="0.1") as peers,
        held(peers),
        peers.client.ws_connect(URL, headers=AUTH, autoping=False) as socket,
    ):
        await create(socket, STREAMED)
        entry = await peers.entry()

    assert log_entry_pb2.OUTCOME_DISCONNECTED == entry.outcome


async def test_a_stop(peers: Peers) -> None:
    """A quiet connection is closed at once; another ends its request first, and begins no further one."""
    async with (
        held(peers) as go_on,
        peers.client.ws_connect(URL, headers=AUTH) as quiet,
        peers.client.ws_connect(URL, headers=AUTH) as busy,
    ):
        await create(busy, STREAMED)
        await receive(busy)
        await receive(busy)
        stopping = asyncio.ensure_future(peers.drain(5))
        closed = await quiet.receive(timeout=5)
        await create(busy, STREAMED, "late")
        refused = await receive(busy)
        go_on.set()
        rest = [await receive(busy), await receive(busy)]
        last = await busy.receive(timeout=5)
        await stopping

    assert (aiohttp.WSMsgType.CLOSE, 1001) == (closed.type, closed.data)
    assert ("late", 503) == (refused["metadata"]["eventId"], refused["metadata"]["status"])
    assert ["universal.stream", "universal.done"] == [each["type"] for each in rest]
    assert (aiohttp.WSMsgType.CLOSE, 1001) == (last.type, last.data)


async def test_a_stop_that_does_not_wait(peers: Peers) -> None:
    """A request that is not done when the grace is over ends in an error."""
    async with held(peers), peers.client.ws_connect(URL, headers=AUTH) as socket:
        await create(socket, STREAMED)
        await receive(socket)
        await receive(socket)
        stopping = asyncio.ensure_future(peers.drain(0.4))
        told = await receive(socket)
        last = await socket.receive(timeout=5)
        await stopping

    assert ("universal.error", 503) == (told["type"], told["metadata"]["status"])
    assert (aiohttp.WSMsgType.CLOSE, 1001) == (last.type, last.data)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google-ai-studio", "compat"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"on_disconnect": gateway_pb2.DISCONNECT_POLICY_DRAIN}, {"stream_failover": True}],
)
async def test_a_providers_error_event(tmp_path: Path, provider: str, settings: dict[str, Any]) -> None:
    """It ends a stream in an error, never as if it were whole, whoever makes the call."""
    endpoint = {
        "anthropic": "v1/messages", "google-ai-studio": "v1beta/models/m:streamGenerateContent?alt=sse",
    }.get(provider, "chat/completions")  # fmt: skip
    query: dict[str, Any] = {
        "model": "openai/m" if provider == "compat" else "m", "max_tokens": 9, "stream": True,
        "messages": [{"role": "user", "content": "Hello?"}],
    }  # fmt: skip
    if provider == "google-ai-studio":
        query = {"contents": [{"role": "user", "parts": [{"text": "Hello?"}]}]}
    asked = {
        "provider": provider, "endpoint": endpoint, "query": query,
        "headers": {"x-fake": "words=5; error-after=2"},
    }  # fmt: skip
    async with (
        FakeUpstream() as upstream,
        provider_harness(upstream.url, operator_key="sk-operator-0123456789") as providers,
        edge_between(tmp_path, provider=providers.servicer) as peers,
        peers.client.ws_connect(URL, headers=AUTH) as socket,
    ):
        peers.router.settings |= settings
        await create(socket, asked)
        messages = await receive_to_end(socket)
        entry = await peers.entry()

    assert "error" in messages[-2]["response"]
    assert ("universal.error", 502) == (messages[-1]["type"], messages[-1]["metadata"]["status"])
    assert log_entry_pb2.OUTCOME_TRUNCATED == entry.outcome
