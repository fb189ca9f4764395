"""Dynamic routes, as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.router.v1 import route_service_pb2 as pb
from services.router.convert.fields import timestamp

if TYPE_CHECKING:
    from services.router.core.route import Route, RouteDeployment, RouteVersion

__all__ = ["deployment", "route", "version"]


def route(found: Route) -> pb.Route:
    """Return a route as a message."""
    return pb.Route(
        id=found.id,
        account_id=found.account_id,
        gateway_id=found.gateway_id,
        name=found.name,
        create_time=timestamp(found.created_at),
        update_time=timestamp(found.updated_at),
        version=version(found.version),
        deployment=deployment(found.deployment),
    )


def version(found: RouteVersion) -> pb.RouteVersion:
    """Return a version as a message."""
    return pb.RouteVersion(
        id=found.id,
        elements_json=found.elements,
        active=found.active,
        create_time=timestamp(found.created_at),
        comment=found.comment,
    )


def deployment(found: RouteDeployment) -> pb.RouteDeployment:
    """Return a deployment as a message."""
    return pb.RouteDeployment(
        id=found.id, version_id=found.version_id, create_time=timestamp(found.created_at)
    )
