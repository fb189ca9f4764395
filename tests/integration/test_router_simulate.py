"""What would come of a request through a dynamic route, asked of a router alone over real gRPC."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from headrace.common.v1 import caller_pb2, http_pb2
from headrace.router.v1 import route_service_pb2 as pb
from headrace.router.v1 import router_service_pb2
from headrace.router.v1.route_service_pb2_grpc import RouteServiceStub
from headrace.router.v1.router_service_pb2_grpc import RouterServiceStub
from kit.errors import GatewayError, Reason
from services.router.app import build
from tests.fakes.gateways import put_gateway
from tests.fakes.one_service import OneService, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WHERE: dict[str, Any] = {"account_id": "acme", "gateway_id": "default"}
FIRST, SECOND = ("openai", "gpt-4o-mini"), ("anthropic", "claude-haiku-4-5")


def _model(element_id: str, model: tuple[str, str], **outputs: str) -> dict[str, Any]:
    return {
        "id": element_id,
        "type": "model",
        "properties": {"provider": model[0], "model": model[1]},
        "outputs": {name: {"elementId": target} for name, target in outputs.items()},
    }


ELEMENTS: list[dict[str, Any]] = [
    {"id": "s", "type": "start", "outputs": {"next": {"elementId": "c"}}},
    {
        "id": "c",
        "type": "conditional",
        "properties": {"conditions": {"body.user": "ann", "headers.x-tier": "gold"}},
        "outputs": {"true": {"elementId": "r"}, "false": {"elementId": "p"}},
    },
    {
        "id": "r",
        "type": "rate",
        "properties": {"limitType": "count", "key": "metadata.team", "limit": 1, "window": 86_400},
        "outputs": {"success": {"elementId": "m1"}},
    },
    {
        "id": "p",
        "type": "percentage",
        "outputs": {"50%": {"elementId": "m1"}, "else": {"elementId": "m2"}},
    },
    _model("m1", FIRST, success="e", fallback="m2"),
    _model("m2", SECOND, success="e"),
    {"id": "e", "type": "end", "outputs": {}},
]
GOLD: dict[str, Any] = {
    "body": b'{"user": "ann"}',
    "headers": [http_pb2.Header(name="X-Tier", value=b"gold")],
    "metadata": {"team": "red"},
}


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[OneService]:
    async with serve(build, {"HEADRACE_DATA_DIR": str(tmp_path / "data")}) as one:
        await put_gateway(one.channel("cli"))
        yield one


def _stub(one: OneService) -> Any:
    return RouteServiceStub(one.channel("edge"))


async def _simulate(one: OneService, **fields: Any) -> pb.SimulateRouteResponse:
    request = pb.SimulateRouteRequest(**{**WHERE, **fields})
    answer: pb.SimulateRouteResponse = await _stub(one).SimulateRoute(request, timeout=5)
    return answer


def _way(answer: pb.SimulateRouteResponse) -> str:
    return ", ".join(f"{each.element_id} {each.output}".strip() for each in answer.decision.steps)


async def _made(one: OneService) -> pb.Route:
    request = pb.CreateRouteRequest(**WHERE, name="support", elements_json=json.dumps(ELEMENTS))
    answer: pb.CreateRouteResponse = await _stub(one).CreateRoute(request, timeout=5)
    return answer.route


async def test_a_way_and_why(router: OneService) -> None:
    """By the route's name or id, with failures and chance as one likes."""
    route = await _made(router)
    gold = await _simulate(router, route_id="support", **GOLD)
    failing = await _simulate(router, route_id=route.id, draw=0.2, failing=["m1"])
    hopeless = await _simulate(router, route_id=route.id, draw=0.2, failing=["m1", "m2"])
    other = await _simulate(router, route_id=route.id, draw=0.7)

    assert ("s next, c true, r success, m1 success", "answered") == (_way(gold), gold.outcome)
    assert ("s next, c false, p 50%, m1 fallback, m2 success", "answered") == (_way(failing), failing.outcome)
    assert ("s next, c false, p 50%, m1 fallback, m2", "failed") == (_way(hopeless), hopeless.outcome)
    assert "s next, c false, p else, m2 success" == _way(other)
    assert ("support", route.version.id) == (gold.decision.route, gold.decision.version_id)
    assert [(*FIRST, "closed"), (*SECOND, "closed")] == [
        (each.provider, each.model, each.circuit) for each in failing.attempts
    ]
    assert 'body.user $eq "ann", which is missing' == failing.decision.steps[1].reason


