"""The typed front door where a client, or what it asks for, is awkward: inline and over a socket."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import grpc
import grpc.aio
import orjson
import pytest

from headrace.inference.v1 import inference_service_pb2 as pb
from headrace.inference.v1 import inference_service_pb2_grpc
from headrace.ledger.v1 import log_entry_pb2
from kit.errors import GatewayError, Reason
from kit.rpc.client import connect
from kit.rpc.endpoint import endpoints
from kit.rpc.server import RpcServer
from kit.telemetry.tracing import Tracing
from services.edge.inference.sinks import QueueSink
from tests.fakes.peers import TOKEN, Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

METADATA = (("authorization", f"Bearer {TOKEN}"),)
MODEL = "openai/模型 100%"
EVENT = b'data: {"choices":[{"delta":{"content":"' + b"x" * 65536 + b'"}}]}\n\n'
both = pytest.mark.parametrize("topology", ["inline", "split"])


def _request(model: str = "openai/gpt-x") -> pb.ChatRequest:
    return pb.ChatRequest(model=model, messages=[pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="hi")])])


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path) as found:
        yield found


@asynccontextmanager
async def _served(peers: Peers) -> AsyncIterator[str]:
    """Serve the edge's services on a socket."""
    found = [each for binding in peers.service.bindings for each in endpoints(binding, Tracing("edge"))]
    with tempfile.TemporaryDirectory(prefix="hr-") as directory:
        address = f"unix:{Path(directory) / 'e.sock'}"
        server = RpcServer(found, max_message_bytes=1 << 22)
        await server.start([address])
        try:
            yield address
        finally:
            await server.stop(0)


@asynccontextmanager
async def _stub(peers: Peers, topology: str) -> AsyncIterator[Any]:
    if topology == "inline":
        yield inference_service_pb2_grpc.InferenceServiceStub(peers.runtime.channel("edge"))
        return
    async with _served(peers) as address:
        channel = connect(
            address, service="edge", caller="cli", tracing=Tracing("cli"), max_message_bytes=1 << 22
        )
        async with channel:
            yield inference_service_pb2_grpc.InferenceServiceStub(channel)


def _running() -> list[str]:
    """Give the tasks that run requests of streaming callers."""
    names = (getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())
    return [name for name in names if name.startswith("InferenceServicer.")]


class _Flood:
    """A provider's stream that never ends, and how much of it was taken."""

    def __init__(self) -> None:
        self.taken = 0

    def script(self) -> list[Any]:
        return [head(200, "text/event-stream"), *([chunk(EVENT), self._count] * 5000), tail()]

    async def _count(self) -> None:
        self.taken += 1
        await asyncio.sleep(0)

    async def stalled(self) -> None:
        """Wait until nothing is taken any more."""
        before = -1
        while before != self.taken or not self.taken:
            before = self.taken
            await asyncio.sleep(0.2)


@both
@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_client_that_leaves_without_reading_leaves_nothing_behind(
    peers: Peers, topology: str, how: str
) -> None:
    """A stream that its client does not read waits; when the client goes, everything behind it ends."""
    flood = _Flood()
    peers.provider.script = flood.script()
    leave = asyncio.Event()

    async def consume(stub: Any) -> None:
        async with aclosing(stub.ChatStream(_request(), metadata=METADATA)) as stream:
            await anext(stream)
            await leave.wait()

    async with _stub(peers, topology) as stub:
        consumer = asyncio.create_task(consume(stub))
        async with asyncio.timeout(20):
            await flood.stalled()
        assert ["InferenceServicer._run"] == _running()
        if how == "closed":
            leave.set()
        else:
            consumer.cancel()
        done, _ = await asyncio.wait((consumer,), timeout=5)
        assert {consumer} == done
        await asyncio.wait_for(peers.provider.closed.wait(), 5)
        async with asyncio.timeout(5):
            while _running():  # noqa: ASYNC110 - the tasks are not ours to await
                await asyncio.sleep(0.01)

    assert log_entry_pb2.OUTCOME_DISCONNECTED == (await peers.entry()).outcome
    assert flood.taken < 4000


@both
async def test_error_gets_past_a_client_that_reads_slowly(peers: Peers, topology: str) -> None:
    """A stream that breaks off with much of it unread gives what there is, then the error."""
    pieces = [chunk(EVENT)] * 40
    peers.provider.script = [
        head(200, "text/event-stream"), *pieces, GatewayError(Reason.UPSTREAM_CUT, "cut")
    ]  # fmt: skip
    got: list[Any] = []
    async with _stub(peers, topology) as stub:
        with pytest.raises(GatewayError) as caught:
            await _read(stub.ChatStream(_request(), metadata=METADATA), got)

    assert (40, Reason.UPSTREAM_CUT) == (len(got), caught.value.reason)
    assert [] == _running()


async def test_sink_ends_without_being_read() -> None:
    """What ends an answer never waits, however full the sink is, and comes after what was written."""
    sink = QueueSink()
    writing = asyncio.create_task(_fill(sink))
    await asyncio.sleep(0.01)
    assert not writing.done()
    writing.cancel()
    async with asyncio.timeout(1):
        await sink.broken(GatewayError(Reason.UPSTREAM_CUT, "cut"))
        sink.close()
    got: list[bytes] = []
    with pytest.raises(GatewayError):
        await _read(sink.pieces(), got)

    assert [b"x"] * 16 == got


async def _read(pieces: AsyncIterator[Any], got: list[Any]) -> None:
    async for piece in pieces:
        got.append(piece)
        await asyncio.sleep(0.001)


async def _fill(sink: QueueSink) -> None:
    while True:
        await sink.write(b"x")


@pytest.mark.parametrize("rpc", ["Chat", "ChatStream", "Embed"])
async def test_names_that_are_not_ascii_are_told_encoded(peers: Peers, rpc: str) -> None:
    """A model of any name is answered; in the answer's metadata its name is percent-encoded."""
    answer = {"choices": [{"message": {"content": "Hello"}}], "data": [{"embedding": [1.0]}]}
    peers.provider.script = [head(), chunk(orjson.dumps(answer)), tail()]
    if rpc == "ChatStream":
        peers.provider.script = [head(200, "text/event-stream"), chunk(EVENT), tail()]
    request = pb.EmbedRequest(model=MODEL, inputs=["hi"]) if rpc == "Embed" else _request(MODEL)
    async with _served(peers) as address, grpc.aio.insecure_channel(address) as channel:
        stub = inference_service_pb2_grpc.InferenceServiceStub(channel)
        call: Any = getattr(stub, rpc)(request, metadata=METADATA)
        told = dict(await call.initial_metadata())
        if rpc == "ChatStream":
            assert 1 == len([piece async for piece in call])
        else:
            await call

    assert "%E6%A8%A1%E5%9E%8B 100%25" == told["cf-aig-model"]
    assert MODEL.removeprefix("openai/") == unquote(told["cf-aig-model"])
    assert "openai" == told["cf-aig-provider"]
