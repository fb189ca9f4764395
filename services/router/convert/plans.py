"""Plans and watches, as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.common.v1 import http_pb2, lifetime_pb2
from headrace.router.v1 import router_service_pb2 as pb
from services.router.convert.custom_providers import plan_provider
from services.router.convert.fields import duration, invalid
from services.router.convert.gateways import plan_settings
from services.router.core.plan import PlanRequest

if TYPE_CHECKING:
    from services.router.core.plan import Plan

__all__ = ["invalidation", "plan_request", "planned"]


def plan_request(message: pb.PlanRequest) -> PlanRequest:
    """Return what a plan is asked for."""
    if message.continuation:
        raise invalid("continuation", "No plan was given that could be continued.")
    if message.provider and message.requested_model:
        raise invalid("provider", "A request names its provider in the URL or in the model, not in both.")
    if message.provider:
        return PlanRequest(authenticated=message.authenticated, provider=message.provider)
    if message.client_dialect == http_pb2.DIALECT_NATIVE:
        raise invalid("provider", "A native request names its provider.")
    return PlanRequest(authenticated=message.authenticated, requested_model=message.requested_model)


def planned(
    plan: Plan, *, reuse_for_s: float, grace_s: float, generation: int, scope: str
) -> pb.PlanResponse:
    """Return a plan as a message."""
    if not plan.steps:
        # What a stranger asks about is not kept: they choose the key, and would fill the keeper's memory.
        reuse_for_s = grace_s = 0.0
    return pb.PlanResponse(
        steps=[
            pb.Step(
                provider=step.provider,
                model=step.model or "",
                custom=None if step.custom is None else plan_provider(step.custom),
            )
            for step in plan.steps
        ],
        settings=plan_settings(plan.settings),
        lifetime=lifetime_pb2.Lifetime(
            reuse_for=duration(int(reuse_for_s * 1000)),
            grace=duration(int(grace_s * 1000)),
            generation=generation,
            scope=scope,
        ),
    )


def invalidation(generation: int, scope: str) -> pb.WatchResponse:
    """Return a watch event."""
    return pb.WatchResponse(invalidation=lifetime_pb2.Invalidation(generation=generation, scope=scope))
