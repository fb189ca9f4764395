"""What Envoy does with edges that refuse, because they cannot record requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from tests.fakes.front_door import RunningFrontDoor, running_front_door

if TYPE_CHECKING:
    from pathlib import Path

_ELSEWHERE = {"x-envoy-immediate-health-check-fail": "true"}


class _Edges:
    """Answers for the edges of a front door; those that refuse say so at once, and at their health."""

    door: RunningFrontDoor

    def __init__(self) -> None:
        self.refusing: set[int] = set()
        self.refused_count = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        here = request.transport.get_extra_info("sockname")
        number = next(number for number, each in enumerate(self.door.edges) if str(each.path) == here)
        if number in self.refusing:
            self.refused_count += 1
            self.door.edges[number].ready = False
            self.door.edges[number].health_headers = _ELSEWHERE
            return web.Response(status=503, text=f"no room at {number}", headers=_ELSEWHERE)
        await asyncio.sleep(0.01)  # so that whoever refuses has the least to do
        return web.Response(text=f"answer of {number}")

    async def ask(self) -> tuple[int, str]:
        async with self.door.http.get(self.door.url + "/v1/x") as answer:
            assert not [name for name in answer.headers if name.lower().startswith("x-envoy")]
            return answer.status, await answer.text()

    async def know(self, flag: str, count: int) -> None:
        """Wait until Envoy's list of edges has a flag so many times."""
        async with asyncio.timeout(10):
            while True:
                lines = (await self.door.admin("/clusters")).splitlines()
                if count == sum(flag in line for line in lines if line.startswith("edge_http::")):
                    return
                await asyncio.sleep(0.02)


async def test_edges_that_refuse_are_left_alone_at_once_though_they_are_most(tmp_path: Path) -> None:
    """One refusal is enough; with two of three edges refusing the third gets all, until they are well."""
    edges = _Edges()
    async with running_front_door(tmp_path, edges=3, handler=edges.answer) as edges.door:
        edges.refusing = {0, 1}

        async def client() -> list[tuple[int, str]]:
            return [await edges.ask() for _ in range(50)]

        found = [one for each in await asyncio.gather(*(client() for _ in range(4))) for one in each]
        await edges.know("/excluded_via_immediate_hc_fail", 2)
        refused = edges.refused_count
        later = {await edges.ask() for _ in range(20)}

        edges.refusing = set()
        for edge in edges.door.edges:
            edge.ready, edge.health_headers = True, {}
        await edges.know("/excluded_via_immediate_hc_fail", 0)
        await edges.know("/failed_active_hc", 0)
        back = {await edges.ask() for _ in range(30)}

    assert refused <= 8, "as many as were under way"
    assert [503] * refused == [status for status, _ in found if status != 200]
    assert {(200, "answer of 2")} == later
    assert {(200, f"answer of {number}") for number in range(3)} == back


async def test_when_all_refuse_clients_hear_why(tmp_path: Path) -> None:
    """With no edge left all are asked, so that clients get the edge's own answer and not one of Envoy's."""
    edges = _Edges()
    async with running_front_door(tmp_path, edges=2, handler=edges.answer) as edges.door:
        edges.refusing = {0, 1}
        while len({await edges.ask() for _ in range(4)}) < 2:
            pass
        await edges.know("/excluded_via_immediate_hc_fail", 2)

        assert {(503, "no room at 0"), (503, "no room at 1")} == {await edges.ask() for _ in range(30)}
