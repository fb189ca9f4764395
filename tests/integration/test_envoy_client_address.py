"""What the edge is told of where a request comes from, by a real Envoy with our configuration."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from tests.fakes.front_door import RunningFrontDoor, running_front_door

if TYPE_CHECKING:
    from pathlib import Path

NAME = "headrace-client-address"
LIES = {NAME: "192.0.2.66", "x-forwarded-for": "192.0.2.67", "x-envoy-external-address": "192.0.2.68"}
METHOD = "/headrace.inference.v1.InferenceService/Chat"


async def _told(door: RunningFrontDoor, headers: dict[str, str]) -> tuple[list[str], list[str]]:
    """Give what the edge is told over HTTP and over gRPC."""
    async with door.http.get(f"{door.url}/v1/models", headers=headers) as answer:
        await answer.read()
    async with grpc.aio.insecure_channel(door.grpc_address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        echo = json.loads(await call(b"", metadata=tuple(headers.items()), timeout=10))
    return door.edges[0].requests[-1].headers.getall(NAME, []), [
        value for key, value in echo["metadata"] if key == NAME
    ]


@pytest.mark.parametrize("headers", [{}, LIES])
async def test_a_client_comes_from_where_it_connects_from(tmp_path: Path, headers: dict[str, str]) -> None:
    """Whatever it says, the edge is told the address of its connection, once."""
    async with running_front_door(tmp_path, services=True) as door:
        found = await _told(door, headers)

    assert (["127.0.0.1"], ["127.0.0.1"]) == found


@pytest.mark.parametrize(
    ("forwarded", "proxies", "expected"),
    [
        pytest.param("198.51.100.7", 1, "198.51.100.7", id="one proxy"),
        pytest.param("192.0.2.66, 198.51.100.7", 1, "198.51.100.7", id="a client that lies to one proxy"),
        pytest.param("192.0.2.66, 198.51.100.7, 10.0.0.1", 2, "198.51.100.7", id="two proxies"),
        pytest.param("2001:db8::7", 1, "2001:db8::7", id="the newer kind of address"),
    ],
)
async def test_proxies_of_ours_are_believed(
    tmp_path: Path, forwarded: str, proxies: int, expected: str
) -> None:
    """As many of the last addresses are ours as was said; the one before them is the client's."""
    async with running_front_door(tmp_path, services=True, trusted_proxies=proxies) as door:
        found = await _told(door, {**LIES, "x-forwarded-for": forwarded, "x-forwarded-host": "lie"})
        passed_on = {name.lower() for name in door.edge.requests[-1].headers}

    assert ([expected], [expected]) == found
    assert not {name for name in passed_on if name.startswith("x-forwarded-")} - {
        "x-forwarded-for",
        "x-forwarded-proto",
    }
