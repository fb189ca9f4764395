"""A peer that is stopped, and does not close its connections, is found out; a living one is left alone."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headrace.auth.v1 import auth_service_pb2 as pb
from headrace.auth.v1 import auth_service_pb2_grpc
from kit.errors import GatewayError, Reason
from kit.rpc.client import KEEPALIVE_S, KEEPALIVE_TIMEOUT_S, channel_options, connect
from kit.telemetry.tracing import Tracing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).resolve().parents[2]

# Answers `Watch` once and then holds it open; says on standard output when a watch begins and ends.
SERVER = """
import asyncio, sys

from headrace.auth.v1 import auth_service_pb2 as pb
from headrace.auth.v1 import auth_service_pb2_grpc
from kit.rpc.endpoint import endpoints
from kit.rpc.server import RpcServer
from kit.service import Binding
from kit.telemetry.tracing import Tracing


class Auth(auth_service_pb2_grpc.AuthServiceServicer):
    async def Watch(self, request, context):
        print("begun", flush=True)
        try:
            yield pb.WatchResponse()
            await asyncio.Event().wait()
        finally:
            print("ended", flush=True)


async def main():
    binding = Binding(
        service="headrace.auth.v1.AuthService",
        add=auth_service_pb2_grpc.add_AuthServiceServicer_to_server,
        servicer=Auth(),
        callers=frozenset({"edge"}),
    )
    server = RpcServer(
        endpoints(binding, Tracing("auth")),
        max_message_bytes=1 << 20,
        keepalive_s=float(sys.argv[2]),
        keepalive_timeout_s=1.0,
    )
    await server.start([sys.argv[1]])
    print("serving", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
"""

CLIENT = """
import asyncio, sys

from headrace.auth.v1 import auth_service_pb2 as pb
from headrace.auth.v1 import auth_service_pb2_grpc
from kit.rpc.client import connect
from kit.telemetry.tracing import Tracing


async def main():
    channel = connect(
        sys.argv[1], service="auth", caller="edge", tracing=Tracing("edge"), max_message_bytes=1 << 20
    )
    async for _ in auth_service_pb2_grpc.AuthServiceStub(channel).Watch(pb.WatchRequest()):
        pass


asyncio.run(main())
"""


@asynccontextmanager
async def _python(code: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "gen")))},
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def _says(process: asyncio.subprocess.Process, word: str, within_s: float = 20.0) -> None:
    assert process.stdout is not None
    async with asyncio.timeout(within_s):
        assert word == (await process.stdout.readline()).decode().strip()


@asynccontextmanager
async def _watch(address: str, keepalive_s: float) -> AsyncIterator[Any]:
    channel = connect(
        address,
        service="auth",
        caller="edge",
        tracing=Tracing("edge"),
        max_message_bytes=1 << 20,
        keepalive_s=keepalive_s,
        keepalive_timeout_s=0.5,
    )
    stub: Any = auth_service_pb2_grpc.AuthServiceStub(channel)
    async with channel, aclosing(stub.Watch(pb.WatchRequest())) as stream:
        await asyncio.wait_for(anext(stream), 10)
        yield stream


@pytest.fixture
def address() -> Any:
    with tempfile.TemporaryDirectory(prefix="hr-") as directory:
        yield f"unix:{Path(directory) / 'a.sock'}"


async def test_stopped_server_ends_a_watch(address: str) -> None:
    """A server that holds its connections and does nothing counts as away soon."""
    async with _python(SERVER, address, "60") as server:
        await _says(server, "serving")
        async with _watch(address, 0.2) as stream:
            server.send_signal(signal.SIGSTOP)
            since_s = time.monotonic()
            with pytest.raises(GatewayError) as caught:
                await asyncio.wait_for(anext(stream), 10)
            took_s = time.monotonic() - since_s

    assert Reason.SERVICE_UNAVAILABLE == caught.value.reason
    assert took_s < 5


async def test_stopped_client_is_let_go(address: str) -> None:
    """What a client that was stopped had asked for ends."""
    async with _python(SERVER, address, "0.3") as server:
        await _says(server, "serving")
        async with _python(CLIENT, address) as client:
            await _says(server, "begun")
            await asyncio.sleep(0.2)
            client.send_signal(signal.SIGSTOP)
            await _says(server, "ended", within_s=10)


async def test_pings_are_not_punished(address: str) -> None:
    """A quiet stream stays open through more pings than a server forgives when it does not want them."""
    async with _python(SERVER, address, "0.1") as server:
        await _says(server, "serving")
        async with _watch(address, 0.1) as stream:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(stream), 4)


def test_a_stopped_peer_is_found_out_within_twenty_seconds() -> None:
    """The intervals that are used when none are given."""
    options = dict(channel_options(1 << 20))

    assert KEEPALIVE_S + KEEPALIVE_TIMEOUT_S < 20
    assert (10_000, 5_000) == (options["grpc.keepalive_time_ms"], options["grpc.keepalive_timeout_ms"])
