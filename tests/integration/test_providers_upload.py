"""Bodies that are sent on as they come: the provider service over real gRPC, in front of a fake upstream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from headrace.provider.v1 import provider_service_pb2 as pb
from headrace.provider.v1.provider_service_pb2_grpc import ProviderServiceStub
from kit.errors import GatewayError, Reason
from services.providers.app import build
from tests.fakes.one_service import serve
from tests.fakes.provider_calls import native_request, timeouts_message
from tests.fakes.upstream import FakeUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

PIECES = [b'{"model":"gpt","messages":[{"role":"user","content":"', b"x" * 300_000, b'"}]}']


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as server:
        yield server


@pytest.fixture
async def stub(upstream: FakeUpstream, tmp_path: Path) -> AsyncIterator[Any]:
    env = {
        "HEADRACE_DATA_DIR": str(tmp_path),
        "HEADRACE_PROVIDERS_ONLY": "openai",
        "HEADRACE_PROVIDER_OPENAI_BASE_URL": upstream.url,
    }
    async with serve(build, env) as one:
        yield ProviderServiceStub(one.channel("edge"))


async def messages(*, length: int | None = None, last: bool = True) -> AsyncIterator[pb.UploadRequest]:
    headers = {"authorization": "Bearer sk-test", "content-type": "application/json"}
    if length is not None:
        headers["content-length"] = str(length)
    yield pb.UploadRequest(invoke=native_request("openai", "v1/chat/completions", headers=headers))
    for data in PIECES:
        yield pb.UploadRequest(data=data)
    if last:
        yield pb.UploadRequest(last=True)


async def _collected(call: Any) -> list[pb.InvokeResponse]:
    return [part async for part in call]


@pytest.mark.parametrize("length", [None, len(b"".join(PIECES))])
async def test_a_body_in_pieces(upstream: FakeUpstream, stub: Any, length: int | None) -> None:
    """It arrives to the byte, with its length when the client told it, and the answer is as of any call."""
    parts = await _collected(stub.Upload(messages(length=length)))
    (received,) = upstream.journal

    assert (200, True) == (parts[0].head.status, parts[-1].HasField("tail"))
    assert b"".join(PIECES) == received.body
    assert (None if length is None else str(length)) == received.header("content-length")


async def _broken() -> AsyncIterator[pb.UploadRequest]:
    async for message in messages(last=False):
        yield message
    raise ValueError("the client is gone")


@pytest.mark.parametrize("broken", [_broken, lambda: messages(last=False)], ids=["cancelled", "ended"])
async def test_a_body_that_breaks_off(
    upstream: FakeUpstream, stub: Any, broken: Callable[[], AsyncIterator[pb.UploadRequest]]
) -> None:
    """The provider never takes what came for the whole, however the call ended."""
    with pytest.raises((GatewayError, asyncio.CancelledError)):
        await _collected(stub.Upload(broken()))
    await asyncio.sleep(0.2)

    assert upstream.journal == []


@pytest.mark.parametrize(
    "first",
    [
        pb.UploadRequest(data=b"x"),
        pb.UploadRequest(invoke=pb.InvokeRequest(provider="openai", model="m")),
    ],
    ids=["nothing asked", "to be translated"],
)
async def test_what_an_upload_must_begin_with(stub: Any, first: pb.UploadRequest) -> None:
    """Without what is asked, or with what has to be translated, nothing is sent."""

    async def only() -> AsyncIterator[pb.UploadRequest]:
        yield first

    with pytest.raises(GatewayError) as caught:
        await _collected(stub.Upload(only()))

    assert Reason.INVALID_REQUEST == caught.value.reason


async def test_upload_that_takes_longer_than_its_answer_may(tmp_path: Path) -> None:
    """The time to the first content counts from the last piece, however long the pieces took to come."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n")
        await asyncio.sleep(0.1)
        writer.write(b"{}")
        await writer.drain()
        writer.close()

    async def slow() -> AsyncIterator[pb.UploadRequest]:
        times = timeouts_message(first_byte=0.4)
        yield pb.UploadRequest(invoke=native_request("openai", "v1/files", timeouts=times))
        for _ in range(3):
            await asyncio.sleep(0.2)
            yield pb.UploadRequest(data=b"abc")
        yield pb.UploadRequest(last=True)

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        env = {
            "HEADRACE_DATA_DIR": str(tmp_path),
            "HEADRACE_PROVIDERS_ONLY": "openai",
            "HEADRACE_PROVIDER_OPENAI_BASE_URL": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
        }
        async with serve(build, env) as one:
            parts = await _collected(ProviderServiceStub(one.channel("edge")).Upload(slow()))

    assert b"{}" == b"".join(part.chunk.data for part in parts)
    assert not parts[-1].tail.HasField("failure")
