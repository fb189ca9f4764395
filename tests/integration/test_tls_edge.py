"""The edge's HTTP port between hosts: Envoy gets in, nobody else."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
import uvloop

from deploy.certificates import Authority, lay
from tests.fakes.edge_calls import ANSWER, AUTH, BODY, CHAT
from tests.fakes.peers import chunk, edge_between, head, tail
from tests.fakes.tls_world import SERVER, spiffe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.peers import Peers


class Door:
    """An edge with TLS, and those who knock."""

    def __init__(self, peers: Peers, authority: Authority, directory: Path) -> None:
        self.peers = peers
        self.authority = authority
        self._directory = directory
        self.url = peers.base.replace("http://", "https://")

    async def renew(self, files: dict[str, bytes]) -> None:
        """Replace the edge's certificates."""
        lay(self._directory / "edge", files)
        assert self.peers.runtime.tls is not None
        await self.peers.runtime.tls.refresh()

    async def knock(self, files: dict[str, bytes] | None, trusted: Authority | None = None) -> int | None:
        """Ask on a new connection; None: it is not let in."""
        context = self.context(files, trusted or self.authority)
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(connector=connector) as session:
            try:
                async with session.get(f"{self.url}/healthz") as response:
                    return response.status
            except aiohttp.ClientConnectionError:
                return None

    def context(self, files: dict[str, bytes] | None, trusted: Authority) -> ssl.SSLContext:
        """Make a client's side of TLS."""
        context = ssl.create_default_context(cadata=trusted.pem.decode())
        if files is not None:
            path = self._directory / "client.pem"
            path.write_bytes(files["tls.key"] + files["tls.crt"])
            context.load_cert_chain(path)
        return context


@asynccontextmanager
async def door(directory: Path) -> AsyncIterator[Door]:
    """Run an edge with TLS."""
    async with AsyncExitStack() as stack:
        authority = Authority.new()
        lay(directory / "edge", authority.issue(dns=[SERVER], uri=spiffe("edge")))
        peers = await stack.enter_async_context(edge_between(directory, tls_dir=str(directory / "edge")))
        yield Door(peers, authority, directory)


loops = pytest.mark.parametrize(
    "factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


@loops
def test_only_envoy_is_let_in(tmp_path: Path, factory: object) -> None:
    """Neither a service of ours, nor who shows nothing, nor who is of another authority, nor plain HTTP."""

    async def run() -> list[int | None]:
        async with door(tmp_path) as here:
            stranger = Authority.new()
            async with aiohttp.ClientSession() as session:
                with pytest.raises(aiohttp.ClientConnectionError):
                    await session.get(f"{here.peers.base}/healthz")
            return [
                await here.knock(here.authority.issue(uri=spiffe("envoy"))),
                await here.knock(here.authority.issue(uri=spiffe("edge"))),
                await here.knock(here.authority.issue(dns=["envoy"])),
                await here.knock(here.authority.issue(uri=[spiffe("envoy"), spiffe("edge")])),
                await here.knock(stranger.issue(uri=spiffe("envoy"))),
                await here.knock(None),
            ]

    with asyncio.Runner(loop_factory=factory) as runner:  # type: ignore[arg-type]  # either kind
        assert [200, None, None, None, None, None] == runner.run(run())


@loops
def test_new_connections_get_new_certificates(tmp_path: Path, factory: object) -> None:
    """Once the authority was replaced, the old one's certificates get no connection; open ones go on."""

    async def run() -> list[int | None]:
        async with door(tmp_path) as here:
            old, new = here.authority, Authority.new()
            context = here.context(old.issue(uri=spiffe("envoy")), old)
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=1)) as session:
                before = await session.get(f"{here.url}/healthz")
                await before.read()
                await here.renew(new.issue(dns=[SERVER], uri=spiffe("edge")))
                after = await session.get(f"{here.url}/healthz")
                await after.read()
            return [
                before.status,
                after.status,
                await here.knock(new.issue(uri=spiffe("envoy")), new),
                await here.knock(old.issue(uri=spiffe("envoy")), new),
                await here.knock(new.issue(uri=spiffe("envoy")), old),
            ]

    with asyncio.Runner(loop_factory=factory) as runner:  # type: ignore[arg-type]  # either kind
        assert [200, 200, 200, None, None] == runner.run(run())


async def test_envoy_says_where_a_request_is_from(tmp_path: Path) -> None:
    """The address that Envoy passes on is believed, as only Envoy can say one."""
    async with door(tmp_path) as here:
        here.peers.provider.script = [head(), chunk(ANSWER), tail()]
        here.peers.auth.restrictions.addresses.append("192.0.2.0/24")
        context = here.context(here.authority.issue(uri=spiffe("envoy")), here.authority)
        found = []
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            for address in ("192.0.2.77", "198.51.100.1"):
                headers = {**AUTH, "headrace-client-address": address}
                async with session.post(f"{here.url}{CHAT}", json=BODY, headers=headers) as response:
                    found.append(response.status)

    assert [200, 403] == found
