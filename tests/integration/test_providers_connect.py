"""Sessions over real gRPC: providers as their own process runs them, on the way to a provider."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headrace.provider.v1 import provider_service_pb2 as pb
from headrace.provider.v1.provider_service_pb2_grpc import ProviderServiceStub
from kit.errors import GatewayError, Reason
from kit.rpc.server import RpcServer
from services.providers.app import build
from tests.fakes.key_vault import KeyVault
from tests.fakes.one_service import serve
from tests.fakes.provider_calls import native_request
from tests.fakes.realtime import FakeRealtime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes.one_service import OneService

KEY = "sk-stored-canary-0f4a91"
OPENING = pb.ConnectRequest(
    open=native_request("openai", "", method="GET", query="model=m", headers={}), subprotocols=["realtime"]
)


@pytest.fixture
async def upstream() -> AsyncIterator[FakeRealtime]:
    async with FakeRealtime() as server:
        yield server


@pytest.fixture
async def providers(tmp_path: Path, upstream: FakeRealtime) -> AsyncIterator[OneService]:
    run_dir = Path(tempfile.mkdtemp(prefix="hr-"))
    address = f"unix:{run_dir}/auth.sock"
    vault = KeyVault()
    vault.put("openai", KEY)
    server = RpcServer(vault.endpoints(), max_message_bytes=1 << 20)
    await server.start([address])
    settings = {
        "HEADRACE_DATA_DIR": str(tmp_path),
        "HEADRACE_PROVIDERS_ONLY": "openai",
        "HEADRACE_PROVIDER_OPENAI_BASE_URL": upstream.url,
    }
    try:
        async with serve(build, settings, name="providers", addresses={"auth": address}) as one:
            yield one
    finally:
        await server.stop(0.0)
        shutil.rmtree(run_dir, ignore_errors=True)


async def test_a_session(providers: OneService, upstream: FakeRealtime) -> None:
    """Frames come back in their order, and the client's close is answered by the provider's."""

    async def messages() -> AsyncIterator[pb.ConnectRequest]:
        yield OPENING
        for number in range(100):
            yield pb.ConnectRequest(frame=pb.Frame(data=b"%d" % number, binary=number % 2 == 0))
        await asyncio.wait_for(received.wait(), 5)
        yield pb.ConnectRequest(close=pb.Close(code=4002, reason="enough"))

    received = asyncio.Event()
    frames: list[tuple[bytes, bool]] = []
    ends: list[pb.Close] = []
    opened: list[pb.Opened] = []
    async with asyncio.timeout(10):
        async for answer in ProviderServiceStub(providers.channel("edge")).Connect(messages()):
            if answer.HasField("opened"):
                opened.append(answer.opened)
            if answer.HasField("frame"):
                frames.append((answer.frame.data, answer.frame.binary))
            if answer.HasField("close"):
                ends.append(answer.close)
            if len(frames) == 100:
                received.set()
        await upstream.ended.wait()

    assert [(101, "realtime", "m")] == [(each.status, each.subprotocol, each.served_model) for each in opened]
    assert [(b"%d" % number, number % 2 == 0) for number in range(100)] == frames
    assert [1000] == [each.code for each in ends]
    assert [4002] == upstream.closed
    assert f"Bearer {KEY}" == upstream.handshakes[0].headers["authorization"]


async def test_an_edge_that_goes_away(providers: OneService, upstream: FakeRealtime) -> None:
    """A call that is cancelled closes the provider's connection."""

    async def messages() -> AsyncIterator[pb.ConnectRequest]:
        yield OPENING
        await asyncio.Event().wait()

    answers: Any = ProviderServiceStub(providers.channel("edge")).Connect(messages())
    async with aclosing(answers):
        await anext(answers)
    await asyncio.wait_for(upstream.ended.wait(), 5)

    assert [1001] == upstream.closed


async def test_who_may_connect(providers: OneService, upstream: FakeRealtime) -> None:
    """Only an edge may: a call says whose key is used."""

    async def messages() -> AsyncIterator[pb.ConnectRequest]:
        yield OPENING

    for caller in ("cli", "external"):
        with pytest.raises(GatewayError) as caught:
            await anext(aiter(ProviderServiceStub(providers.channel(caller)).Connect(messages())))
        assert Reason.CALLER_NOT_ALLOWED is caught.value.reason

    assert [] == upstream.handshakes
