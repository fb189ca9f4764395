"""A real Envoy with our configuration, in front of tiny backends on Unix sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
from aiohttp import web
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from deploy.envoy.binary import envoy_path
from deploy.envoy.render import FrontDoor, files, render
from tests.fakes.ports import free_port

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

SERVICES = ("auth", "router", "cache", "ledger", "providers")


@dataclass(slots=True)
class FakeEdge:
    """
    An HTTP server on a Unix socket that answers as it is told and remembers what it was asked.

    Attributes:
        path: Its socket.
        handler: Answers everything but `/healthz`.
        ready: Whether `/healthz` says 200.
        health_headers: Headers of what `/healthz` says.
        requests: What it was asked, `/healthz` apart.
    """

    path: Path
    handler: Handler
    ready: bool = True
    health_headers: dict[str, str] = field(default_factory=dict)
    requests: list[web.BaseRequest] = field(default_factory=list)
    _runner: web.ServerRunner | None = None

    async def start(self) -> None:
        """Begin to listen."""
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.path)).start()

    async def stop(self) -> None:
        """Stop listening, as a killed process does: the socket's file stays."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/healthz":
            return web.Response(status=200 if self.ready else 503, headers=self.health_headers)
        self.requests.append(request)
        return await self.handler(request)


async def say_hello(request: web.BaseRequest) -> web.StreamResponse:
    """Answer with the body that came, or a greeting."""
    body = await request.read()
    return web.Response(body=body or b"hello", headers={"server": "fake-edge", "x-from": "edge"})


class EchoService(grpc.GenericRpcHandler):
    """Answers any unary call with the service's name and the metadata that came, as JSON."""

    def __init__(self, name: str) -> None:
        """Take the name to answer with."""
        self._name = name

    def service(self, call: Any) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Take every call, the health service's apart."""
        if call.method.startswith("/grpc.health."):
            return None
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        metadata = [(key, str(value)) for key, value in context.invocation_metadata() or ()]
        return json.dumps({"service": self._name, "metadata": metadata, "size": len(request)}).encode()


@asynccontextmanager
async def fake_grpc_service(name: str, address: str) -> AsyncIterator[None]:
    """Serve `EchoService` and the health service at an address."""
    server = grpc.aio.server()
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    server.add_generic_rpc_handlers((EchoService(name),))
    server.add_insecure_port(address)
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)