async def test_limits_are_shown_and_not_counted(router: OneService) -> None:
    """Asking never takes anything; what requests take is seen."""
    await _made(router)
    before = [await _simulate(router, route_id="support", **GOLD) for _ in range(3)]
    plan = router_service_pb2.PlanRequest(
        caller=caller_pb2.Caller(**WHERE, token_id="t", metadata=GOLD["metadata"]),
        authenticated=True,
        client_dialect=http_pb2.DIALECT_OPENAI_CHAT,
        requested_model="dynamic/support",
        body=GOLD["body"],
        headers=GOLD["headers"],
        given=[
            router_service_pb2.PLAN_INPUT_BODY,
            router_service_pb2.PLAN_INPUT_HEADERS,
            router_service_pb2.PLAN_INPUT_METADATA,
        ],
    )
    await RouterServiceStub(router.channel("edge")).Plan(plan, timeout=5)
    after = await _simulate(router, route_id="support", **GOLD)

    assert [0, 0, 0] == [answer.limits[0].used for answer in before]
    assert ("r", "metadata.team=red", "requests", 1, 1, True) == (
        after.limits[0].element_id,
        after.limits[0].key,
        after.limits[0].unit,
        after.limits[0].limit,
        after.limits[0].used,
        after.limits[0].exceeded,
    )
    assert ("s next, c true, r", "refused") == (_way(after), after.outcome)


async def test_what_is_not_stored_or_not_deployed(router: OneService) -> None:
    """Elements that are only thought of, and versions that do not answer yet."""
    route = await _made(router)
    draft = json.dumps([ELEMENTS[0] | {"outputs": {"next": {"elementId": "m2"}}}, *ELEMENTS[5:]])
    request = pb.CreateRouteVersionRequest(**WHERE, route_id=route.id, elements_json=draft)
    version = (await _stub(router).CreateRouteVersion(request, timeout=5)).version
    thought = await _simulate(router, elements=draft)
    later = await _simulate(router, route_id=route.id, version_id=version.id)

    assert ["s next, m2 success"] * 2 == [_way(thought), _way(later)]
    assert ["", version.id] == [thought.decision.version_id, later.decision.version_id]


@pytest.mark.parametrize(
    ("fields", "reason", "param"),
    [
        ({"route_id": "nope"}, Reason.NOT_FOUND, None),
        ({"route_id": "support", "version_id": "nope"}, Reason.NOT_FOUND, None),
        ({"route_id": "support", "gateway_id": "nope"}, Reason.GATEWAY_NOT_FOUND, None),
        ({"route_id": "support", "failing": ["m1", "x"]}, Reason.INVALID_REQUEST, "failing.1"),
        ({"route_id": "support", "draw": 1.0}, Reason.INVALID_REQUEST, "draw"),
        ({"route_id": "support", "draw": float("nan")}, Reason.INVALID_REQUEST, "draw"),
        ({"route_id": "support", "body": b"{"}, Reason.INVALID_REQUEST, "body"),
        ({"route_id": "support", "elements": "[]"}, Reason.INVALID_REQUEST, "elements"),
        ({"elements": "[]"}, Reason.INVALID_REQUEST, "elements"),
        ({}, Reason.NOT_FOUND, None),
    ],
)
async def test_what_cannot_be_thought_of(
    router: OneService, fields: dict[str, Any], reason: Reason, param: str | None
) -> None:
    """The error says what of the question makes no sense."""
    await _made(router)
    with pytest.raises(GatewayError) as caught:
        await _simulate(router, **fields)

    assert (reason, param) == (caught.value.reason, caught.value.metadata.get("param"))


async def test_credentials_are_not_looked_at(router: OneService) -> None:
    """Headers with keys or tokens are not there, as they are not when a request is really made."""
    exists = {"conditions": {"headers.authorization": {"$exists": True}}}
    elements = [each if each["id"] != "c" else {**each, "properties": exists} for each in ELEMENTS]
    header = http_pb2.Header(name="Authorization", value=b"Bearer sk-1")
    found = await _simulate(router, elements=json.dumps(elements), headers=[header], draw=0.0)

    assert ("c", "false") == (found.decision.steps[1].element_id, found.decision.steps[1].output)


async def test_a_limit_of_the_gateway_is_a_reason_to_fail(router: OneService) -> None:
    """What the gateway's own limits refuse is seen as it would happen, model by model."""
    rules = {"enabled": True, "rules": [{"id": "all", "limitType": "tokens", "limit": 5, "window": 86_400}]}
    await put_gateway(router.channel("cli"), rate_limits_json=json.dumps(rules))
    await _made(router)
    before = await _simulate(router, route_id="support", draw=0.0)
    reserve = router_service_pb2.ReserveRequest(
        caller=caller_pb2.Caller(**WHERE), id="i", provider=FIRST[0], model=FIRST[1], tokens=5
    )
    await RouterServiceStub(router.channel("edge")).Reserve(reserve, timeout=5)
    after = await _simulate(router, route_id="support", draw=0.0)

    assert ("answered", [("", "all", 0, False)]) == (before.outcome, _limits(before))
    assert ("refused", [("", "all", 5, True)] * 2) == (after.outcome, _limits(after))
    assert "RATE_LIMITED" == after.decision.steps[-1].reason


def _limits(answer: pb.SimulateRouteResponse) -> list[tuple[str, str, float, bool]]:
    return [(each.element_id, each.rule, each.used, each.exceeded) for each in answer.limits]
