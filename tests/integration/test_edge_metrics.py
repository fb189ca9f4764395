"""What an operator can see of an edge while requests run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.fakes.edge_calls import AUTH, BODY, CHAT
from tests.fakes.peers import Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from pathlib import Path

EVENTS = [b'data: {"a":1}\n\n', b"data: [DONE]\n\n"]


def in_flight(peers: Peers) -> float | None:
    """Return how many requests run."""
    return peers.runtime.metrics.get_sample_value("headrace_requests_in_flight")


async def test_requests_in_flight(tmp_path: Path) -> None:
    """A stream counts from its first byte on until it has ended."""
    async with edge_between(tmp_path) as peers:
        gate = asyncio.Event()
        peers.provider.script = [
            head(200, "text/event-stream"),
            chunk(EVENTS[0]),
            gate.wait,
            chunk(EVENTS[1]),
            tail(),
        ]
        before = in_flight(peers)
        async with peers.client.post(CHAT, json={**BODY, "stream": True}, headers=AUTH) as answer:
            await asyncio.wait_for(answer.content.readany(), 5)
            during = in_flight(peers)
            gate.set()
            await answer.content.read()
        async with asyncio.timeout(5):
            while in_flight(peers):  # noqa: ASYNC110 - nothing tells; the client has the last byte before
                await asyncio.sleep(0.005)

        assert (0, 1) == (before, during)
