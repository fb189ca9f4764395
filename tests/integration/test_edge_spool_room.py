"""An edge that cannot record requests says so to balancers and people, and does all that needs no room."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from kit.errors import GatewayError, Reason
from services.edge.spool import room
from services.edge.spool.segment import ActiveSegment
from tests.fakes.edge_calls import AUTH, BODY, CHAT
from tests.fakes.peers import chunk, edge_between, head, tail

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.peers import Peers

_WHY = "The spool cannot be written: No space left on device."
_TO_ENVOY = "x-envoy-immediate-health-check-fail"


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


async def _told(peers: Peers, path: str) -> tuple[int, bytes, bool]:
    """Give the status and body of a GET, and whether it tells Envoy to go elsewhere."""
    async with peers.client.get(path, headers=AUTH) as answer:
        return answer.status, await answer.read(), _TO_ENVOY in answer.headers


async def _ask(peers: Peers) -> tuple[int, Any, bool]:
    async with peers.client.post(CHAT, json=BODY, headers=AUTH) as answer:
        return answer.status, orjson.loads(await answer.read()), _TO_ENVOY in answer.headers


async def test_an_edge_without_room_goes_out_of_rotation_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is unwell from the first refusal until it finds room, which it does by itself."""
    monkeypatch.setattr(room, "_LOOK_S", 0.005)
    async with edge_between(tmp_path) as peers:
        peers.provider.script = [head(), chunk(b"{}"), tail(finish_reason="stop")]
        assert (200, False) == (await _ask(peers))[::2]
        assert [200, 200] == [(await _told(peers, path))[0] for path in ("/healthz", "/readyz")]
        await peers.service.check()

        with monkeypatch.context() as disk:
            disk.setattr(ActiveSegment, "append", _full)
            status, refused, elsewhere = await _ask(peers)
            healthz, readyz = await _told(peers, "/healthz"), await _told(peers, "/readyz")
            models = await _told(peers, "/v1/models")
            with pytest.raises(GatewayError) as caught:
                await peers.service.check()
            asked = len(peers.provider.requests)

        async with asyncio.timeout(5):
            while (await _told(peers, "/healthz"))[0] != 200:  # noqa: ASYNC110 - as a balancer does
                await asyncio.sleep(0.005)
        await peers.service.check()
        after = await _ask(peers)

    assert (503, "There is no room left to record requests.", True) == (
        status,
        refused["message"],
        elsewhere,
    )
    assert (503, f"{_WHY}\n".encode(), True) == healthz
    assert (503, {"edge": _WHY}) == (readyz[0], orjson.loads(readyz[1])["failures"])
    assert (200, False) == models[::2]
    assert (Reason.OVERLOADED, _WHY) == (caught.value.reason, caught.value.message)
    assert (200, False, asked + 1) == (*after[::2], len(peers.provider.requests))
