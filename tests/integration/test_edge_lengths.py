"""The length that an answer announces is that of the form which is sent; what is not as long is cut."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import structlog
from google.protobuf.duration_pb2 import Duration

from headrace.common.v1 import http_pb2
from headrace.provider.v1 import provider_service_pb2
from kit.errors import GatewayError, Reason
from tests.fakes.peers import TOKEN, Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

URL = "/v1/local/default/openai/v1/chat/completions"
CACHED = {"cf-aig-authorization": TOKEN, "cf-aig-cache-ttl": "60"}
PLAIN: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
STREAMED = {**PLAIN, "stream": True}
WHOLE = b'{"id":"x","choices":[{"index":0}]}'
EVENTS = b'data: {"id":"x","choices":[{"index":0,"delta":{}}]}\n\ndata: [DONE]\n\n'
CUT = (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError)
# What describes the one form, and would be wrong of the other.
OF_THE_FORM = ("content-length", "etag", "content-md5", "digest", "content-digest", "accept-ranges")


def _announced(
    body: bytes, *pieces: bytes, content_type: str = "application/json", status: int = 200
) -> list[Any]:
    """Give an answer with the length of a body, and the pieces that come instead; without any, the body."""
    first = head(status, content_type, body_dialect=http_pb2.DIALECT_OPENAI_CHAT)
    for name in OF_THE_FORM:
        value = str(len(body)) if name == "content-length" else "of-the-form"
        first.head.headers.append(http_pb2.Header(name=name, value=value.encode()))
    first.head.headers.append(http_pb2.Header(name="request-id", value=b"r1"))
    return [first, *(chunk(piece) for piece in pieces or (body,)), tail(finish_reason="stop")]


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path) as found:
        yield found


async def _ask(peers: Peers, body: Any, **headers: str) -> tuple[bytes, Any]:
    async with peers.client.post(URL, json=body, headers={**CACHED, **headers}) as answer:
        assert 200 == answer.status
        return await answer.read(), answer.headers


def _left(headers: Any) -> list[str]:
    return [name for name in OF_THE_FORM if name in headers]


async def test_a_plain_answer_is_whole_as_a_stream(peers: Peers) -> None:
    """The stream that is made of it is longer than the length that its provider told."""
    peers.provider.script = _announced(WHOLE)
    peers.provider.reshaped = EVENTS
    plain, missed = await _ask(peers, PLAIN)
    stream, hit = await _ask(peers, STREAMED)

    assert (WHOLE, "MISS", list(OF_THE_FORM)) == (plain, missed["cf-aig-cache-status"], _left(missed))
    assert (EVENTS, "HIT", []) == (stream, hit["cf-aig-cache-status"], _left(hit))
    assert ("text/event-stream", "r1") == (hit["content-type"], hit["request-id"])


async def test_a_stream_is_whole_as_a_plain_answer(peers: Peers) -> None:
    """The other way about, the length is anew that of the body."""
    peers.provider.script = _announced(EVENTS, EVENTS[:20], EVENTS[20:], content_type="text/event-stream")
    peers.provider.reshaped = WHOLE
    await _ask(peers, STREAMED)
    plain, hit = await _ask(peers, PLAIN)

    assert (WHOLE, "HIT", str(len(WHOLE))) == (plain, hit["cf-aig-cache-status"], hit["content-length"])
    assert ["content-length"] == _left(hit)


async def test_a_stale_answer_is_whole_in_the_other_form(peers: Peers) -> None:
    """Past its time and with the provider away, too."""
    peers.router.settings = {"cache_stale_if_error": Duration(seconds=600)}
    peers.provider.script = _announced(WHOLE)
    peers.provider.reshaped = EVENTS
    await _ask(peers, PLAIN)
    await peers.cache.age(seconds=100)
    peers.provider.script = [GatewayError(Reason.UPSTREAM_UNREACHABLE, "away")]
    stream, stale = await _ask(peers, STREAMED, **{"cf-aig-max-attempts": "1"})

    assert (EVENTS, "STALE", []) == (stream, stale["cf-aig-cache-status"], _left(stale))


async def test_who_waits_for_the_other_form_gets_it_whole(peers: Peers) -> None:
    """A stream that shares the call of a plain request is not as long as that one's answer."""
    gate = asyncio.Event()
    peers.provider.script = [gate.wait, *_announced(WHOLE)]
    peers.provider.reshaped = EVENTS
    plain = asyncio.create_task(_ask(peers, PLAIN))
    while not peers.provider.requests:  # noqa: ASYNC110 - the fake has nothing to wait for
        await asyncio.sleep(0.01)
    streamed = asyncio.create_task(_ask(peers, STREAMED))
    while len(peers.cache.looked_up) < 3:  # noqa: ASYNC110 - the second, and its wait
        await asyncio.sleep(0.01)
    gate.set()

    assert WHOLE == (await plain)[0]
    assert EVENTS == (await streamed)[0]
    assert 1 == len(peers.provider.requests)


@pytest.mark.parametrize(
    "pieces",
    [
        (WHOLE[:10], WHOLE[10:], b"more"),
        (WHOLE[:10], WHOLE[10:] + b"more"),
        (WHOLE[:10], WHOLE[10:20]),
        (WHOLE[:20],),
        (WHOLE + b"more",),
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
async def test_an_answer_that_is_not_as_long_as_it_said_never_looks_whole(
    peers: Peers, pieces: tuple[bytes, ...], content_type: str
) -> None:
    """Longer or shorter, in pieces or in one: its client sees the connection break."""
    peers.provider.script = _announced(WHOLE, *pieces, content_type=content_type)

    with structlog.testing.capture_logs() as logs, pytest.raises(CUT):
        await _ask(peers, PLAIN, **{"cf-aig-cache-ttl": "0"})

    assert [("answer cut, which is not as long as it said", len(WHOLE))] == [
        (each["event"], each["announced_bytes"]) for each in logs if each["log_level"] == "error"
    ]


async def test_an_error_in_the_middle_of_an_announced_stream_breaks_the_connection(peers: Peers) -> None:
    """There is no room for an event that tells of it."""
    peers.provider.script = [
        *_announced(EVENTS, EVENTS[:20], content_type="text/event-stream")[:-1],
        GatewayError(Reason.UPSTREAM_CUT, "cut"),
    ]

    with pytest.raises(CUT):
        await _ask(peers, STREAMED, **{"cf-aig-cache-ttl": "0"})


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_as_long_as_it_said_comes_whole(peers: Peers, *, streamed: bool) -> None:
    """However it falls into pieces."""
    peers.provider.script = _announced(WHOLE, WHOLE[:10], WHOLE[10:])
    body, headers = await _ask(peers, STREAMED if streamed else PLAIN, **{"cf-aig-cache-ttl": "0"})

    assert (WHOLE, str(len(WHOLE))) == (body, headers["content-length"])


async def test_the_length_of_what_is_not_sent_may_be_told(peers: Peers) -> None:
    """HEAD and 304 announce a body that does not come."""
    for method, status in (("HEAD", 200), ("GET", 304)):
        first = _announced(WHOLE, status=status)[0]
        peers.provider.script = [first, provider_service_pb2.InvokeResponse(tail=tail().tail)]
        async with peers.client.request(method, URL, headers=CACHED) as answer:
            assert (status, b"") == (answer.status, await answer.read())
