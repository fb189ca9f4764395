"""
Dynamic routes between messages and the management API's JSON.

Source of the member names: the public product's dynamic routing, where `active` is text and a version's
elements are JSON text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from services.edge.wire.moment import iso

if TYPE_CHECKING:
    from headrace.router.v1 import route_service_pb2 as pb

__all__ = ["deployment", "shown", "version", "version_of"]


def shown(route: pb.Route) -> dict[str, Any]:
    """Give a route as JSON."""
    return {
        **_head(route),
        "elements": _elements(route.version),
        "version": version(route.version),
        "deployment": deployment(route.deployment),
        "created_at": iso(route.create_time),
        "modified_at": iso(route.update_time),
    }


def version(found: pb.RouteVersion) -> dict[str, Any]:
    """Give a version as JSON."""
    return {
        "version_id": found.id,
        "active": "true" if found.active else "false",
        "created_at": iso(found.create_time),
        "data": found.elements_json,
        "is_valid": True,  # what makes no route is not kept
        "comment": found.comment,
    }


def version_of(route: pb.Route, found: pb.RouteVersion) -> dict[str, Any]:
    """Give a version with the route that it is of."""
    return {
        **_head(route),
        "elements": _elements(found),
        **version(found),
        "modified_at": iso(route.update_time),
    }


def deployment(found: pb.RouteDeployment) -> dict[str, Any]:
    """Give a deployment as JSON."""
    return {
        "deployment_id": found.id,
        "version_id": found.version_id,
        "created_at": iso(found.create_time),
    }


def _head(route: pb.Route) -> dict[str, Any]:
    return {
        "id": route.id,
        "account_id": route.account_id,
        "account_tag": route.account_id,
        "gateway_id": route.gateway_id,
        "name": route.name,
    }


def _elements(found: pb.RouteVersion) -> Any:
    return orjson.loads(found.elements_json)
