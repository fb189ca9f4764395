"""Native bodies that are sent on as they come."""

from __future__ import annotations

import asyncio
import hashlib
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from yarl import URL

from headrace.ledger.v1 import log_entry_pb2
from kit.errors import GatewayError, Reason
from tests.fakes.edge_calls import ANSWER
from tests.fakes.peers import TOKEN, Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PATH = "/v1/local/default/openai/v1/files"
AUTH = {"cf-aig-authorization": TOKEN}
SMALL = {
    "edge_whole_body_bytes": "2048",
    "edge_max_upload_bytes": "200000",
    "edge_body_timeout_s": "0.5",
    "edge_payload_bytes": "100",
}


@pytest.fixture(params=[False, True], ids=["inline", "grpc"])
async def peers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path, over_grpc=request.param, **SMALL) as found:
        found.provider.script = [head(), chunk(ANSWER), tail()]
        yield found


async def pieces(*data: bytes, gate: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    for each in data:
        yield each
        if gate is not None:
            await gate.wait()


class Raw:
    """A connection to the edge, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> tuple[int, bytes]:
        """Read a whole answer."""
        async with asyncio.timeout(5):
            found = await self.reader.readuntil(b"\r\n\r\n")
            length = int(found.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return int(found.split()[1]), await self.reader.readexactly(length)


@asynccontextmanager
async def sending(peers: Peers, *lines: str, body: bytes = b"", token: str = TOKEN) -> AsyncIterator[Raw]:
    """Begin a request with some headers and the beginning of its body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(peers.base.rpartition(":")[2]))
    first = (f"POST {PATH} HTTP/1.1", "host: x", f"cf-aig-authorization: {token}")
    writer.write("\r\n".join((*first, *lines, "", "")).encode() + body)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_short_bodies_are_read_first(peers: Peers) -> None:
    """Of known length or not, they arrive whole and can be cached."""
    headers = {**AUTH, "cf-aig-cache-ttl": "60"}
    for data in (b"x" * 2048, pieces(b"a" * 1000, b"b" * 1000)):
        async with peers.client.post(PATH, data=data, headers=headers) as answer:
            assert "MISS" == answer.headers["cf-aig-cache-status"]
            await answer.read()

    assert [b"x" * 2048, b"a" * 1000 + b"b" * 1000] == [request.body for request in peers.provider.requests]
    assert ([], 2) == (peers.provider.uploaded, len(peers.cache.looked_up))


async def test_long_body_is_sent_on(peers: Peers) -> None:
    """It arrives to the byte and in pieces, with its length, and its beginning is in the log."""
    body = bytes(range(256)) * 700
    url = URL(f"{peers.base}{PATH}/a%2Fb?x=%20y", encoded=True)
    async with peers.client.put(url, data=body, headers={**AUTH, "cf-aig-cache-ttl": "60"}) as answer:
        assert (200, ANSWER) == (answer.status, await answer.read())
    entry = await peers.entry()
    (sent,) = peers.provider.uploaded
    (request,) = peers.provider.requests

    assert hashlib.sha256(body).digest() == hashlib.sha256(b"".join(sent)).digest()
    assert (b"", "PUT", "v1/files/a%2Fb", "x=%20y") == (
        request.body,
        request.native.method,
        request.native.path,
        request.native.query,
    )
    assert {"content-length": b"179200"}.items() <= {
        each.name: each.value for each in request.headers
    }.items()
    assert (len(body), body[:100], False) == (
        entry.request_size,
        entry.payload.request,
        entry.payload.request_complete,
    )
    assert peers.cache.looked_up == []


async def test_body_passes_as_it_comes(peers: Peers) -> None:
    """What was sent is with the provider while the client is still at the rest."""
    gate = asyncio.Event()
    peers.provider.reads = 1
    data = pieces(b"x" * 4000, b"y" * 10, gate=gate)
    posting = asyncio.ensure_future(peers.client.post(PATH, data=data, headers=AUTH))
    await asyncio.wait_for(peers.provider.received.wait(), 5)
    seen = b"".join(peers.provider.uploaded[0])
    gate.set()
    async with await posting as answer:
        await answer.read()

    assert b"x" * 4000 == seen


