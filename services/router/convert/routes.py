"""Dynamic routes, as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from headrace.router.v1 import route_service_pb2 as pb
from services.router.convert.fields import duration, timestamp
from services.router.convert.plans import decision

if TYPE_CHECKING:
    from services.router.core.engine.simulation import SimulatedAttempt, SimulatedLimit, Simulation
    from services.router.core.route import Route, RouteDeployment, RouteVersion

_NANO_USD: Final = 1_000_000_000

__all__ = ["deployment", "route", "simulated", "version"]


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


def simulated(found: Simulation) -> pb.SimulateRouteResponse:
    """Return the way of a request that was thought of as a message."""
    return pb.SimulateRouteResponse(
        decision=decision(found.name, found.version_id, found.trace),
        attempts=map(_attempt, found.attempts),
        outcome=found.outcome,
        limits=map(_limit, found.limits),
    )


def _attempt(found: SimulatedAttempt) -> pb.SimulatedAttempt:
    first_byte_s = found.look.first_byte_s
    return pb.SimulatedAttempt(
        element_id=found.element_id,
        provider=found.provider,
        model=found.model,
        circuit=found.look.circuit,
        success_rate=found.look.success_rate,
        first_byte=None if first_byte_s is None else duration(round(first_byte_s * 1000)),
        skipped=found.skipped,
    )


def _limit(found: SimulatedLimit) -> pb.SimulatedLimit:
    per = _NANO_USD if found.unit == "cost" else 1
    return pb.SimulatedLimit(
        element_id=found.element_id,
        rule=found.rule,
        key=found.key,
        unit=found.unit,
        limit=found.limit / per,
        used=found.used / per,
        exceeded=found.exceeded,
    )
