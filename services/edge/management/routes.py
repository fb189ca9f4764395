"""
Dynamic routes on the management API, with their versions and deployments.

Lists stand in `data`, as the public product has them, and in `result` as everywhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from headrace.auth.v1 import token_pb2
from headrace.router.v1 import route_service_pb2 as pb
from services.edge.management.models.forms import PageQuery
from services.edge.management.models.route import (
    CreateRoute,
    CreateVersion,
    Deploy,
    Deployments,
    RenameRoute,
    Route,
    RouteQuery,
    Routes,
    Simulate,
    SimulateDraft,
    Simulation,
    VersionOfRoute,
    Versions,
)
from services.edge.management.operation import Answer, Operation
from services.edge.wire import route as wire

if TYPE_CHECKING:
    from services.edge.management.operation import Call
    from services.edge.management.peers import Peers

__all__ = ["DynamicRoutes"]

_TAG: Final = "Dynamic routes"
_BASE: Final = "/accounts/{account_id}/ai-gateway/gateways/{gateway_id}/routes"
_ONE: Final = f"{_BASE}/{{id}}"
_READ: Final = token_pb2.PERMISSION_AI_GATEWAY_READ
_EDIT: Final = token_pb2.PERMISSION_AI_GATEWAY_EDIT


class DynamicRoutes:
    """
    Lists and changes dynamic routes.

    Args:
        peers: The services behind.
    """

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def operations(self) -> tuple[Operation, ...]:
        """Give the rows."""
        return (
            Operation(
                id="aig-config-list-gateway-dynamic-routes", method="GET", path=_BASE, tag=_TAG,
                summary="List the routes of a gateway.", permission=_READ, handler=self._list,
                query=RouteQuery, result=Routes, shape="data", failures=(404,),
            ),
            Operation(
                id="aig-config-post-gateway-dynamic-route", method="POST", path=_BASE, tag=_TAG,
                summary="Make a route, and deploy its first version.", permission=_EDIT,
                handler=self._create, body=CreateRoute, result=Route, failures=(404, 409),
            ),
            Operation(
                id="aig-config-get-gateway-dynamic-route", method="GET", path=_ONE, tag=_TAG,
                summary="Show a route.", permission=_READ, handler=self._get, result=Route, failures=(404,),
            ),
            Operation(
                id="aig-config-update-gateway-dynamic-route", method="PATCH", path=_ONE, tag=_TAG,
                summary="Give a route another name.", permission=_EDIT, handler=self._rename,
                body=RenameRoute, result=Route, failures=(404, 409),
            ),
            Operation(
                id="aig-config-delete-gateway-dynamic-route", method="DELETE", path=_ONE, tag=_TAG,
                summary="Delete a route.", permission=_EDIT, handler=self._delete, result=Route,
                failures=(404,),
            ),
            Operation(
                id="simulate-gateway-dynamic-route", method="POST", path=f"{_ONE}/simulate", tag=_TAG,
                summary="Tell which way a request would take through a route now, and why.",
                permission=_READ, handler=self._simulate, body=Simulate, result=Simulation, failures=(404,),
            ),
            Operation(
                id="simulate-dynamic-route-draft", method="POST", path=f"{_BASE}/simulate", tag=_TAG,
                summary="Tell which way a request would take through elements that are not stored.",
                permission=_READ, handler=self._simulate_draft, body=SimulateDraft, result=Simulation,
                failures=(404,),
            ),
            *self._version_operations(),
        )  # fmt: skip

    def _version_operations(self) -> tuple[Operation, ...]:
        return (
            Operation(
                id="aig-config-list-gateway-dynamic-route-versions", method="GET", path=f"{_ONE}/versions",
                tag=_TAG, summary="List the versions of a route.", permission=_READ,
                handler=self._versions, query=PageQuery, result=Versions, shape="data", failures=(404,),
            ),
            Operation(
                id="aig-config-post-gateway-dynamic-route-version", method="POST", path=f"{_ONE}/versions",
                tag=_TAG, summary="Add a version to a route.", permission=_EDIT,
                handler=self._create_version, body=CreateVersion, result=VersionOfRoute, failures=(404,),
            ),
            Operation(
                id="aig-config-get-gateway-dynamic-route-version", method="GET",
                path=f"{_ONE}/versions/{{version_id}}", tag=_TAG, summary="Show a version of a route.",
                permission=_READ, handler=self._version, result=VersionOfRoute, failures=(404,),
            ),
            Operation(
                id="aig-config-list-gateway-dynamic-route-deployments", method="GET",
                path=f"{_ONE}/deployments", tag=_TAG, summary="List the deployments of a route.",
                permission=_READ, handler=self._deployments, query=PageQuery, result=Deployments,
                shape="data", failures=(404,),
            ),
            Operation(
                id="aig-config-post-gateway-dynamic-route-deployment", method="POST",
                path=f"{_ONE}/deployments", tag=_TAG, summary="Let a version answer from now on.",
                permission=_EDIT, handler=self._deploy, body=Deploy, result=Route, failures=(404,),
            ),
        )  # fmt: skip

    async def _list(self, call: Call) -> dict[str, Any]:
        request = pb.ListRoutesRequest(**_page(call))
        answer = await self._peers.routes.ListRoutes(request, timeout=self._peers.timeout_s)
        return {"routes": [wire.shown(each) for each in answer.routes], **_paged(call)}

    async def _create(self, call: Call) -> dict[str, Any]:
        request = pb.CreateRouteRequest(
            account_id=call.account_id,
            gateway_id=call.gateway_id,
            name=call.body.name,
            elements_json=orjson.dumps(call.body.elements).decode(),
            actor=call.actor,
        )
        return wire.shown(
            (await self._peers.routes.CreateRoute(request, timeout=self._peers.timeout_s)).route
        )

    async def _get(self, call: Call) -> dict[str, Any]:
        request = pb.GetRouteRequest(**_one(call))
        return wire.shown((await self._peers.routes.GetRoute(request, timeout=self._peers.timeout_s)).route)

    async def _rename(self, call: Call) -> Answer:
        request = pb.RenameRouteRequest(**_one(call), name=call.body.name, actor=call.actor)
        answer = await self._peers.routes.RenameRoute(request, timeout=self._peers.timeout_s)
        route = wire.shown(answer.route)
        return Answer(result=route, extra={"route": route})

    async def _delete(self, call: Call) -> dict[str, Any]:
        request = pb.DeleteRouteRequest(**_one(call), actor=call.actor)
        return wire.shown(
            (await self._peers.routes.DeleteRoute(request, timeout=self._peers.timeout_s)).route
        )

    async def _simulate(self, call: Call) -> dict[str, Any]:
        request = wire.simulation_request(call.account_id, call.gateway_id, call.body)
        request.route_id = call.path["id"]
        answer = await self._peers.routes.SimulateRoute(request, timeout=self._peers.timeout_s)
        return wire.simulation(answer)

    async def _simulate_draft(self, call: Call) -> dict[str, Any]:
        request = wire.simulation_request(call.account_id, call.gateway_id, call.body)
        request.elements = orjson.dumps(call.body.elements).decode()
        answer = await self._peers.routes.SimulateRoute(request, timeout=self._peers.timeout_s)
        return wire.simulation(answer)

    async def _versions(self, call: Call) -> dict[str, Any]:
        request = pb.ListRouteVersionsRequest(**_page(call), route_id=call.path["id"])
        answer = await self._peers.routes.ListRouteVersions(request, timeout=self._peers.timeout_s)
        return {"versions": [wire.version(each) for each in answer.versions], **_paged(call)}

    async def _create_version(self, call: Call) -> dict[str, Any]:
        request = pb.CreateRouteVersionRequest(
            **_one(call),
            elements_json=orjson.dumps(call.body.elements).decode(),
            comment=call.body.comment,
            actor=call.actor,
        )
        answer = await self._peers.routes.CreateRouteVersion(request, timeout=self._peers.timeout_s)
        return wire.version_of(answer.route, answer.version)

    async def _version(self, call: Call) -> dict[str, Any]:
        request = pb.GetRouteVersionRequest(**_one(call), version_id=call.path["version_id"])
        answer = await self._peers.routes.GetRouteVersion(request, timeout=self._peers.timeout_s)
        return wire.version_of(answer.route, answer.version)

    async def _deployments(self, call: Call) -> dict[str, Any]:
        request = pb.ListRouteDeploymentsRequest(**_page(call), route_id=call.path["id"])
        answer = await self._peers.routes.ListRouteDeployments(request, timeout=self._peers.timeout_s)
        return {"deployments": [wire.deployment(each) for each in answer.deployments], **_paged(call)}

    async def _deploy(self, call: Call) -> dict[str, Any]:
        request = pb.DeployRouteRequest(**_one(call), version_id=call.body.version_id, actor=call.actor)
        return wire.shown(
            (await self._peers.routes.DeployRoute(request, timeout=self._peers.timeout_s)).route
        )


def _one(call: Call) -> dict[str, Any]:
    return {"account_id": call.account_id, "gateway_id": call.gateway_id, "route_id": call.path["id"]}


def _page(call: Call) -> dict[str, Any]:
    return {
        "account_id": call.account_id,
        "gateway_id": call.gateway_id,
        "page_size": call.query.per_page,
        "offset": call.query.offset,
    }


def _paged(call: Call) -> dict[str, Any]:
    return {
        "order_by": "created_at",
        "order_by_direction": "desc",
        "page": call.query.page,
        "per_page": call.query.per_page,
    }