async def test_unknown_length_is_not_told(peers: Peers) -> None:
    """A body without a length goes on without one."""
    async with peers.client.post(PATH, data=pieces(b"x" * 3000, b"y" * 3000), headers=AUTH) as answer:
        await answer.read()
    (request,) = peers.provider.requests

    assert b"x" * 3000 + b"y" * 3000 == b"".join(peers.provider.uploaded[0])
    assert "content-length" not in {header.name for header in request.headers}


async def test_slow_short_body_of_unknown_length_is_sent_on(peers: Peers) -> None:
    """A body that trickles in is not waited for."""
    async with sending(peers, "transfer-encoding: chunked", body=b"3\r\nabc\r\n") as raw:
        await asyncio.wait_for(peers.provider.received.wait(), 5)
        raw.writer.write(b"3\r\ndef\r\n0\r\n\r\n")

        assert (200, ANSWER) == await raw.answer()
    assert b"abcdef" == b"".join(peers.provider.uploaded[0])


async def test_client_that_waits_to_be_told(peers: Peers) -> None:
    """`Expect: 100-continue` is answered once somebody wants the body, whatever its length."""
    async with sending(peers, "expect: 100-continue", "content-length: 5") as raw:
        async with asyncio.timeout(5):
            told = await raw.reader.readuntil(b"\r\n\r\n")
        raw.writer.write(b"hello")

        assert (b"HTTP/1.1 100 Continue\r\n\r\n", (200, ANSWER)) == (told, await raw.answer())
    assert [b"hello"] == peers.provider.uploaded[0]


async def test_client_that_waits_and_is_refused(peers: Peers) -> None:
    """Who may not come in is told so before a byte of the body is sent."""
    lines = "expect: 100-continue", "content-length: 9999"
    async with sending(peers, *lines, token="hr_wrong") as raw:
        status, body = await raw.answer()

    assert (401, "Unauthorized") == (status, orjson.loads(body)["message"])


@pytest.mark.parametrize("known", [True, False])
async def test_body_that_is_too_long(peers: Peers, known: bool) -> None:  # noqa: FBT001 - a table's column
    """Above the limit for uploads it is 413, and what went on already is never taken for the whole."""
    data: Any = b"x" * 200_001 if known else pieces(*[b"x" * 50_000] * 5)
    async with peers.client.post(PATH, data=data, headers=AUTH) as answer:
        told = orjson.loads(await answer.read())

    assert (413, 7001) == (answer.status, told["internalCode"])
    assert "200000" in told["message"]
    assert peers.provider.requests == []


async def test_body_that_stalls(peers: Peers) -> None:
    """A client that stops in the middle is refused, and the entry says why."""
    async with sending(peers, "content-length: 9999", body=b"x" * 3000) as raw:
        status, body = await raw.answer()
    entry = await peers.entry()

    assert (400, "The request body took too long to arrive.") == (status, orjson.loads(body)["message"])
    assert (log_entry_pb2.OUTCOME_ERROR, "INVALID_REQUEST", 3000) == (
        entry.outcome,
        entry.error_reason,
        entry.request_size,
    )
    assert peers.provider.requests == []


async def test_client_that_goes_away_while_sending(peers: Peers) -> None:
    """The provider never takes what came for the whole, and the entry says what happened."""
    async with sending(peers, "content-length: 9999", body=b"x" * 3000):
        await asyncio.wait_for(peers.provider.received.wait(), 5)
    entry = await peers.entry()

    assert (log_entry_pb2.OUTCOME_DISCONNECTED, []) == (entry.outcome, peers.provider.requests)


