"""Dynamic routes as steps of universal requests, and what they count before a request may go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.duration_pb2 import Duration

from headrace.auth.v1 import token_pb2
from headrace.common.v1 import decision_pb2, http_pb2
from headrace.router.v1 import router_service_pb2 as pb
from kit.errors import GatewayError, Reason
from tests.fakes.edge_calls import ANSWER, post
from tests.fakes.peers import TOKEN, FakeRouter, Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    Hook = Callable[[pb.PlanRequest], pb.PlanResponse | None]

URL = "/v1/local/default"
UNREACHABLE = [GatewayError(Reason.UPSTREAM_UNREACHABLE, "no")]
LIMITED = GatewayError(Reason.RATE_LIMITED, "Rate limited", retry_after_s=5.0)


@pytest.fixture
def asked() -> list[pb.PlanRequest]:
    return []


@pytest.fixture
async def peers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[pb.PlanRequest]
) -> AsyncIterator[Peers]:
    plan_of = FakeRouter.Plan

    async def plan(router: FakeRouter, request: pb.PlanRequest, context: Any) -> pb.PlanResponse:
        asked.append(request)
        return router.hook(request) or await plan_of(router, request, context)  # type: ignore[attr-defined]  # set below

    monkeypatch.setattr(FakeRouter, "Plan", plan)
    monkeypatch.setattr(FakeRouter, "hook", lambda *_: None, raising=False)
    async with edge_between(tmp_path) as found:
        found.provider.script = [
            head(body_dialect=http_pb2.DIALECT_NATIVE), chunk(ANSWER), tail(finish_reason="stop"),
        ]  # fmt: skip
        yield found


def _routed(**fields: Any) -> pb.PlanResponse:
    found = pb.PlanResponse(
        steps=[pb.Step(provider="openai", model="m", element_id="m")],
        decision=decision_pb2.Decision(
            route="b",
            version_id="v",
            steps=[
                decision_pb2.DecisionStep(element_id="s", type="start", output="next"),
                decision_pb2.DecisionStep(element_id="m", type="model"),
            ],
        ),
        **fields,
    )
    found.settings.authentication = found.settings.collect_logs = True
    found.lifetime.generation = 1
    return found


def _hook(peers: Peers, hook: Hook) -> None:
    """Let plans of routes be what a function says."""

    def of_routes(request: pb.PlanRequest) -> pb.PlanResponse | None:
        return hook(request) if request.requested_model.startswith("dynamic/") else None

    peers.router.hook = of_routes  # type: ignore[attr-defined]  # read above


def _step(model: str, **headers: Any) -> dict[str, Any]:
    query = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    return {"provider": "compat", "endpoint": "chat/completions", "query": query, "headers": headers}


async def _ask(peers: Peers, *steps: dict[str, Any]) -> tuple[int, str]:
    async with peers.client.post(URL, json=list(steps), headers={"cf-aig-authorization": TOKEN}) as answer:
        await answer.read()
        return answer.status, answer.headers.get("cf-aig-step", "")


async def test_the_way_through_a_later_step_is_told(peers: Peers) -> None:
    """The log entry has the decision of the route that answered, whichever step named it."""
    _hook(peers, lambda _: _routed())
    peers.provider.earlier = [UNREACHABLE]
    told = await _ask(peers, _step("openai/x"), _step("dynamic/b"))
    entry = await peers.entry()

    assert ((200, "1"), "b", ["next", "success"]) == (
        told, entry.decision.route, [each.output for each in entry.decision.steps],
    )  # fmt: skip


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_route_that_is_used_up_is_passed_over(peers: Peers, *, at_once: bool) -> None:
    """A limit in the first step's route, before its first model or after it, leaves the next step."""

    def plan(request: pb.PlanRequest) -> pb.PlanResponse:
        if at_once or request.continuation:
            raise LIMITED
        return _routed(continuation=b"more")

    _hook(peers, plan)
    peers.provider.earlier = [] if at_once else [UNREACHABLE]

    assert (200, "1") == await _ask(peers, _step("dynamic/b"), _step("openai/x"))
    peers.provider.earlier = [] if at_once else [UNREACHABLE]
    assert 429 == (await _ask(peers, _step("dynamic/b")))[0]


async def test_a_route_that_looks_at_more_meanwhile(peers: Peers) -> None:
    """A version that is deployed between two questions may need to be told more than the one before."""

    def plan(request: pb.PlanRequest) -> pb.PlanResponse:
        if pb.PLAN_INPUT_BODY in request.given:
            return _routed()
        found = pb.PlanResponse(needs=[pb.PLAN_INPUT_BODY if request.given else pb.PLAN_INPUT_METADATA])
        found.settings.authentication = True
        found.lifetime.generation = 1
        found.lifetime.reuse_for.seconds = 60
        return found

    _hook(peers, plan)

    assert (200, "0") == await _ask(peers, _step("dynamic/b"))


async def test_who_may_not_ask_does_not_count(peers: Peers, asked: list[pb.PlanRequest]) -> None:
    """The plan of a route counts against its limits, so that it is made for those alone who may ask."""
    peers.auth.restrictions.gateway_ids.append("other")
    status, *_ = await post(peers)

    assert (403, []) == (status, asked)


async def test_who_may_not_run_does_not_count(peers: Peers, asked: list[pb.PlanRequest]) -> None:
    """To router such a caller is nobody: where a token is needed, it decides and counts nothing."""
    peers.auth.permissions = [token_pb2.PERMISSION_AI_GATEWAY_READ]
    status, *_ = await post(peers)

    assert (403, [False]) == (status, [each.authenticated for each in asked])


async def test_a_request_is_known_again_whatever_its_route_chooses(peers: Peers) -> None:
    """An `Idempotency-Key` stands for what the client asked, not for the model that chance drew."""
    peers.router.settings["idempotency_ttl"] = Duration(seconds=60)
    plan = _routed()
    plan.settings.idempotency_ttl.seconds = 60
    _hook(peers, lambda _: plan)
    await _ask(peers, _step("dynamic/b", **{"idempotency-key": "k"}))

    assert [("", "dynamic/b")] == [(each.provider, each.model) for each in peers.cache.looked_up]
