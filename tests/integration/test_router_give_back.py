"""Limits of requests in a dynamic route, whose count is given back when nothing was tried."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from headrace.common.v1 import http_pb2
from headrace.router.v1 import route_service_pb2
from headrace.router.v1 import router_service_pb2 as pb
from headrace.router.v1.route_service_pb2_grpc import RouteServiceStub
from headrace.router.v1.router_service_pb2_grpc import RouterServiceStub
from kit.errors import GatewayError, Reason
from services.router.app import build
from tests.fakes.gateways import put_gateway
from tests.fakes.one_service import OneService, serve
from tests.fakes.valkey_server import shared_valkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WHERE: dict[str, Any] = {"account_id": "acme", "gateway_id": "default"}


def _rate(element_id: str, limit: int, success: str, kind: str = "count") -> dict[str, Any]:
    return {
        "id": element_id,
        "type": "rate",
        "properties": {"limitType": kind, "limit": limit, "window": 86_400},
        "outputs": {"success": {"elementId": success}},
    }


ELEMENTS = [
    {"id": "s", "type": "start", "outputs": {"next": {"elementId": "wide"}}},
    _rate("wide", 100, "narrow"),
    _rate("narrow", 2, "tokens"),
    _rate("tokens", 1000, "m", "tokens"),
    {
        "id": "m",
        "type": "model",
        "properties": {"provider": "openai", "model": "gpt-4o-mini"},
        "outputs": {"success": {"elementId": "e"}},
    },
    {"id": "e", "type": "end", "outputs": {}},
]


@pytest.fixture(params=["memory", "valkey"])
async def router(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OneService]:
    env = {"HEADRACE_DATA_DIR": str(tmp_path / "data")}
    if request.param == "valkey":
        env["HEADRACE_ROUTER_VALKEY_URL"] = shared_valkey().new_url().reveal()
        env["HEADRACE_VALKEY_TIMEOUT_S"] = "20"
    async with serve(build, env) as one:
        await put_gateway(one.channel("cli"))
        made = route_service_pb2.CreateRouteRequest(
            **WHERE, name="support", elements_json=json.dumps(ELEMENTS)
        )
        stub: Any = RouteServiceStub(one.channel("edge"))
        await stub.CreateRoute(made, timeout=5)
        yield one


async def _plan(router: OneService) -> pb.PlanResponse | None:
    """Ask for a plan; None when a limit in the route refuses it."""
    stub: Any = RouterServiceStub(router.channel("edge"))
    request = pb.PlanRequest(
        authenticated=True,
        client_dialect=http_pb2.DIALECT_OPENAI_CHAT,
        requested_model="dynamic/support",
    )
    request.caller.account_id, request.caller.gateway_id = "acme", "default"
    try:
        answer: pb.PlanResponse = await stub.Plan(request, timeout=5)
    except GatewayError as error:
        if error.reason is not Reason.RATE_LIMITED:
            raise
        return None
    return answer


async def _settle(router: OneService, **fields: Any) -> None:
    stub: Any = RouterServiceStub(router.channel("edge"))
    settlement = pb.Settlement(**fields)
    settlement.caller.account_id, settlement.caller.gateway_id = "acme", "default"
    await stub.Settle(pb.SettleRequest(settlements=[settlement]), timeout=5)


async def test_a_plan_that_nothing_was_tried_of_counts_no_request(router: OneService) -> None:
    """What it counted is given back, once however often that is told; a limit of tokens counted nothing."""
    first, second, refused = [await _plan(router) for _ in range(3)]
    assert first is not None
    assert second is not None
    assert refused is None
    for _ in range(2):
        await _settle(router, id="a.route", counted=first.counted)
    third, fourth = [await _plan(router) for _ in range(2)]

    assert 2 == len(json.loads(first.counted))
    assert 1 == len(json.loads(first.ticket))
    assert 0 == first.lifetime.reuse_for.ToMilliseconds()
    assert third is not None
    assert fourth is None


async def test_what_no_plan_counted_is_not_taken_back(router: OneService) -> None:
    """Such a settlement is refused, and nothing of it counts."""
    with pytest.raises(GatewayError) as caught:
        await _settle(router, id="a.route", counted=b"[1]")

    assert Reason.INVALID_REQUEST == caught.value.reason
