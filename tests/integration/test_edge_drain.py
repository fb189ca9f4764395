"""What an edge that stops does with the requests that it has, and with those that still come to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from services.edge.management.api import ManagementApi
from tests.fakes.edge_calls import AUTH, BODY, CHAT
from tests.fakes.peers import chunk, edge_between, head, tail

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

STREAMED = {**BODY, "stream": True}
FIRST, SECOND = b'data: {"a":1}\n\n', b"data: [DONE]\n\n"


async def test_who_comes_on_an_open_connection_is_answered_too(tmp_path: Path) -> None:
    """A request that comes while others end has the rest of the grace too, and is told to go elsewhere."""
    first, second = asyncio.Event(), asyncio.Event()
    async with edge_between(tmp_path, grace_s="10") as peers:
        (await peers.client.get("/healthz")).release()  # a connection that stays
        peers.provider.script = [head(200, "text/event-stream"), chunk(FIRST), first.wait, tail()]
        # The second one to use it lets it be free for a third.
        one = await peers.client.post(CHAT, json=STREAMED, headers=AUTH)
        await one.content.readany()
        (await peers.client.get("/healthz")).release()
        stopping = asyncio.ensure_future(peers.drain(10))
        await asyncio.sleep(0.05)  # the stop is under way
        peers.provider.script = [
            head(200, "text/event-stream"),
            chunk(FIRST),
            second.wait,
            chunk(SECOND),
            tail(),
        ]
        other = await peers.client.post(CHAT, json=STREAMED, headers=AUTH)
        await other.content.readany()
        first.set()
        await one.read()
        await asyncio.sleep(0.1)  # the first one is over for the edge as well
        second.set()
        rest = await other.read()
        await asyncio.wait_for(stopping, 5)

    assert SECOND == rest
    assert "close" == other.headers["connection"]


async def test_what_is_no_inference_is_waited_for_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A management call that takes a while ends well."""
    begun, release = asyncio.Event(), asyncio.Event()
    real = ManagementApi.answer

    async def slow(self: ManagementApi, *args: Any) -> Any:
        begun.set()
        await release.wait()
        return await real(self, *args)

    monkeypatch.setattr(ManagementApi, "answer", slow)
    async with edge_between(tmp_path, grace_s="10") as peers:
        path = "/client/v4/accounts/local/ai-gateway/gateways"
        asking = asyncio.ensure_future(peers.client.get(path, headers=AUTH))
        await begun.wait()
        stopping = asyncio.ensure_future(peers.drain(10))
        await asyncio.sleep(0.6)  # longer than what it takes to close connections
        release.set()
        answer = await asking
        body = await answer.read()
        await asyncio.wait_for(stopping, 5)

    assert b"success" in body
