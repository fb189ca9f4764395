"""Plans and watches, as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from headrace.common.v1 import decision_pb2, http_pb2, lifetime_pb2
from headrace.router.v1 import gateway_pb2
from headrace.router.v1 import router_service_pb2 as pb
from services.router.convert.custom_providers import plan_provider
from services.router.convert.fields import duration, invalid
from services.router.convert.gateways import plan_settings
from services.router.core.engine.asked import Asked, Input
from services.router.core.engine.effects import Failed
from services.router.core.plan import PlanRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.common.v1 import http_pb2 as http
    from services.router.core.engine.state import Passed
    from services.router.core.plan import Plan, RouteSteps, Step

__all__ = ["asked", "decision", "failed", "header_values", "invalidation", "plan_request", "planned"]

_INPUTS: Final = {
    Input.BODY: pb.PLAN_INPUT_BODY,
    Input.HEADERS: pb.PLAN_INPUT_HEADERS,
    Input.METADATA: pb.PLAN_INPUT_METADATA,
}


def plan_request(message: pb.PlanRequest) -> PlanRequest:
    """Return what a plan is asked for."""
    if message.provider and message.requested_model:
        raise invalid("provider", "A request names its provider in the URL or in the model, not in both.")
    if message.provider and not message.continuation:
        return PlanRequest(authenticated=message.authenticated, provider=message.provider)
    if message.client_dialect == http_pb2.DIALECT_NATIVE:
        raise invalid("provider", "A native request names its provider.")
    found = PlanRequest(authenticated=message.authenticated, requested_model=message.requested_model)
    if message.continuation and not found.for_route:
        raise invalid("continuation", "No plan was given that could be continued.")
    return found


def asked(message: pb.PlanRequest, account_id: str) -> Asked:
    """Return what a request says of itself."""
    return Asked(
        account_id=account_id,
        given=frozenset(each for each, number in _INPUTS.items() if number in message.given),
        body=message.body,
        headers=header_values(message.headers),
        metadata=dict(message.caller.metadata),
    )


def header_values(headers: Iterable[http.Header]) -> dict[str, list[str]]:
    """Return the values of headers by name, in lower case."""
    found: dict[str, list[str]] = {}
    for header in headers:
        found.setdefault(header.name.lower(), []).append(header.value.decode("utf-8", "replace"))
    return found


def failed(message: pb.PlanRequest) -> Failed:
    """Return how the last step ended."""
    return Failed(reason=message.failure.reason, status=message.failure.status)


def planned(
    plan: Plan,
    *,
    reuse_for_s: float,
    grace_s: float,
    generation: int,
    scope: str,
    limited: bool = False,
) -> pb.PlanResponse:
    """Return a plan as a message."""
    route = plan.route
    if not plan.steps and (route is None or not route.needs):
        # What a stranger asks about is not kept: they choose the key, and would fill the keeper's memory.
        reuse_for_s = grace_s = 0.0
    elif route is not None and route.reuse_for_s is not None:
        reuse_for_s = min(reuse_for_s, route.reuse_for_s)
        grace_s = grace_s if reuse_for_s else 0.0
    return pb.PlanResponse(
        steps=map(_step, plan.steps),
        settings=plan_settings(plan.settings),
        continuation=b"" if route is None else route.continuation,
        needs=[] if route is None else [_INPUTS[each] for each in sorted(route.needs)],
        decision=None if route is None or not route.trace else _decision(route),
        ticket=b"" if route is None else route.ticket,
        counted=b"" if route is None else route.counted,
        limited=limited or (route is not None and bool(route.ticket)),
        lifetime=lifetime_pb2.Lifetime(
            reuse_for=duration(int(reuse_for_s * 1000)),
            grace=duration(int(grace_s * 1000)),
            generation=generation,
            scope=scope,
        ),
    )


def decision(name: str, version_id: str, trace: Iterable[Passed]) -> decision_pb2.Decision:
    """Return how a route came to what it says."""
    return decision_pb2.Decision(
        route=name,
        version_id=version_id,
        steps=[
            decision_pb2.DecisionStep(
                element_id=each.element_id, type=each.type, output=each.output, reason=each.reason
            )
            for each in trace
        ],
    )


def _decision(route: RouteSteps) -> decision_pb2.Decision:
    return decision(route.name, route.version_id, route.trace)


def _step(step: Step) -> pb.Step:
    if not step.element_id:
        custom = None if step.custom is None else plan_provider(step.custom)
        return pb.Step(provider=step.provider, model=step.model or "", custom=custom)
    return pb.Step(
        provider=step.provider,
        model=step.model or "",
        custom=None if step.custom is None else plan_provider(step.custom),
        element_id=step.element_id,
        timeouts=(
            None
            if step.first_byte_ms is None
            else gateway_pb2.Timeouts(first_byte=duration(step.first_byte_ms))
        ),
        retry=None if step.retries is None else gateway_pb2.Retry(max_attempts=step.retries + 1),
        stream_failover=step.stream_failover,
    )


def invalidation(generation: int, scope: str) -> pb.WatchResponse:
    """Return a watch event."""
    return pb.WatchResponse(invalidation=lifetime_pb2.Invalidation(generation=generation, scope=scope))
