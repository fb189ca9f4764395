"""
Which addresses may be called that a client or an account chose, directly and through a proxy.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from kit.errors import GatewayError, Reason
from kit.secret import Secret
from services.providers.config import ProvidersConfig
from services.providers.guard import AddressGuard, GuardedResolver
from services.providers.upstream import Timeouts, Upstream, UpstreamRequest

if TYPE_CHECKING:
    from tests.fakes.upstream import FakeUpstream

TIMES = Timeouts(connect_s=2.0, first_byte_s=2.0, idle_s=2.0, total_s=4.0)
INNER = (
    "http://localhost:1/",
    "http://127.0.0.1:1/",
    "http://127.1:1/",
    "http://2130706433:1/",
    "http://0x7f.1:1/",
    "http://0177.0.0.1:1/",
    "http://[::1]:1/",
    "http://[::ffff:127.0.0.1]:1/",
    "http://[::ffff:0:7f00:1]:1/",
    "http://[64:ff9b::7f00:1]:1/",
    "http://[64:ff9b:1::7f00:1]:1/",
    "http://[2002:7f00:1::]:1/",
    "http://[fe80::1%25lo]:1/",
    "http://169.254.169.254/",
    "http://192.0.0.192/",
    "http://168.63.129.16/",
    "http://100.64.0.1/",
)


def request(url: str, *, guarded: bool = True) -> UpstreamRequest:
    """Ask for something, with no body."""
    return UpstreamRequest(
        provider="p", method="GET", url=URL(url), headers=[], body=b"", timeouts=TIMES, guarded=guarded
    )


@pytest.mark.parametrize("url", INNER)
async def test_inner_address(url: str) -> None:
    """An address that is not public is refused in whatever form it is written."""
    upstream = Upstream(ProvidersConfig())
    try:
        with pytest.raises(GatewayError) as caught:
            await upstream.send(request(url))
    finally:
        await upstream.close()

    assert Reason.INVALID_REQUEST is caught.value.reason


@pytest.mark.parametrize("url", INNER)
async def test_inner_address_behind_a_proxy(url: str, upstream: FakeUpstream) -> None:
    """A proxy is not asked for an address that is not public, not even for one that only a name tells."""
    client = Upstream(ProvidersConfig(proxy_url=Secret(upstream.url), no_proxy=()))
    try:
        with pytest.raises(GatewayError) as caught:
            await client.send(request(url))
    finally:
        await client.close()

    assert (Reason.INVALID_REQUEST, []) == (caught.value.reason, upstream.journal)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_proxy_at_an_inner_address(host: str, upstream: FakeUpstream) -> None:
    """The operator's proxy may be in a network that is not public, also for calls that are guarded."""
    proxy = Secret(upstream.url.replace("127.0.0.1", host))
    client = Upstream(ProvidersConfig(proxy_url=proxy))
    try:
        answer = await client.send(request("http://192.88.99.1/v1/models"))
        answer.close()
    finally:
        await client.close()

    assert ["192.88.99.1"] == [received.header("host") for received in upstream.journal]


class _Stuck(AbstractResolver):
    """Never finds a name, as long as nobody says so."""

    def __init__(self) -> None:
        self.asked = 0
        self.over = asyncio.Event()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Wait."""
        del host, port, family
        self.asked += 1
        await self.over.wait()
        return []

    async def close(self) -> None:
        """Do nothing."""


async def test_names_that_are_never_found() -> None:
    """Names whose servers do not answer take two threads at most, also when nobody waits any more."""
    stuck = _Stuck()
    resolver = GuardedResolver(AddressGuard(), stuck)
    for _ in range(3):
        given_up = [asyncio.create_task(resolver.resolve(f"{number}.example")) for number in range(4)]
        await asyncio.sleep(0.01)
        for task in given_up:
            task.cancel()
        await asyncio.gather(*given_up, return_exceptions=True)
    while_stuck = stuck.asked
    stuck.over.set()

    assert (2, []) == (while_stuck, await resolver.resolve("a.example"))


async def test_names_that_are_left_to_the_proxy(upstream: FakeUpstream) -> None:
    """Where everything is allowed, a name that nobody here can look up goes to the proxy as it is."""
    client = Upstream(ProvidersConfig(proxy_url=Secret(upstream.url), allowed_networks=("0.0.0.0/0",)))
    try:
        answer = await client.send(request("http://provider.invalid/v1/models"))
        answer.close()
    finally:
        await client.close()

    assert ["provider.invalid"] == [received.header("host") for received in upstream.journal]
