"""
Requests over connections that are kept: they are to be what they are over new ones, on the wire and when
something goes wrong.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from yarl import URL

from kit.errors import GatewayError, Reason
from services.providers.answer import BrokenAnswerError
from services.providers.config import ProvidersConfig
from services.providers.kept import MOST_BYTES
from services.providers.upstream import Timeouts, Upstream, UpstreamRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.providers.answer import UpstreamAnswer

TIMES = Timeouts(connect_s=2.0, first_byte_s=2.0, idle_s=2.0, total_s=4.0)
HELLO = b"HTTP/1.1 200 OK\r\nX-Some: 1\r\nContent-Length: 5\r\n\r\nhello"


class Peer:
    """A provider that answers what it is told, and keeps what it reads."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: list[bytes] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self.writer: asyncio.StreamWriter | None = None
        self.asked = asyncio.Event()
        self.closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests of one connection; an empty answer closes it, `...` at an end says nothing more."""
        self.connections += 1
        self.writer = writer
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
                self.requests.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0)
                if not answer:
                    break
                if answer == b"...":
                    self.asked.set()
                writer.write(answer.removesuffix(b"..."))
        except asyncio.IncompleteReadError:
            self.closed.set()
        finally:
            writer.close()


@asynccontextmanager
async def peered(*answers: bytes) -> AsyncIterator[tuple[Peer, Upstream]]:
    """Run a peer with which a connection is kept that was used once, and a client of it."""
    peer = Peer()
    peer.answers = [HELLO, *answers]
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/a%2Fb?c=d"
    client = Upstream(ProvidersConfig())
    try:
        assert (200, b"hello") == await whole(await client.send(asked(peer.url)))
        yield peer, client
    finally:
        await client.close()
        server.close()


def asked(url: str, *, body: bytes = b"{}", times: Timeouts = TIMES) -> UpstreamRequest:
    """Ask for something."""
    headers = [("content-type", "application/json"), ("x-twice", "1"), ("x-twice", "2"), ("x-word", "ä")]
    return UpstreamRequest(
        provider="p", method="POST", url=URL(url, encoded=True), headers=headers, body=body, timeouts=times
    )


async def whole(answer: UpstreamAnswer) -> tuple[int, bytes]:
    """Read an answer to its end, and let go of it."""
    try:
        return answer.status, await answer.read_all()
    finally:
        answer.close()


async def test_the_same_bytes_go_out() -> None:
    """A request over a kept connection is the one over a new connection, byte for byte."""
    async with peered(HELLO, HELLO) as (peer, client):
        for _ in range(2):
            assert (200, b"hello") == await whole(await client.send(asked(peer.url)))

        assert 1 == peer.connections
        assert 1 == len(set(peer.requests))


async def test_a_large_body_goes_the_usual_way() -> None:
    """A body that whoever writes would have to wait for is sent as well, over the same connection."""
    async with peered(HELLO) as (peer, client):
        await whole(await client.send(asked(peer.url, body=b"x" * (MOST_BYTES + 1))))

        assert 1 == peer.connections
        assert peer.requests[1].endswith(b"\r\n\r\n" + b"x" * (MOST_BYTES + 1))


async def test_an_interim_answer_is_passed_over() -> None:
    """The answer is what follows `100 Continue` and the like."""
    async with peered(b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n" + HELLO) as (peer, client):
        assert (200, b"hello") == await whole(await client.send(asked(peer.url)))


@pytest.mark.parametrize("status", [0, 99, 600])
async def test_a_status_that_does_not_exist_is_no_interim_answer(status: int) -> None:
    """Only what begins with a one is followed by another answer."""
    odd = b"HTTP/1.1 %03d Odd\r\nContent-Length: 2\r\n\r\nhi" % status
    async with peered(odd, HELLO) as (peer, client):
        assert (status, b"hi") == await whole(await client.send(asked(peer.url)))
        assert (200, b"hello") == await whole(await client.send(asked(peer.url)))

        assert 1 == peer.connections


async def test_an_answer_that_nobody_asked_for() -> None:
    """What a provider says on a connection that waits is not taken for the answer to the next request."""
    async with peered(HELLO) as (peer, client):
        connector = client._session.connector
        assert connector is not None
        ((protocol, _),) = next(iter(connector._conns.values()))
        assert peer.writer is not None
        peer.writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nlate")
        async with asyncio.timeout(2):
            while not protocol.should_close:  # noqa: ASYNC110 - nobody is told when it comes
                await asyncio.sleep(0)

        assert (200, b"hello") == await whole(await client.send(asked(peer.url)))
        assert 2 == peer.connections


@pytest.mark.parametrize("name", ["host", "Host", "content-length"])
async def test_a_header_that_the_connection_sets(name: str) -> None:
    """A request that brings such a header itself has it once, as it does over a new connection."""
    async with peered(HELLO) as (peer, client):
        own = asked(peer.url)
        own.headers.append((name, "2"))
        await whole(await client.send(own))

    lines = peer.requests[1].lower().split(b"\r\n")
    assert [b"%b: 2" % name.lower().encode()] == [
        line for line in lines if line.startswith(name.lower().encode())
    ]


async def test_an_answer_without_a_body() -> None:
    """An answer that has no body gives the connection back."""
    async with peered(b"HTTP/1.1 204 No Content\r\n\r\n", HELLO) as (peer, client):
        assert (204, b"") == await whole(await client.send(asked(peer.url)))
        assert (200, b"hello") == await whole(await client.send(asked(peer.url)))

        assert 1 == peer.connections


async def test_an_answer_that_ends_with_the_connection() -> None:
    """A body without a length ends where the connection does, which is not used again."""
    async with peered(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello...", HELLO) as (peer, client):
        answer = await client.send(asked(peer.url))
        assert b"hello" == await answer.read()
        answer.close()
        assert (200, b"hello") == await whole(await client.send(asked(peer.url)))

        assert 2 == peer.connections


@pytest.mark.parametrize(
    ("answer", "reason", "timer"),
    [
        (b"", Reason.UPSTREAM_UNREACHABLE, None),
        (b"220 smtp.example ESMTP\r\n", Reason.UPSTREAM_MALFORMED, None),
        (b"...", Reason.UPSTREAM_TIMEOUT, "first_byte"),
        (b"HTTP/1.1 200 OK\r\ncont...", Reason.UPSTREAM_TIMEOUT, "first_byte"),
    ],
)
async def test_no_answer(answer: bytes, reason: Reason, timer: str | None) -> None:
    """What keeps an answer from coming has its name, and the connection is not used again."""
    times = Timeouts(connect_s=2.0, first_byte_s=0.05, idle_s=2.0, total_s=4.0)
    async with peered(answer, HELLO) as (peer, client):
        with pytest.raises(GatewayError) as caught:
            await client.send(asked(peer.url, times=times))
        assert (200, b"hello") == await whole(await client.send(asked(peer.url)))

        assert 2 == peer.connections
    assert (reason, timer) == (caught.value.reason, caught.value.metadata.get("timer"))


async def test_the_time_of_all_is_over_before_the_head() -> None:
    """The longest time of an attempt counts from its beginning."""
    times = Timeouts(connect_s=2.0, first_byte_s=2.0, idle_s=2.0, total_s=0.05)
    async with peered(b"...") as (peer, client):
        with pytest.raises(GatewayError) as caught:
            await client.send(asked(peer.url, times=times))
        await peer.closed.wait()

    assert "total" == caught.value.metadata["timer"]


@pytest.mark.parametrize(("idle_s", "total_s", "trouble"), [(0.05, 4.0, "idle"), (4.0, 0.05, "total")])
async def test_a_body_that_stops(idle_s: float, total_s: float, trouble: str) -> None:
    """A body that goes silent breaks off when the first of both times is over."""
    times = Timeouts(connect_s=2.0, first_byte_s=2.0, idle_s=idle_s, total_s=total_s)
    stopped = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n..."
    async with peered(stopped) as (peer, client):
        answer = await client.send(asked(peer.url, times=times))
        assert b"hello" == await answer.read()
        answer.content_began()
        with pytest.raises(BrokenAnswerError) as caught:
            await answer.read()
        answer.close()
        await peer.closed.wait()

    assert trouble == caught.value.trouble


async def test_whoever_waits_goes_away() -> None:
    """A caller that goes away takes the connection along."""
    async with peered(b"...") as (peer, client):
        task = asyncio.create_task(client.send(asked(peer.url)))
        await peer.asked.wait()
        task.cancel()
        await asyncio.wait((task,))
        await peer.closed.wait()

        assert task.cancelled()


async def test_an_answer_that_is_not_wanted() -> None:
    """An answer that is let go of before its end takes the connection along."""
    begun = b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello..."
    async with peered(begun, HELLO) as (peer, client):
        (await client.send(asked(peer.url))).close()
        await peer.closed.wait()
        assert (200, b"hello") == await whole(await client.send(asked(peer.url)))

        assert 2 == peer.connections


async def test_an_answer_that_is_let_go_of_while_somebody_reads_it() -> None:
    """Whoever still waits for more of an answer hears that it is over."""
    begun = b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello..."
    async with peered(begun) as (peer, client):
        answer = await client.send(asked(peer.url))
        assert b"hello" == await answer.read()
        reading = asyncio.create_task(answer.read())
        await asyncio.sleep(0)
        answer.close()
        done, _ = await asyncio.wait((reading,), timeout=1)
        reading.cancel()

        assert {reading} == done
        assert isinstance(reading.exception(), BrokenAnswerError)


async def test_a_header_that_no_request_may_hold() -> None:
    """A line feed in a header is refused, and the connection goes on."""
    async with peered(HELLO) as (peer, client):
        bad = asked(peer.url)
        bad.headers.append(("x-bad", "a\r\nb"))
        with pytest.raises(GatewayError) as caught:
            await client.send(bad)
        assert (200, b"hello") == await whole(await client.send(asked(peer.url)))

        assert 1 == peer.connections
    assert Reason.INVALID_REQUEST is caught.value.reason
