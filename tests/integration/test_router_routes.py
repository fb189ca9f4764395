"""Dynamic routes managed at a router alone, over real gRPC."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from headrace.router.v1 import custom_provider_pb2
from headrace.router.v1 import route_service_pb2 as pb
from headrace.router.v1.custom_provider_pb2_grpc import CustomProviderServiceStub
from headrace.router.v1.route_service_pb2_grpc import RouteServiceStub
from kit.errors import GatewayError, Reason
from services.router.app import build
from tests.fakes.gateways import put_gateway
from tests.fakes.one_service import OneService, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WHERE: dict[str, Any] = {"account_id": "acme", "gateway_id": "default"}


def _elements(provider: str = "openai", model: str = "gpt-4o-mini") -> str:
    return json.dumps(
        [
            {"id": "s", "type": "start", "outputs": {"next": {"elementId": "m"}}},
            {
                "id": "m",
                "type": "model",
                "properties": {"provider": provider, "model": model, "timeout": 1000, "retries": 0},
                "outputs": {"success": {"elementId": "e"}},
            },
            {"id": "e", "type": "end", "outputs": {}},
        ],
        indent=1,
    )


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[OneService]:
    async with serve(build, {"HEADRACE_DATA_DIR": str(tmp_path / "data")}) as one:
        await put_gateway(one.channel("cli"))
        yield one


def _stub(one: OneService, caller: str = "edge") -> Any:
    return RouteServiceStub(one.channel(caller))


async def _create(one: OneService, name: str = "support", elements: str | None = None) -> pb.Route:
    text = _elements() if elements is None else elements
    request = pb.CreateRouteRequest(**WHERE, name=name, elements_json=text)
    answer: pb.CreateRouteResponse = await _stub(one).CreateRoute(request, timeout=5)
    return answer.route


async def _get(one: OneService, route_id: str) -> pb.Route:
    answer: pb.GetRouteResponse = await _stub(one).GetRoute(
        pb.GetRouteRequest(**WHERE, route_id=route_id), timeout=5
    )
    return answer.route


async def test_a_route_is_made_and_deployed_at_once(router: OneService) -> None:
    """Its elements come back as they were sent."""
    made = await _create(router)
    listed = await _stub(router).ListRoutes(pb.ListRoutesRequest(**WHERE), timeout=5)

    assert (_elements(), True, made.version.id) == (
        made.version.elements_json,
        made.version.active,
        made.deployment.version_id,
    )
    assert made == await _get(router, made.id)
    assert ([made], 1) == (list(listed.routes), listed.total_count)


async def test_an_older_version_can_be_deployed_again(router: OneService) -> None:
    """A new version does not answer until it is deployed, and gives way to an older one."""
    stub = _stub(router)
    made = await _create(router)
    route = {**WHERE, "route_id": made.id}
    added = await stub.CreateRouteVersion(
        pb.CreateRouteVersionRequest(**route, elements_json=_elements(model="o3"), comment="try"), timeout=5
    )
    deployed = await stub.DeployRoute(pb.DeployRouteRequest(**route, version_id=added.version.id), timeout=5)
    back = await stub.DeployRoute(pb.DeployRouteRequest(**route, version_id=made.version.id), timeout=5)
    versions = await stub.ListRouteVersions(pb.ListRouteVersionsRequest(**route), timeout=5)
    deployments = await stub.ListRouteDeployments(pb.ListRouteDeploymentsRequest(**route), timeout=5)
    found = await stub.GetRouteVersion(
        pb.GetRouteVersionRequest(**route, version_id=added.version.id), timeout=5
    )

    assert (made, False, "try") == (added.route, added.version.active, added.version.comment)
    assert (_elements(model="o3"), True) == (
        deployed.route.version.elements_json,
        deployed.route.version.active,
    )
    assert made.version == back.route.version
    assert [(added.version.id, False), (made.version.id, True)] == [
        (version.id, version.active) for version in versions.versions
    ]
    assert [made.version.id, added.version.id, made.version.id] == [
        deployment.version_id for deployment in deployments.deployments
    ]
    assert (2, 3) == (versions.total_count, deployments.total_count)
    assert (added.version, back.route) == (found.version, found.route)


async def test_a_route_is_renamed_and_deleted(router: OneService) -> None:
    """The name is free again afterwards."""
    stub = _stub(router)
    made = await _create(router)
    route = {**WHERE, "route_id": made.id}
    renamed = await stub.RenameRoute(pb.RenameRouteRequest(**route, name="help"), timeout=5)
    deleted = await stub.DeleteRoute(pb.DeleteRouteRequest(**route), timeout=5)
    await _create(router, "help")

    assert ("help", renamed.route) == (renamed.route.name, deleted.route)
    with pytest.raises(GatewayError) as caught:
        await _get(router, made.id)
    assert (Reason.NOT_FOUND, "route") == (caught.value.reason, caught.value.metadata["resource"])


@pytest.mark.parametrize(
    ("name", "elements", "reason", "param"),
    [
        ("support", _elements(), Reason.CONFLICT, "name"),
        ("a b", _elements(), Reason.INVALID_REQUEST, "name"),
        ("x", "", Reason.INVALID_REQUEST, "elements"),
        ("x", "[]", Reason.INVALID_REQUEST, "elements"),
        ("x", _elements("nope"), Reason.INVALID_REQUEST, "elements.1.properties.provider"),
        ("x", _elements("custom-mine"), Reason.INVALID_REQUEST, "elements.1.properties.provider"),
    ],
)
async def test_a_route_that_may_not_be(
    router: OneService, name: str, elements: str, reason: Reason, param: str
) -> None:
    """The error names what is wrong; nothing is made, nor a version of it."""
    made = await _create(router)
    with pytest.raises(GatewayError) as caught:
        await _create(router, name, elements)
    listed = await _stub(router).ListRoutes(pb.ListRoutesRequest(**WHERE), timeout=5)

    assert (reason, param) == (caught.value.reason, caught.value.metadata["param"])
    assert [made] == list(listed.routes)


async def test_a_version_that_makes_no_route_is_refused(router: OneService) -> None:
    """As a route would be, and so is a comment that is none."""
    made = await _create(router)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"elements_json": "{}"}, "elements"),
        ({"elements_json": _elements(), "comment": "\0"}, "comment"),
    ]
    for wanted, param in cases:
        request = pb.CreateRouteVersionRequest(**WHERE, route_id=made.id, **wanted)
        with pytest.raises(GatewayError) as caught:
            await _stub(router).CreateRouteVersion(request, timeout=5)
        assert (Reason.INVALID_REQUEST, param) == (caught.value.reason, caught.value.metadata["param"])


@pytest.mark.parametrize("provider", ["xai", "bedrock", "custom-mine"])
async def test_a_route_may_name_any_provider_that_there_is(router: OneService, provider: str) -> None:
    """By each of its names; those of the account's own as soon as they are made."""
    stub: Any = CustomProviderServiceStub(router.channel("edge"))
    own = custom_provider_pb2.CustomProvider(slug="mine", base_url="https://a.example", name="Mine")
    await stub.CreateCustomProvider(
        custom_provider_pb2.CreateCustomProviderRequest(account_id="acme", provider=own), timeout=5
    )

    assert "support" == (await _create(router, elements=_elements(provider))).name


@pytest.mark.parametrize("caller", ["external", "auth", "providers", "ledger"])
async def test_others_may_not_manage_routes(router: OneService, caller: str) -> None:
    """No service but the edge and the command line reads or changes routes."""
    stub = _stub(router, caller)
    for method in pb.DESCRIPTOR.services_by_name["RouteService"].methods:
        request = getattr(pb, method.input_type.name)()
        with pytest.raises(GatewayError) as caught:
            await getattr(stub, method.name)(request, timeout=5)
        assert Reason.CALLER_NOT_ALLOWED == caught.value.reason


async def test_the_routes_of_default_are_listed_before_it_is_there(router: OneService) -> None:
    """It makes itself, as for who looks at it; any other gateway must be there."""
    stub = _stub(router)
    found = await stub.ListRoutes(
        pb.ListRoutesRequest(account_id="newcomer", gateway_id="default"), timeout=5
    )
    with pytest.raises(GatewayError) as caught:
        await stub.ListRoutes(pb.ListRoutesRequest(account_id="newcomer", gateway_id="nope"), timeout=5)

    assert pb.ListRoutesResponse() == found
    assert Reason.GATEWAY_NOT_FOUND == caught.value.reason
