"""The admin endpoints, asked as a load balancer or a scraper asks them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import aiohttp
import orjson
import pytest

from kit.admin import AdminServer, Readiness
from kit.telemetry.metrics import new_registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


async def _well() -> None:
    """Nothing is wrong."""


async def _broken() -> None:
    raise RuntimeError("no route to sk-abcdefghijklmnopqrst")


async def _silent() -> None:
    await asyncio.sleep(60)


@asynccontextmanager
async def served(**checks: Callable[[], Awaitable[None]]) -> AsyncIterator[tuple[AdminServer, Readiness]]:
    readiness = Readiness(checks, timeout_s=0.05)
    server = AdminServer(process="auth", readiness=readiness, registry=new_registry("auth"))
    await server.start(("127.0.0.1", 0))
    try:
        yield server, readiness
    finally:
        await server.stop()


async def get(server: AdminServer, path: str, method: str = "GET") -> tuple[int, bytes]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"http://127.0.0.1:{server.port}{path}") as answer,
    ):
        return answer.status, await answer.read()


async def test_alive_even_when_not_ready() -> None:
    """`/healthz` is about the process, not about what it can do."""
    async with served(auth=_broken) as (server, _):
        assert 200 == (await get(server, "/healthz"))[0]


async def test_ready_when_all_checks_pass() -> None:
    """`/readyz` is 200 when every service can work."""
    async with served(auth=_well, cache=_well) as (server, _):
        status, body = await get(server, "/readyz?verbose=1")

    assert 200 == status
    assert {"status": "ready", "process": "auth", "failures": {}} == orjson.loads(body)


async def test_names_what_is_not_ready() -> None:
    """`/readyz` is 503 and says which service is not ready and why, at once and without secrets."""
    async with served(auth=_well, router=_broken, cache=_silent, ledger=_silent) as (server, _):
        async with asyncio.timeout(2):
            status, body = await get(server, "/readyz")

    assert 503 == status
    assert {
        "router": "no route to sk-***",
        "cache": "no answer within 0.05 s",
        "ledger": "no answer within 0.05 s",
    } == orjson.loads(body)["failures"]


async def test_not_ready_while_stopping() -> None:
    """Once the stop has begun nothing is ready, whatever the checks would say."""
    async with served(auth=_well) as (server, readiness):
        readiness.stopping = True
        status, body = await get(server, "/readyz")

    assert (503, {"auth": "stopping"}) == (status, orjson.loads(body)["failures"])


async def test_metrics_are_prometheus_text() -> None:
    """`/metrics` gives the registry in the form that Prometheus reads."""
    async with served() as (server, _):
        status, body = await get(server, "/metrics")

    assert 200 == status
    assert b'headrace_build_info{process="auth",version="' in body
    assert b"process_resident_memory_bytes" in body


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [("GET", "/nope", 404), ("POST", "/healthz", 405), ("HEAD", "/healthz", 200)],
)
async def test_other_requests(method: str, path: str, expected: int) -> None:
    """There are three things to get and nothing to send."""
    async with served() as (server, _):
        assert expected == (await get(server, path, method))[0]


@pytest.mark.parametrize("sent", [b"", b"GET", b"x" * 100_000, b"\r\n\r\n", b"\xff\xfe\r\n\r\n"])
async def test_nonsense_does_no_harm(sent: bytes) -> None:
    """What is no request ends its own connection and nothing else."""
    async with served() as (server, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        writer.write_eof()
        with suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 2)
        writer.close()

        assert 200 == (await get(server, "/healthz"))[0]
