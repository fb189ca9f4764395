"""What Envoy refuses, cuts and turns away, so that nobody can take it from the others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.fakes.front_door import RunningFrontDoor, running_front_door

if TYPE_CHECKING:
    from pathlib import Path


async def overloaded(door: RunningFrontDoor) -> None:
    """Wait until Envoy has noticed how much memory it uses."""
    async with asyncio.timeout(10):
        while "envoy.overload_actions.stop_accepting_requests.active: 1" not in await door.admin("/stats"):  # noqa: ASYNC110  # Envoy's to know
            await asyncio.sleep(0.05)


async def test_slow_headers_are_cut(tmp_path: Path) -> None:
    """A client that sends its headers bit by bit is cut off, and the edge hears nothing of it."""
    async with running_front_door(tmp_path, headers_timeout_s=0.3) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.front.http_port)
        writer.write(b"GET /v1/x HTTP/1.1\r\nhost: x\r\n")
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()

    assert answer.startswith(b"HTTP/1.1 408")
    assert [] == door.edge.requests


async def test_too_many_connections_are_refused(tmp_path: Path) -> None:
    """Beyond the limit a connection is closed unanswered; those within it go on."""
    async with running_front_door(tmp_path, max_connections=2) as door:
        held = [await asyncio.open_connection("127.0.0.1", door.front.http_port) for _ in range(2)]
        for reader, writer in held:
            writer.write(b"GET /v1/x HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        try:
            refused = await door.raw(b"GET /v1/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        except ConnectionError:
            refused = b""
        for _, writer in held:
            writer.close()

    assert b"" == refused
    assert 2 == len(door.edge.requests)


@pytest.mark.parametrize(("path", "member"), [("/v1/chat/completions", "code"), ("/v1/messages", "type")])
async def test_overload_is_told(tmp_path: Path, path: str, member: str) -> None:
    """Out of memory, Envoy answers 503 in the shape that the client reads; what watches it is served."""
    async with running_front_door(tmp_path, max_heap_bytes=1, services=True) as door:
        await overloaded(door)
        async with door.http.post(door.url + path, json={}) as answer:
            body = await answer.json()

    assert (503, "AiGatewayError", 7000) == (answer.status, body["name"], body["internalCode"])
    assert body["message"].startswith("The gateway did not answer")
    assert member in body["error"]
    assert [] == door.edge.requests


async def test_idle_connections_do_not_count_as_slow(tmp_path: Path) -> None:
    """The time for headers begins with the first of them: a connection may be opened ahead of its request."""
    async with running_front_door(tmp_path, headers_timeout_s=0.2) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.front.http_port)
        await asyncio.sleep(0.4)
        writer.write(b"GET /v1/x HTTP/1.1\r\nhost: x\r\n\r\n")
        line = await reader.readline()
        writer.close()

    assert line.startswith(b"HTTP/1.1 200")
