"""What an answer looks like as messages of a WebSocket, and what is read of a client's."""

from __future__ import annotations

import base64
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.common.v1 import http_pb2
from kit.errors import GatewayError, Reason
from services.edge.websocket import frames
from services.edge.websocket.sink import WebSocketSink
from services.edge.websocket.subprotocols import choose, offered_token

NATIVE = http_pb2.DIALECT_NATIVE
OWN = [
    ("cf-aig-event-id", "e1"),
    ("cf-aig-log-id", "l1"),
    ("cf-aig-step", "0"),
    ("CF-AIG-Cache-Status", "MISS"),
]
TOLD = {"eventId": "e1", "logId": "l1", "step": "0", "cacheStatus": "MISS", "status": 200}
SSE = "text/event-stream; charset=utf-8"


class Client:
    """Reads what is sent to it."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def take(self, message: bytes) -> None:
        self.messages.append(json.loads(message))  # whole numbers of any length

    def sink(self, *, event_id: str = "", streamed: bool = False, most_bytes: int = 1000) -> WebSocketSink:
        return WebSocketSink(self.take, event_id=event_id, streamed=streamed, most_bytes=most_bytes)

    @property
    def types(self) -> list[str]:
        return [message["type"].removeprefix("universal.") for message in self.messages]


def of(content_type: str) -> list[tuple[str, str]]:
    return [("content-type", content_type), ("x-upstream", "1"), *OWN]


async def streamed(content_type: str, pieces: list[bytes], **options: Any) -> Client:
    """Send an answer in pieces, to its end."""
    client = Client()
    sink = client.sink(**options)
    await sink.begin(200, of(content_type), NATIVE)
    for piece in pieces:
        await sink.write(piece)
    await sink.end()
    return client


async def test_an_answer_in_one_piece() -> None:
    """It is one message, whose metadata is what the gateway's headers say."""
    client = Client()
    await client.sink().whole(200, of("application/json"), b'{"a":123456789012345678901234567890}')

    assert [
        {
            "type": "universal.created",
            "metadata": {**TOLD, "contentType": "application/json"},
            "response": {"a": 123456789012345678901234567890},
        }
    ] == client.messages


@pytest.mark.parametrize(
    ("content_type", "body", "response", "encoding"),
    [
        ("application/json", b'{"a":1}', {"a": 1}, None),
        ("application/problem+json", b"[1]", [1], None),
        ("application/json", b"not json", "not json", None),
        ("text/plain; charset=utf-8", "é".encode(), "é", None),
        ("text/plain", b"\xff", base64.b64encode(b"\xff").decode(), "base64"),
        ("audio/mpeg", b"ID3", base64.b64encode(b"ID3").decode(), "base64"),
        ("", b"x", base64.b64encode(b"x").decode(), "base64"),
    ],
)
async def test_bodies(content_type: str, body: bytes, response: Any, encoding: str | None) -> None:
    """JSON is told as JSON, text as text, and all else in base64; in pieces it is the same."""
    whole, pieces = Client(), await streamed(content_type, [body[:1], body[1:]])
    await whole.sink().whole(200, of(content_type), body)

    assert (response, encoding) == (
        whole.messages[0]["response"], whole.messages[0]["metadata"].get("encoding"),
    )  # fmt: skip
    assert whole.messages == pieces.messages


async def test_a_stream_of_events() -> None:
    """Each event is a message; the first message has no response, and the last repeats what is known."""
    events = b'data: {"n":1}\n\nevent: ping\ndata: {"n":2}\n\n: comment\n\ndata: [DONE]\n\n'
    for cut in range(len(events)):
        client = await streamed(SSE, [events[:cut], events[cut:]])

        told = {**TOLD, "contentType": SSE}
        assert [
            {"type": "universal.created", "metadata": told},
            {"type": "universal.stream", "metadata": {"eventId": "e1"}, "response": {"n": 1}},
            {
                "type": "universal.stream",
                "metadata": {"eventId": "e1", "event": "ping"},
                "response": {"n": 2},
            },
            {"type": "universal.stream", "metadata": {"eventId": "e1"}, "response": "[DONE]"},
            {"type": "universal.done", "metadata": told},
        ] == client.messages


async def test_a_stream_that_is_there_at_once() -> None:
    """A stream that comes in one piece, as from the cache, is a stream all the same."""
    client = Client()
    await client.sink().whole(200, of(SSE), b"data: 1\n\ndata: 2")

    assert ["created", "stream", "stream", "done"] == client.types
    assert [1, 2] == [message["response"] for message in client.messages[1:3]]


async def test_a_stream_that_is_none_of_events() -> None:
    """Text is cut between characters, and bytes are in base64."""
    text = await streamed("application/x-ndjson", [b'"\xc3', b'\xa9"\n', b"\xc3"], streamed=True)
    other = await streamed("application/vnd.amazon.eventstream", [b"\x00\x01", b"\x02"], streamed=True)

    assert ['"', 'é"\n', "\ufffd"] == [message["response"] for message in text.messages[1:-1]]
    assert b"\x00\x01\x02" == b"".join(base64.b64decode(each["response"]) for each in other.messages[1:-1])
    assert {"base64"} == {each["metadata"]["encoding"] for each in other.messages[1:-1]}
    assert ["created", "done"] == [text.types[0], text.types[-1]]


