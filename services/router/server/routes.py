"""Keeps dynamic routes, their versions and deployments."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from headrace.router.v1 import route_service_pb2 as pb
from headrace.router.v1.route_service_pb2_grpc import RouteServiceServicer
from kit import moment
from kit.account import check_account_id
from kit.audit import Actor
from kit.audit_service import actor_of
from kit.ids import uuid7
from kit.tokens import CREDENTIAL_HEADERS
from services.router.convert import routes as convert
from services.router.convert.fields import invalid
from services.router.convert.plans import header_values
from services.router.core.engine.asked import Asked, Input
from services.router.core.gateway import DEFAULT_GATEWAY, not_found
from services.router.core.page import checked_page, is_uuid
from services.router.core.route import (
    Route,
    RouteDeployment,
    RouteVersion,
    check_comment,
    check_name,
    no_such_route,
)
from services.router.core.route_graph import check_elements
from services.router.counters.store import Scope
from services.router.server.default_gateway import DefaultGateway
from services.router.server.route_book import compiled
from services.router.server.route_simulation import Thought
from services.router.store import By, RouteKey

if TYPE_CHECKING:
    from datetime import datetime

    from headrace.common.v1 import actor_pb2
    from kit.clock import Clock
    from kit.generation import WatchHub
    from services.router.core.engine.compiled import CompiledRoute
    from services.router.core.plan import Catalogue
    from services.router.server.route_simulation import RouteSimulator
    from services.router.store import CustomProviderStore, PlanGateways, RouteStore

__all__ = ["RouteServicer"]


class RouteServicer(RouteServiceServicer):
    """
    Answers `headrace.router.v1.RouteService`.

    Args:
        store: The routes.
        gateways: The gateways, of which `default` makes itself.
        custom_providers: The accounts' own providers, which routes may name.
        hub: Is told of changes.
        catalogue: Has the providers that routes may name.
        simulator: Goes through routes for requests that are only thought of.
        clock: The time.
        log: Where changes are told.
    """

    def __init__(
        self,
        *,
        store: RouteStore,
        gateways: PlanGateways,
        custom_providers: CustomProviderStore,
        hub: WatchHub,
        catalogue: Catalogue,
        simulator: RouteSimulator,
        clock: Clock,
        log: Any,
    ) -> None:
        self._store = store
        self._gateways = gateways
        self._simulator = simulator
        self._custom_providers = custom_providers
        self._hub = hub
        self._catalogue = catalogue
        self._clock = clock
        self._log = log
        self._default = DefaultGateway(store=gateways, clock=clock, log=log)

    async def CreateRoute(self, request: pb.CreateRouteRequest, context: Any) -> pb.CreateRouteResponse:
        """Make a route with a first version, and deploy it."""
        by = self._by(request.actor)
        account_id = check_account_id(request.account_id)
        name = check_name(request.name)
        elements = await self._elements(account_id, request.elements_json)
        await self._default.make(account_id, request.gateway_id, by.actor)
        version = _version(elements, "", by.at, active=True)
        route = Route(
            id=uuid7(),
            account_id=account_id,
            gateway_id=request.gateway_id,
            name=name,
            created_at=by.at,
            updated_at=by.at,
            version=version,
            deployment=RouteDeployment(id=uuid7(), version_id=version.id, created_at=by.at),
        )
        found = await self._store.create(route, by)
        self._tell("route made", found)
        return pb.CreateRouteResponse(route=convert.route(found))

    async def ListRoutes(self, request: pb.ListRoutesRequest, context: Any) -> pb.ListRoutesResponse:
        """List the routes of a gateway; `default` makes itself first."""
        account_id = check_account_id(request.account_id)
        page = checked_page(request.page_size, request.offset)
        await self._default.make(account_id, request.gateway_id, Actor())
        found, total = await self._store.page(account_id, request.gateway_id, page)
        return pb.ListRoutesResponse(routes=map(convert.route, found), total_count=total)

    async def GetRoute(self, request: pb.GetRouteRequest, context: Any) -> pb.GetRouteResponse:
        """Find a route."""
        return pb.GetRouteResponse(route=convert.route(await self._store.get(_key(request))))

    async def RenameRoute(self, request: pb.RenameRouteRequest, context: Any) -> pb.RenameRouteResponse:
        """Give a route another name."""
        key = _key(request)
        found = await self._store.rename(key, check_name(request.name), self._by(request.actor))
        self._tell("route renamed", found)
        return pb.RenameRouteResponse(route=convert.route(found))

    async def DeleteRoute(self, request: pb.DeleteRouteRequest, context: Any) -> pb.DeleteRouteResponse:
        """Delete a route with its versions."""
        found = await self._store.delete(_key(request), self._by(request.actor))
        self._tell("route deleted", found)
        return pb.DeleteRouteResponse(route=convert.route(found))

    async def CreateRouteVersion(
        self, request: pb.CreateRouteVersionRequest, context: Any
    ) -> pb.CreateRouteVersionResponse:
        """Add a version to a route without deploying it."""
        by = self._by(request.actor)
        key = _key(request)
        comment = check_comment(request.comment)
        elements = await self._elements(key.account_id, request.elements_json)
        version = _version(elements, comment, by.at, active=False)
        found = await self._store.add_version(key, version, by)
        self._tell("route version made", found, version_id=version.id)
        return pb.CreateRouteVersionResponse(route=convert.route(found), version=convert.version(version))

    async def ListRouteVersions(
        self, request: pb.ListRouteVersionsRequest, context: Any
    ) -> pb.ListRouteVersionsResponse:
        """List the versions of a route."""
        page = checked_page(request.page_size, request.offset)
        found, total = await self._store.versions(_key(request), page)
        return pb.ListRouteVersionsResponse(versions=map(convert.version, found), total_count=total)

    async def GetRouteVersion(
        self, request: pb.GetRouteVersionRequest, context: Any
    ) -> pb.GetRouteVersionResponse:
        """Find a version of a route."""
        route, version = await self._store.version(_key(request), request.version_id)
        return pb.GetRouteVersionResponse(route=convert.route(route), version=convert.version(version))

    async def DeployRoute(self, request: pb.DeployRouteRequest, context: Any) -> pb.DeployRouteResponse:
        """Let a version answer from now on."""
        by = self._by(request.actor)
        deployment = RouteDeployment(id=uuid7(), version_id=request.version_id, created_at=by.at)
        found = await self._store.deploy(_key(request), deployment, by)
        self._tell("route deployed", found, version_id=found.version.id)
        return pb.DeployRouteResponse(route=convert.route(found))

    async def ListRouteDeployments(
        self, request: pb.ListRouteDeploymentsRequest, context: Any
    ) -> pb.ListRouteDeploymentsResponse:
        """List the deployments of a route."""
        page = checked_page(request.page_size, request.offset)
        found, total = await self._store.deployments(_key(request), page)
        return pb.ListRouteDeploymentsResponse(deployments=map(convert.deployment, found), total_count=total)

    async def SimulateRoute(self, request: pb.SimulateRouteRequest, context: Any) -> pb.SimulateRouteResponse:
        """Tell which way a request would take through a route."""
        account_id = check_account_id(request.account_id)
        gateway_id = request.gateway_id
        if gateway_id != DEFAULT_GATEWAY and (await self._gateways.find(account_id, gateway_id))[0] is None:
            raise not_found(gateway_id)
        if request.elements:
            if request.route_id or request.version_id:
                raise invalid("elements", "Either a route is named, or elements are given.")
            elements = await self._elements(account_id, request.elements)
            route = compiled(elements, self._catalogue.aliases, route_id="", version_id="")
        else:
            route = await self._stored(request, account_id)
        return convert.simulated(await self._simulator.run(route, _thought(request, account_id, route)))

    async def _stored(self, request: pb.SimulateRouteRequest, account_id: str) -> CompiledRoute:
        """Return the version of a route that is named, by the route's id or name."""
        key = _key(request)
        found = (
            None
            if is_uuid(key.route_id)
            else await self._store.find(account_id, key.gateway_id, key.route_id)
        )
        if found is None:
            if not is_uuid(key.route_id):
                raise no_such_route(key.route_id)
            found = await self._store.get(key)
        version = found.version
        if request.version_id:
            _, version = await self._store.version(replace(key, route_id=found.id), request.version_id)
        return compiled(
            version.elements,
            self._catalogue.aliases,
            route_id=found.id,
            version_id=version.id,
            name=found.name,
        )

    async def _elements(self, account_id: str, text: str) -> str:
        own_slugs = await self._custom_providers.slugs(account_id)
        return check_elements(text, lambda name: self._catalogue.knows(name, own_slugs))

    def _by(self, actor: actor_pb2.Actor) -> By:
        return By(actor=actor_of(actor), at=moment.now(self._clock), then=self._hub.advance)

    def _tell(self, event: str, found: Route, **fields: str) -> None:
        self._log.info(
            event, account_id=found.account_id, gateway_id=found.gateway_id, route_id=found.id, **fields
        )


