"""
Replicas of a service on addresses of the loopback network, in this process or in one that can be killed.

    python replicas.py <address>        serves until it is killed, and says what each call asked for
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

# As in `services/__main__.py`; read when gRPC is imported.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")

from headrace.auth.v1 import auth_service_pb2 as pb
from headrace.auth.v1 import auth_service_pb2_grpc, credential_pb2, credential_pb2_grpc
from kit.errors import GatewayError, Reason
from kit.rpc.caller import CallerRule
from kit.rpc.client import connect
from kit.rpc.endpoint import endpoints
from kit.rpc.server import RpcServer
from kit.service import Binding
from kit.telemetry.tracing import Tracing
from tests.fakes.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio

__all__ = ["HANG", "Replica", "addresses", "channel_to", "killable", "replica", "said"]

ROOT: Final = Path(__file__).resolve().parents[2]
HANG: Final = "hang"
_MAX_BYTES: Final = 1 << 20


class Replica(auth_service_pb2_grpc.AuthServiceServicer, credential_pb2_grpc.CredentialServiceServicer):
    """
    Answers for auth, and counts.

    Attributes:
        address: Where.
        calls: How many calls came here.
        failing: Why calls fail; None: they do not.
        server: Serves it.
    """

    def __init__(self, address: str, *, max_age_s: float = 3600.0, tells: bool = False) -> None:
        self.address = address
        self.calls = 0
        self.failing: Reason | None = None
        self._tells = tells
        self.let_go = asyncio.Event()
        bindings = (
            Binding(
                service="headrace.auth.v1.AuthService",
                add=auth_service_pb2_grpc.add_AuthServiceServicer_to_server,
                servicer=self,
                callers=frozenset({"edge"}),
            ),
            Binding(
                service="headrace.auth.v1.CredentialService",
                add=credential_pb2_grpc.add_CredentialServiceServicer_to_server,
                servicer=self,
                callers=frozenset({"edge"}),
            ),
        )
        rule = CallerRule(trust_network=True)
        found = [each for binding in bindings for each in endpoints(binding, Tracing("auth"), callers=rule)]
        self.server = RpcServer(found, max_message_bytes=_MAX_BYTES, max_age_s=max_age_s)

    async def Authenticate(self, request: pb.AuthenticateRequest, context: Any) -> pb.AuthenticateResponse:
        """Answer, or wait to be let go."""
        await self._called(request.token)
        return pb.AuthenticateResponse()

    async def ResolveCredential(
        self, request: credential_pb2.ResolveCredentialRequest, context: Any
    ) -> credential_pb2.ResolveCredentialResponse:
        """Answer."""
        await self._called("")
        return credential_pb2.ResolveCredentialResponse()

    async def ReportKeys(
        self, request: credential_pb2.ReportKeysRequest, context: Any
    ) -> credential_pb2.ReportKeysResponse:
        """As `Authenticate`, for what must not happen twice."""
        await self._called(HANG if request.reports else "")
        return credential_pb2.ReportKeysResponse()

    async def Watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.WatchResponse]:
        """Say something at once, and once more when it is let go."""
        self.calls += 1
        yield pb.WatchResponse()
        await self.let_go.wait()
        yield pb.WatchResponse()

    async def _called(self, word: str) -> None:
        self.calls += 1
        if self._tells:
            sys.stdout.write(f"{word}\n")
            sys.stdout.flush()
        if self.failing is not None:
            raise GatewayError(self.failing, "It is not well.")
        if word == HANG:
            await self.let_go.wait()


@asynccontextmanager
async def replica(address: str, *, max_age_s: float = 3600.0) -> AsyncIterator[Replica]:
    """Serve a replica in this process."""
    made = Replica(address, max_age_s=max_age_s)
    await made.server.start([address])
    try:
        yield made
    finally:
        made.let_go.set()
        await made.server.stop(0)


@asynccontextmanager
async def killable(address: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Serve a replica in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        address,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "gen")))},
    )
    try:
        await said(process, "serving")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def said(process: asyncio.subprocess.Process, word: str) -> None:
    """Wait until a process says a word, on a line of its own."""
    assert process.stdout is not None
    async with asyncio.timeout(30):
        while (line := await process.stdout.readline()).decode().strip() != word:
            assert line, f"it ended without {word!r}"


@asynccontextmanager
async def channel_to(*addresses: str) -> AsyncIterator[grpc.aio.Channel]:
    """Open a channel to several replicas, or to a name that stands for them."""
    channel = connect(
        addresses[0] if "/" in addresses[0] else f"ipv4:{','.join(addresses)}",
        service="auth",
        caller="edge",
        tracing=Tracing("edge"),
        max_message_bytes=_MAX_BYTES,
    )
    try:
        yield channel
    finally:
        await channel.close()


def addresses(count: int) -> list[str]:
    """Give addresses of different hosts, each on a port that is free now."""
    port = free_port()
    return [f"127.0.0.{host}:{port}" for host in range(2, 2 + count)]


async def _serve(address: str) -> None:
    made = Replica(address, tells=True)
    await made.server.start([address])
    sys.stdout.write("serving\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