async def test_answer_before_the_body_is_whole(peers: Peers) -> None:
    """A provider that refuses early is heard at once, and the connection serves the next request."""
    peers.provider.reads = 1
    peers.provider.script = [head(401), chunk(b'{"error":"no"}'), tail()]
    async with sending(peers, "content-length: 6000", body=b"x" * 3000) as raw:
        began_s = time.monotonic()
        first = await raw.answer()
        took_s = time.monotonic() - began_s
        peers.provider.script = [head(), chunk(ANSWER), tail()]
        next_one = f"GET {PATH} HTTP/1.1\r\nhost: x\r\ncf-aig-authorization: {TOKEN}\r\n\r\n"
        raw.writer.write(b"y" * 3000 + next_one.encode())
        second = await raw.answer()

    assert ((401, b'{"error":"no"}'), (200, ANSWER)) == (first, second)
    assert took_s < 0.4


async def test_uploads_are_not_tried_again(peers: Peers) -> None:
    """What was sent on is gone: a provider that fails ends the request."""
    from headrace.router.v1 import router_service_pb2

    peers.router.steps = [router_service_pb2.Step(provider=name) for name in ("openai", "groq")]
    peers.provider.script = [GatewayError(Reason.UPSTREAM_UNREACHABLE, "no")]
    async with peers.client.post(PATH, data=b"x" * 3000, headers=AUTH) as answer:
        told = orjson.loads(await answer.read())

    assert (502, "no", 1) == (answer.status, told["message"], len(peers.provider.requests))


async def test_event_stream_after_an_upload(peers: Peers) -> None:
    """Answers are relayed as those of any native call, and the log says that it was a stream."""
    peers.provider.script = [head(200, "text/event-stream"), chunk(b"data: 1\n\n"), tail()]
    async with peers.client.post(PATH, data=b"x" * 3000, headers=AUTH) as answer:
        assert b"data: 1\n\n" == await answer.read()
    entry = await peers.entry()

    assert (True, 3000) == (entry.streamed, entry.request_size)


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "PATCH", "PROPFIND"])
async def test_any_method(peers: Peers, method: str) -> None:
    """Without a body there is nothing to send on."""
    async with peers.client.request(method, PATH, headers=AUTH) as answer:
        assert (200, ANSWER) == (answer.status, await answer.read())

    assert [(method, b"")] == [(each.native.method, each.body) for each in peers.provider.requests]


async def test_head(peers: Peers) -> None:
    """The answer to HEAD keeps the length of what GET would bring, and has no body."""
    begins = head()
    begins.head.headers.add(name="content-length", value=b"1234")
    peers.provider.script = [begins, tail()]
    async with peers.client.head(PATH, headers=AUTH) as answer:
        found = answer.status, answer.headers["content-length"], await answer.read()
    async with peers.client.head(PATH, headers=AUTH) as again:
        assert 200 == again.status

    assert (200, "1234", b"") == found


async def test_native_limit_is_not_that_of_compat(tmp_path: Path) -> None:
    """A native body may be longer than what is ever held in memory."""
    async with edge_between(tmp_path, edge_max_body_bytes="4096", edge_whole_body_bytes="4096") as peers:
        peers.provider.script = [head(), chunk(ANSWER), tail()]
        async with peers.client.post(PATH, data=b"x" * 100_000, headers=AUTH) as answer:
            assert 200 == answer.status

    assert 100_000 == sum(map(len, peers.provider.uploaded[0]))


@pytest.mark.parametrize("over_grpc", [False, True], ids=["inline", "grpc"])
async def test_slow_provider_slows_its_client(tmp_path: Path, over_grpc: bool) -> None:  # noqa: FBT001 - a parameter
    """What a provider does not take stays with the client: memory does not grow with the body."""
    gate = asyncio.Event()
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while not gate.is_set():
            yield b"x" * 65536
            sent += 65536

    async with edge_between(tmp_path, over_grpc=over_grpc) as peers:
        peers.provider.reads = 1
        peers.provider.script = [gate.wait, head(), chunk(ANSWER), tail()]
        posting = asyncio.ensure_future(peers.client.post(PATH, data=endless(), headers=AUTH))
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.3)
        gate.set()
        async with await posting as answer:
            assert 200 == answer.status

    assert 0 < before < 24 << 20