def _key(request: Any) -> RouteKey:
    return RouteKey(
        account_id=check_account_id(request.account_id),
        gateway_id=request.gateway_id,
        route_id=request.route_id,
    )


def _thought(request: pb.SimulateRouteRequest, account_id: str, route: CompiledRoute) -> Thought:
    for index, element_id in enumerate(request.failing):
        if element_id not in route.nodes:
            raise invalid(f"failing.{index}", "The route has no element of this id.")
    draw = request.draw if request.HasField("draw") else None
    if draw is not None and not 0 <= draw < 1:
        raise invalid("draw", "A number from 0 up to 1 is expected, 1 not included.")
    asked = Asked(
        account_id=account_id,
        given=frozenset(Input),
        body=request.body,
        headers=header_values(
            each for each in request.headers if each.name.lower() not in CREDENTIAL_HEADERS
        ),
        metadata=dict(request.metadata),
    )
    return Thought(
        asked=asked,
        scope=Scope(account_id, request.gateway_id),
        token_id=request.token_id,
        failing=frozenset(request.failing),
        draw=draw,
    )


def _version(elements: str, comment: str, now: datetime, *, active: bool) -> RouteVersion:
    return RouteVersion(id=uuid7(), elements=elements, active=active, comment=comment, created_at=now)
