"""A service behind mutual TLS on a port of this machine, and callers with certificates of their own."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from deploy.certificates import Authority, lay
from headrace.auth.v1 import auth_service_pb2 as pb
from headrace.auth.v1 import auth_service_pb2_grpc
from kit.rpc.caller import CallerRule, parse_grants
from kit.rpc.client import connect
from kit.rpc.endpoint import endpoints
from kit.rpc.server import RpcServer
from kit.service import Binding
from kit.telemetry.tracing import Tracing
from kit.tls import TlsSource
from tests.fakes.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

__all__ = ["SERVER", "Auth", "TlsWorld", "spiffe", "tls_world"]

SERVER = "127.0.0.1"


def spiffe(name: str, domain: str = "headrace") -> str:
    """Give the identity of a service."""
    return f"spiffe://{domain}/{name}"


class Auth(auth_service_pb2_grpc.AuthServiceServicer):
    """Answers, counts on a stream, and remembers which certificates it saw."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()

    async def Authenticate(self, request: pb.AuthenticateRequest, context: Any) -> pb.AuthenticateResponse:
        """Answer."""
        self.seen.update(context.auth_context()["x509_pem_cert"])
        return pb.AuthenticateResponse(principal=pb.Principal(account_id=request.account_id))

    async def Watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.WatchResponse]:
        """Count, without an end."""
        generation = 0
        while True:
            generation += 1
            answer = pb.WatchResponse()
            answer.invalidation.generation = generation
            yield answer
            await asyncio.sleep(0.002)


class TlsWorld:
    """
    The server and its surroundings.

    Args:
        directory: Where certificates are laid.
        stack: Undoes what tests open.
    """

    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        self.authority = Authority.new()
        self.auth = Auth()
        self.target = f"{SERVER}:{free_port()}"
        self.server_dir = directory / "server"
        self._directory = directory
        self._stack = stack
        lay(self.server_dir, self.authority.issue(dns=[SERVER], uri=spiffe("auth")))
        self.server_tls = TlsSource(self.server_dir)

    async def serve(self, grants: Iterable[str] = ()) -> None:
        """Serve `AuthService` to the edge and to those with a grant."""
        binding = Binding(
            service="headrace.auth.v1.AuthService",
            add=auth_service_pb2_grpc.add_AuthServiceServicer_to_server,
            servicer=self.auth,
            callers=frozenset({"edge"}),
        )
        rule = CallerRule(trust_network=True, trust_domain="headrace", grants=parse_grants(grants))
        found = endpoints(binding, Tracing("auth"), callers=rule)
        server = RpcServer(found, max_message_bytes=1 << 20)
        await server.start([self.target], tls=self.server_tls)
        self._stack.push_async_callback(server.stop, 0)

    def source(self, name: str, files: dict[str, bytes]) -> TlsSource:
        """Lay certificates in a directory of that name, and take them from there."""
        lay(self._directory / name, files)
        return TlsSource(self._directory / name)

    def lay(self, name: str, files: dict[str, bytes]) -> None:
        """Replace the certificates of a directory."""
        lay(self._directory / name, files)

    def stub(self, tls: TlsSource | None, *, says: str = "edge") -> Any:
        """Give a stub of `AuthService`, on a channel of its own."""
        channel = connect(
            self.target,
            service="auth",
            caller=says,
            tracing=Tracing("test"),
            max_message_bytes=1 << 20,
            tls=tls,
        )
        self._stack.push_async_callback(channel.close)
        return auth_service_pb2_grpc.AuthServiceStub(channel)


@asynccontextmanager
async def tls_world(directory: Path, grants: Iterable[str] = ()) -> AsyncIterator[TlsWorld]:
    """Serve, and undo everything."""
    async with AsyncExitStack() as stack:
        world = TlsWorld(directory, stack)
        await world.serve(grants)
        yield world
