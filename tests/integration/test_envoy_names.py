"""Edges behind a host name whose addresses change, as pods behind a headless Service do."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from tests.fakes.front_door import running_front_door
from tests.fakes.name_server import NameServer, name_server
from tests.fakes.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

OLD, NEW = "127.0.0.2", "127.0.0.3"


@dataclass(slots=True)
class Pod:
    """An edge at an address of its own, which streams until it may end."""

    address: str
    ready: bool = True
    checked: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Say who answers."""
        if request.path == "/healthz":
            if self.ready:
                self.checked.set()
            return web.Response(status=200 if self.ready else 503)
        response = web.StreamResponse(headers={"x-pod": self.address})
        await response.prepare(request)
        if request.path == "/stream":
            await response.write(b"begin ")
            await self.release.wait()
        await response.write(b"end")
        return response


@asynccontextmanager
async def pod(address: str, port: int, *, ready: bool = True) -> AsyncIterator[Pod]:
    """Serve at an address."""
    served = Pod(address, ready)
    runner = web.ServerRunner(web.Server(served.answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, address, port).start()
    try:
        yield served
    finally:
        await runner.cleanup()


def resolving_with(server: NameServer) -> str:
    """Give the piece of configuration by which Envoy asks this server instead of the machine's."""
    kind = "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
    address = f"{{socket_address: {{address: 127.0.0.1, port_value: {server.port}}}}}"
    config = f'{{"@type": {kind}, resolvers: [{address}]}}'
    return (
        f"\ntyped_dns_resolver_config: {{name: envoy.network.dns_resolver.cares, typed_config: {config}}}\n"
    )


async def test_a_pod_is_replaced(tmp_path: Path) -> None:
    """A new pod gets requests once it is well; the old one keeps its stream though it is gone from DNS."""
    port = free_port()
    async with (
        name_server(OLD) as names,
        pod(OLD, port) as old,
        pod(NEW, port, ready=False) as new,
        running_front_door(tmp_path, edge_http=(f"edge.test:{port}",), extra=resolving_with(names)) as door,
    ):

        async def who(path: str = "/v1/x") -> str:
            async with door.http.get(door.url + path) as answer:
                assert (200, b"end") == (answer.status, await answer.read())
                return answer.headers["x-pod"]

        stream = await door.http.get(door.url + "/stream")
        assert await stream.content.readany() == b"begin "
        names.addresses = (OLD, NEW)
        before = {await who() for _ in range(20)}
        new.ready = True
        await asyncio.wait_for(new.checked.wait(), 15)
        # As a pod that stops: not ready first, then gone from DNS, and all the while it has its stream.
        old.ready = False
        names.addresses = (NEW,)
        async with asyncio.timeout(15):
            while f"{OLD}:{port}" in await door.admin("/clusters"):
                assert {OLD, NEW} >= {await who()}
                await asyncio.sleep(0.05)
        after = {await who() for _ in range(20)}
        old.release.set()
        rest = await stream.read()

    assert ({OLD}, {NEW}, b"end") == (before, after, rest)


async def test_a_broken_resolver_empties_nothing(tmp_path: Path) -> None:
    """When the name is not known any more, edges that are well are still asked."""
    port = free_port()
    async with (
        name_server(OLD) as names,
        pod(OLD, port),
        running_front_door(tmp_path, edge_http=(f"edge.test:{port}",), extra=resolving_with(names)) as door,
    ):
        names.addresses = ()
        await asyncio.sleep(2.5)  # the time of two more questions
        async with door.http.get(door.url + "/v1/x") as answer:
            assert 200 == answer.status
