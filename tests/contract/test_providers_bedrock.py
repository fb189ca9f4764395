"""
Bedrock through the provider service: binary streams, relayed and translated, and boto3 on the other side.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web
from botocore.eventstream import EventStreamBuffer

from tests.fakes import eventstream as aws
from tests.fakes.provider_calls import chat_request, failure_class, native_request, provider_harness, text_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SAID = aws.said(["Hel", "lo ", "wörld"])
STREAM = "bedrock-runtime/us-west-2/model/m/converse-stream"
KEY = orjson.dumps(
    {"accessKeyId": "AKIDEXAMPLE12345678", "secretAccessKey": "verysecret", "region": "eu-central-1"}
).decode()


class Bedrock:
    """Answers every call with the same bytes, in pieces, and keeps what it was asked."""

    def __init__(self, answer: bytes, *, content_type: str, piece: int) -> None:
        self.answer = answer
        self.content_type = content_type
        self.piece = piece
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.held = asyncio.Event()
        self.held.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer."""
        received = [(name.lower(), value) for name, value in request.headers.items()]
        assert len(dict(received)) == len(received)
        self.asked.append((request.raw_path, dict(received), await request.read()))
        headers = {"content-type": self.content_type, "x-amzn-requestid": "req-1"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for at in range(0, len(self.answer), self.piece):
            await response.write(self.answer[at : at + self.piece])
            await self.held.wait()
        await response.write_eof()
        return response


@asynccontextmanager
async def bedrock(
    answer: bytes, *, content_type: str = aws.CONTENT_TYPE, piece: int = 10**6
) -> AsyncIterator[tuple[Bedrock, str]]:
    """Run a stand-in."""
    stand_in = Bedrock(answer, content_type=content_type, piece=piece)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stand_in.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield stand_in, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        stand_in.held.set()
        await runner.cleanup()


@pytest.mark.parametrize("piece", [1, 17, 10**6])
async def test_a_native_stream_is_relayed_exactly(piece: int) -> None:
    """A binary stream arrives byte for byte with its own content type, and is metered."""
    async with bedrock(SAID, piece=piece) as (_, url), provider_harness(url) as providers:
        invoked = await providers.invoke(native_request("aws-bedrock", STREAM, body=b"{}"))

    assert (invoked.body, invoked.header("content-type")) == (SAID, [aws.CONTENT_TYPE])
    assert (invoked.ended.usage.input_tokens, invoked.ended.usage.output_tokens) == (11, 3)
    assert invoked.ended.finish_reason == "stop"
    buffer = EventStreamBuffer()
    buffer.add_data(invoked.body)
    assert len(list(buffer)) == 7


async def test_a_native_stream_is_not_held_back() -> None:
    """The first content is passed on while the provider is still writing the next."""
    first = SAID.index(b"lo ")
    async with bedrock(SAID, piece=first) as (stand_in, url), provider_harness(url) as providers:
        stand_in.held.clear()
        request = native_request("aws-bedrock", STREAM, body=b"{}")
        responses: Any = providers.servicer.Invoke(request, None)
        async with asyncio.timeout(5):
            message = await anext(responses)
        got = message.chunk.data
        assert SAID[:first] == got
        stand_in.held.set()
        async for message in responses:
            got += message.chunk.data

    assert (message.HasField("tail") or got == SAID, got) == (True, SAID)


async def test_a_native_stream_that_begins_with_an_exception() -> None:
    """A stream whose first frame is an exception is a failure; its bytes are the client's all the same."""
    data = aws.exception("throttlingException", "Slow down")
    async with bedrock(data) as (_, url), provider_harness(url) as providers:
        invoked = await providers.invoke(native_request("aws-bedrock", STREAM, body=b"{}"))

    assert (invoked.body, failure_class(invoked.started.failure)) == (data, "RATE_LIMIT")


@pytest.mark.parametrize("piece", [1, 17, 10**6])
async def test_a_stream_is_translated(piece: int) -> None:
    """Case 111: however the frames are split on the wire, the client gets its own dialect's events."""
    async with bedrock(SAID, piece=piece) as (_, url), provider_harness(url) as providers:
        invoked = await providers.invoke(chat_request("aws-bedrock", "m-1", stream=True))

    assert invoked.header("content-type") == ["text/event-stream; charset=utf-8"]
    assert (text_of(invoked), invoked.events[-1], invoked.events[0]["id"]) == (
        "Hello wörld",
        "[DONE]",
        "req-1",
    )
    assert invoked.ended.usage.output_tokens == 3


async def test_a_stream_that_begins_with_an_exception_is_an_error() -> None:
    """Case 129: throttling before the first content is an error with its status, and no stream."""
    data = aws.exception("throttlingException", "Slow down")
    async with bedrock(data) as (_, url), provider_harness(url) as providers:
        invoked = await providers.invoke(chat_request("aws-bedrock", "m-1", stream=True))

    assert (invoked.started.status, invoked.json["error"]["message"]) == (429, "Slow down")


async def test_a_whole_answer_has_awss_id() -> None:
    """Case 124: the id of an answer is that of AWS's header, and its model the one that was asked for."""
    body = {"output": {"message": {"content": [{"text": "Hi"}]}}, "stopReason": "end_turn"}
    made = bedrock(orjson.dumps(body), content_type="application/json")
    async with made as (_, url), provider_harness(url) as providers:
        invoked = await providers.invoke(chat_request("aws-bedrock", "m-1"))

    assert (invoked.json["id"], invoked.json["model"]) == ("req-1", "amazon.nova-m-1")


async def test_a_signed_call_arrives_as_it_was_signed() -> None:
    """Case 127: the host, the headers and the body that arrive are those that the signature covers."""
    async with bedrock(SAID) as (stand_in, url), provider_harness(url, operator_key=KEY) as providers:
        await providers.invoke(native_request("aws-bedrock", STREAM, body=b'{ "a":1 }', headers={}))
    path, headers, body = stand_in.asked[0]

    assert (path, body, headers["host"]) == ("/model/m/converse-stream", b'{ "a":1 }', url[7:])
    assert "SignedHeaders=host;x-amz-date" in headers["authorization"]
    assert "verysecret" not in str(headers)


async def test_a_client_that_signs_is_asked_to_accept_what_it_signed() -> None:
    """Case 127: what a client's signature says that it accepts goes on once, and as it was."""
    signature = "AWS4-HMAC-SHA256 Credential=x, SignedHeaders=accept-encoding;host, Signature=0"
    async with bedrock(SAID) as (stand_in, url), provider_harness(url) as providers:
        given = {"authorization": signature, "accept-encoding": "gzip, odd"}
        await providers.invoke(native_request("aws-bedrock", STREAM, body=b"{}", headers=given))
    _, headers, _ = stand_in.asked[0]

    assert (headers["accept-encoding"], headers["authorization"]) == ("gzip, odd", signature)
