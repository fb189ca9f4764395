"""What an edge keeps of the plans of dynamic routes, and what it does not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from headrace.common.v1 import decision_pb2
from headrace.router.v1 import router_service_pb2 as pb
from tests.fakes.edge_calls import ANSWER, BODY, post
from tests.fakes.peers import FakeRouter, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

ROUTED = {**BODY, "model": "dynamic/support"}


def _plan() -> pb.PlanResponse:
    """Give a plan that chance had a part in, or a limit: it is of one request alone."""
    found = pb.PlanResponse(
        steps=[pb.Step(provider="openai", model="m", element_id="m")],
        decision=decision_pb2.Decision(
            route="support",
            version_id="v",
            steps=[
                decision_pb2.DecisionStep(element_id="s", type="start", output="next"),
                decision_pb2.DecisionStep(element_id="m", type="model"),
            ],
        ),
    )
    found.settings.authentication = True
    found.lifetime.generation = 1
    return found


async def test_each_request_is_decided_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of requests at the same time each is drawn, and counts against a limit, on its own."""
    asked = 0
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def plan(_: FakeRouter, __: pb.PlanRequest, ___: Any) -> pb.PlanResponse:
        nonlocal asked
        asked += 1
        begun.set()
        await go_on.wait()
        return _plan()

    monkeypatch.setattr(FakeRouter, "Plan", plan)
    async with edge_between(tmp_path) as peers:
        peers.provider.script = [head(), chunk(ANSWER), tail(finish_reason="stop")]
        asking = [asyncio.create_task(post(peers, json=ROUTED)) for _ in range(6)]
        await begun.wait()
        # The others come while the first is decided; any that does not asks by itself as well.
        await asyncio.sleep(0.05)
        go_on.set()
        answers = await asyncio.gather(*asking)

    assert ([200] * 6, 6) == ([status for status, *_ in answers], asked)