@given(st.lists(st.binary(max_size=6), max_size=6))
async def test_pieces_join_to_what_was_sent(pieces: list[bytes]) -> None:
    """Nothing is lost or said twice."""
    client = await streamed("audio/wav", pieces, streamed=True)

    assert b"".join(pieces) == b"".join(base64.b64decode(each["response"]) for each in client.messages[1:-1])


async def test_an_answer_that_is_too_long() -> None:
    """It is an error and as if the client had gone, so that the provider is not read any further."""
    client = Client()
    sink = client.sink(most_bytes=3)
    await sink.begin(200, of("application/json"), NATIVE)
    await sink.write(b"[1,")
    with pytest.raises(ConnectionError):
        await sink.write(b"2]")

    assert [("universal.error", 413)] == [
        (each["type"], each["metadata"]["status"]) for each in client.messages
    ]


async def test_a_refusal() -> None:
    """An error of the gateway's own is told in the envelope of HTTP, with what is known of the request."""
    client = Client()
    error = GatewayError(Reason.RATE_LIMITED, "Rate limited", retry_after_s=2.4, param="0.x")
    await client.sink(event_id="mine").refuse(error, OWN)
    (message,) = client.messages

    assert {"eventId": "mine", "logId": "l1", "status": 429, "retryAfter": 2, "param": "0.x"} == {
        name: message["metadata"][name] for name in ("eventId", "logId", "status", "retryAfter", "param")
    }
    assert (False, 2003, 429) == (
        message["error"]["success"], message["error"]["internalCode"], message["error"]["httpCode"],
    )  # fmt: skip
    assert "response" not in message


@pytest.mark.parametrize("pieces", [1, 2])
async def test_an_error_of_the_providers(pieces: int) -> None:
    """It is an error as well, and has the provider's own answer beside the envelope."""
    client = Client()
    sink = client.sink(streamed=True)
    if pieces == 1:
        await sink.whole(429, of("application/json"), b'{"error":"slow down"}')
    else:
        await sink.begin(429, of("application/json"), NATIVE)
        await sink.write(b'{"error":')
        await sink.write(b'"slow down"}')
        await sink.end()
    (message,) = client.messages

    assert ("universal.error", 429, {"error": "slow down"}) == (
        message["type"], message["metadata"]["status"], message["response"],
    )  # fmt: skip
    assert (2005, 429) == (message["error"]["internalCode"], message["error"]["httpCode"])


@pytest.mark.parametrize("content_type", [SSE, "application/json"])
async def test_what_breaks_off_never_looks_whole(content_type: str) -> None:
    """After an error there is no further message."""
    client = Client()
    sink = client.sink()
    await sink.begin(200, of(content_type), NATIVE)
    await sink.write(b"data: 1\n\n")
    await sink.interrupt(GatewayError(Reason.UPSTREAM_CUT, "cut"), [])
    await sink.end()

    assert "error" == client.types[-1]
    assert "done" not in client.types
    assert ("e1", 502) == (
        client.messages[-1]["metadata"]["eventId"], client.messages[-1]["metadata"]["status"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "event_id"),
    [
        ({"eventId": "a"}, "a"),
        ([{}, {"eventId": "b"}, {"eventId": "c"}], "b"),
        ({"eventId": None}, ""),
        ([], ""),
        (None, ""),
    ],
)
def test_reading(request_: Any, event_id: str) -> None:
    """The id of a request stands in it, or in the first of its steps that has one."""
    message = orjson.dumps({"type": "universal.create", "request": request_})

    assert (event_id, request_) == frames.read(message)


@pytest.mark.parametrize(
    "message",
    [
        b"", b"\xff", b"1", b"{}", b'{"type":"universal.created"}',
        b'{"type":"universal.create","request":{"eventId":1}}',
        b'{"type":"universal.create","request":{"eventId":"' + b"x" * 129 + b'"}}',
    ],
)  # fmt: skip
def test_messages_that_make_no_sense(message: bytes) -> None:
    """They are refused."""
    with pytest.raises(GatewayError) as caught:
        frames.read(message)

    assert Reason.INVALID_REQUEST == caught.value.reason


@pytest.mark.parametrize(
    ("fields", "token", "chosen"),
    [
        ([], "", ()),
        (["cf-aig-authorization.t1"], "t1", ("cf-aig-authorization.t1",)),
        (["cf-aig-authorization.t1, mine"], "t1", ("mine",)),
        (["mine,cf-aig-authorization.t1,other"], "t1", ("mine",)),
        (["mine", "cf-aig-authorization.t1"], "t1", ("mine",)),
        (["cf-aig-authorization.t1", "mine"], "t1", ("cf-aig-authorization.t1",)),
        (["mine"], "", ("mine",)),
    ],
)
def test_tokens_among_subprotocols(fields: list[str], token: str, chosen: tuple[str, ...]) -> None:
    """Something that was offered is chosen, and a token only where there is nothing else."""
    assert (token, chosen) == (offered_token(fields), choose(fields))