@dataclass(slots=True)
class RunningFrontDoor:
    """
    An Envoy that runs, and what is behind it.

    Attributes:
        front: How it was configured.
        process: Its process.
        edges: The edges behind it.
        http: A client session for its HTTP port.
        log_path: Its access log.
    """

    front: FrontDoor
    process: asyncio.subprocess.Process
    edges: list[FakeEdge]
    http: aiohttp.ClientSession
    log_path: Path

    @property
    def edge(self) -> FakeEdge:
        """The first edge."""
        return self.edges[0]

    @property
    def url(self) -> str:
        """Base URL of the HTTP port."""
        return f"http://127.0.0.1:{self.front.http_port}"

    @property
    def tls_url(self) -> str:
        """Base URL of the port for TLS."""
        assert self.front.public_tls is not None
        return f"https://localhost:{self.front.public_tls.port}"

    @property
    def grpc_tls_address(self) -> str:
        """Target of the port for gRPC with TLS."""
        assert self.front.public_tls is not None
        return f"localhost:{self.front.public_tls.grpc_port}"

    @property
    def grpc_address(self) -> str:
        """Target of the gRPC port."""
        return f"127.0.0.1:{self.front.grpc_port}"

    async def access_log(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many access log entries are written, and give them."""
        async with asyncio.timeout(15):
            while True:
                lines = self.log_path.read_text().splitlines() if self.log_path.exists() else []
                if len(lines) >= count:
                    return [json.loads(line) for line in lines]
                await asyncio.sleep(0.05)

    async def admin(self, path: str) -> str:
        """Ask Envoy's admin interface."""
        connector = aiohttp.UnixConnector(str(self.front.admin_socket))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"http://envoy{path}") as answer,
        ):
            return await answer.text()

    async def raw(self, request: bytes) -> bytes:
        """Send bytes as they are to the HTTP port, and give all that comes until the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.front.http_port)
        try:
            writer.write(request)
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()


def describe(directory: Path, *, edges: int = 1, **changes: Any) -> FrontDoor:
    """Describe a front door whose sockets lie in a directory and whose ports are free now."""
    front = FrontDoor(
        host="127.0.0.1",
        http_port=free_port(),
        grpc_port=free_port(),
        edge_http=tuple(f"unix:{directory}/edge-{index}-http.sock" for index in range(edges)),
        edge_grpc=tuple(f"unix:{directory}/edge-{index}-grpc.sock" for index in range(edges)),
        auth=(f"unix:{directory}/auth.sock",),
        router=(f"unix:{directory}/router.sock",),
        cache=(f"unix:{directory}/cache.sock",),
        ledger=(f"unix:{directory}/ledger.sock",),
        providers=(f"unix:{directory}/providers.sock",),
        admin_socket=directory / "envoy-admin.sock",
        run_dir=directory,
        access_log_path=str(directory / "access.log"),
        connect_retries=3,
    )
    return replace(front, **changes)


async def launch(front: FrontDoor, directory: Path, extra: str = "") -> asyncio.subprocess.Process:
    """Start Envoy, without waiting for anything, with a piece of configuration of the test's own."""
    config = directory / "envoy.yaml"
    for path, text in {**files(front), config: render(front) + extra}.items():
        path.write_text(text)
    options = ("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
    flush = ("--file-flush-interval-msec", "50")
    log = (directory / "envoy.log").open("wb")
    try:
        return await asyncio.create_subprocess_exec(
            str(envoy_path()), "-c", str(config), *options, *flush, stdout=log, stderr=log
        )
    finally:
        log.close()


@asynccontextmanager
async def running_front_door(
    directory: Path,
    *,
    edges: int = 1,
    handler: Handler = say_hello,
    services: bool = False,
    extra: str = "",
    **changes: Any,
) -> AsyncIterator[RunningFrontDoor]:
    """
    Run Envoy with backends behind it.

    Args:
        directory: Where sockets and logs go.
        edges: How many edges there are.
        handler: What the edges answer with.
        services: Whether gRPC backends run too.
        extra: A piece of configuration of the test's own.
        **changes: Fields of `FrontDoor` that differ from `describe`.
    """
    front = describe(directory, edges=edges, **changes)
    async with AsyncExitStack() as stack:
        backends = []
        for address in front.edge_http:
            if not address.startswith("unix:"):
                continue  # the test serves it
            edge = FakeEdge(Path(address.removeprefix("unix:")), handler)
            await edge.start()
            stack.push_async_callback(edge.stop)
            backends.append(edge)
        if services:
            targets = [(name, getattr(front, name)[0]) for name in SERVICES]
            for name, address in [("edge", front.edge_grpc[0]), *targets]:
                await stack.enter_async_context(fake_grpc_service(name, address))
        process = await launch(front, directory, extra)
        stack.push_async_callback(_end, process)
        session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        door = RunningFrontDoor(front, process, backends, session, directory / "access.log")
        await _wait_until_live(door)
        yield door


async def _wait_until_live(door: RunningFrontDoor) -> None:
    async with asyncio.timeout(20):
        while True:
            if door.process.returncode is not None:
                log = Path(door.log_path).with_name("envoy.log").read_text()
                raise AssertionError(f"Envoy ended: {log}")
            try:
                if "LIVE" in await door.admin("/ready"):
                    return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.02)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), 5)
    except TimeoutError:
        process.kill()
        await process.wait()
