"""
Dynamic routes between messages and the management API's JSON.

Source of the member names: the public product's dynamic routing, where `active` is text and a version's
elements are JSON text.
"""

from __future__ import annotations

from typing import Any

import orjson

from headrace.common.v1 import http_pb2
from headrace.router.v1 import route_service_pb2 as pb
from services.edge.wire.moment import iso

__all__ = ["deployment", "shown", "simulation", "simulation_request", "version", "version_of"]


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


def simulation_request(account_id: str, gateway_id: str, body: Any) -> pb.SimulateRouteRequest:
    """
    Give a request that is only thought of as a message, without its route.

    Args:
        account_id: Whose gateway.
        gateway_id: Which gateway.
        body: The request, as the management API's model has it.
    """
    return pb.SimulateRouteRequest(
        account_id=account_id,
        gateway_id=gateway_id,
        version_id=body.version_id,
        body=b"" if body.body is None else orjson.dumps(body.body),
        headers=[
            http_pb2.Header(name=name, value=value.encode("utf-8", "surrogatepass"))
            for name, value in body.headers.items()
        ],
        metadata={name: _text(value) for name, value in body.metadata.items()},
        token_id=body.token_id,
        failing=body.failing,
        draw=body.draw,
    )


def simulation(found: pb.SimulateRouteResponse) -> dict[str, Any]:
    """Give the way of such a request as JSON."""
    return {
        "route": found.decision.route,
        "version_id": found.decision.version_id,
        "outcome": found.outcome,
        "steps": [
            {"element_id": each.element_id, "type": each.type, "output": each.output, "reason": each.reason}
            for each in found.decision.steps
        ],
        "attempts": [_attempt(each) for each in found.attempts],
        "limits": [
            {
                "element_id": each.element_id,
                "rule": each.rule,
                "key": each.key,
                "unit": each.unit,
                "limit": each.limit,
                "used": each.used,
                "exceeded": each.exceeded,
            }
            for each in found.limits
        ],
    }


def _attempt(found: pb.SimulatedAttempt) -> dict[str, Any]:
    return {
        "element_id": found.element_id,
        "provider": found.provider,
        "model": found.model,
        "circuit": found.circuit,
        "success_rate": found.success_rate if found.HasField("success_rate") else None,
        "first_byte_ms": found.first_byte.ToMilliseconds() if found.HasField("first_byte") else None,
        "skipped": found.skipped,
    }


def _text(value: str | float | bool) -> str:  # noqa: FBT001 - a value of JSON
    return value if isinstance(value, str) else orjson.dumps(value).decode()
