"""Router's messages to its core types and back. Requests are validated here and trusted behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import duration_pb2, timestamp_pb2

from headrace.common.v1 import http_pb2, lifetime_pb2
from headrace.router.v1 import custom_provider_pb2, gateway_pb2
from headrace.router.v1 import router_service_pb2 as pb
from kit.errors import GatewayError, Reason
from services.router.core.custom_provider import CustomProvider
from services.router.core.echo import echo
from services.router.core.gateway import Backoff, DisconnectPolicy, Retry, Timeouts
from services.router.core.plan import PlanRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from services.router.core.gateway import Gateway, GatewaySettings
    from services.router.core.plan import Plan

__all__ = [
    "changes",
    "custom_provider",
    "custom_provider_message",
    "gateway",
    "invalidation",
    "plan_request",
    "planned",
    "settings",
]


_SHORTEST_CACHE_TTL_S = 60
_LONGEST_CACHE_TTL_S = 30 * 86_400
_MOST_ATTEMPTS = 5
_LONGEST_DELAY_MS = 60_000
_LONGEST_TIMEOUT_MS = 86_400_000

_BACKOFFS = {
    gateway_pb2.BACKOFF_UNSPECIFIED: Backoff.CONSTANT,
    gateway_pb2.BACKOFF_CONSTANT: Backoff.CONSTANT,
    gateway_pb2.BACKOFF_LINEAR: Backoff.LINEAR,
    gateway_pb2.BACKOFF_EXPONENTIAL: Backoff.EXPONENTIAL,
}
_BACKOFF_NUMBERS = {backoff: number for number, backoff in _BACKOFFS.items()}
_POLICIES = {
    gateway_pb2.DISCONNECT_POLICY_UNSPECIFIED: DisconnectPolicy.CANCEL,
    gateway_pb2.DISCONNECT_POLICY_CANCEL: DisconnectPolicy.CANCEL,
    gateway_pb2.DISCONNECT_POLICY_DRAIN: DisconnectPolicy.DRAIN,
}
_POLICY_NUMBERS = {policy: number for number, policy in _POLICIES.items()}


def _invalid(param: str, message: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, message, param=param)


def plan_request(message: pb.PlanRequest) -> PlanRequest:
    """Return what a plan is asked for."""
    if message.continuation:
        raise _invalid("continuation", "No plan was given that could be continued.")
    if message.provider and message.requested_model:
        raise _invalid("provider", "A request names its provider in the URL or in the model, not in both.")
    if message.provider:
        return PlanRequest(authenticated=message.authenticated, provider=message.provider)
    if message.client_dialect == http_pb2.DIALECT_NATIVE:
        raise _invalid("provider", "A native request names its provider.")
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
                custom=None if step.custom is None else custom_provider_message(step.custom),
            )
            for step in plan.steps
        ],
        settings=settings(plan.settings),
        lifetime=lifetime_pb2.Lifetime(
            reuse_for=_duration(int(reuse_for_s * 1000)),
            grace=_duration(int(grace_s * 1000)),
            generation=generation,
            scope=scope,
        ),
    )


def custom_provider(
    message: custom_provider_pb2.CustomProvider, *, account_id: str, now: datetime
) -> CustomProvider:
    """Return a provider as somebody wants it to be, made now. Its account is checked already, it is not."""
    return CustomProvider(
        account_id=account_id,
        slug=message.slug,
        base_url=message.base_url,
        name=message.name,
        headers=tuple((header.name, header.value) for header in message.headers),
        enabled=message.enabled,
        created_at=now,
        updated_at=now,
    )


def custom_provider_message(found: CustomProvider) -> custom_provider_pb2.CustomProvider:
    """Return a provider as a message."""
    return custom_provider_pb2.CustomProvider(
        slug=found.slug,
        base_url=found.base_url,
        name=found.name,
        headers=[http_pb2.Header(name=name, value=value) for name, value in found.headers],
        enabled=found.enabled,
        create_time=_timestamp(found.created_at),
        update_time=_timestamp(found.updated_at),
    )


def gateway(found: Gateway) -> gateway_pb2.Gateway:
    """Return a gateway as a message."""
    return gateway_pb2.Gateway(
        account_id=found.account_id,
        id=found.id,
        settings=settings(found.settings),
        create_time=_timestamp(found.created_at),
        update_time=_timestamp(found.updated_at),
    )


def settings(found: GatewaySettings) -> gateway_pb2.GatewaySettings:
    """Return settings as a message. What is as if it were absent is absent."""
    return gateway_pb2.GatewaySettings(
        authentication=found.authentication,
        cache_ttl=_duration(found.cache_ttl_s * 1000) if found.cache_ttl_s else None,
        collect_logs=found.collect_logs,
        collect_payloads=found.collect_payloads,
        timeouts=None if found.timeouts == Timeouts() else _timeouts_message(found.timeouts),
        retry=None if found.retry == Retry() else _retry_message(found.retry),
        on_disconnect=_POLICY_NUMBERS[found.on_disconnect],
        strict_translation=found.strict_translation,
        byok_only=found.byok_only,
    )


def invalidation(generation: int, scope: str) -> pb.WatchResponse:
    """Return a watch event."""
    return pb.WatchResponse(invalidation=lifetime_pb2.Invalidation(generation=generation, scope=scope))


def changes(request: pb.UpdateGatewayRequest) -> dict[tuple[str, ...], object]:
    """
    Return the values that an update sets, by path.

    Raises:
        GatewayError: INVALID_REQUEST; the mask is empty or names what is no setting, or a value is out of
            its range. Values that the mask does not name are not looked at.
    """
    if not request.update_mask.paths:
        raise _invalid("update_mask", "Name the settings to change.")
    values: dict[tuple[str, ...], object] = {}
    for path in request.update_mask.paths:
        reader = _SETTINGS.get(path)
        if reader is None:
            raise _invalid("update_mask", f"There is no setting named {echo(path)!r}.")
        values[_PATHS.get(path, (path,))] = reader(request.settings)
    return values


def _cache_ttl_s(message: gateway_pb2.GatewaySettings) -> int:
    ttl_ms = _milliseconds(message, "cache_ttl") or 0
    ttl_s, rest = divmod(ttl_ms, 1000)
    if rest or (ttl_s and not _SHORTEST_CACHE_TTL_S <= ttl_s <= _LONGEST_CACHE_TTL_S) or ttl_s < 0:
        raise _invalid("settings.cache_ttl", "A cache TTL is 0, or whole seconds from 60 to 30 days.")
    return ttl_s


def _timeout_ms(message: gateway_pb2.Timeouts, field: str) -> int | None:
    timeout_ms = _milliseconds(message, field)
    if timeout_ms is not None and not 1 <= timeout_ms <= _LONGEST_TIMEOUT_MS:
        raise _invalid(f"settings.timeouts.{field}", "A time-out is from 1 millisecond to 24 hours.")
    return timeout_ms


def _timeouts(message: gateway_pb2.Timeouts) -> Timeouts:
    return Timeouts(
        connect_ms=_timeout_ms(message, "connect"),
        first_byte_ms=_timeout_ms(message, "first_byte"),
        idle_ms=_timeout_ms(message, "idle"),
        total_ms=_timeout_ms(message, "total"),
    )


def _max_attempts(message: gateway_pb2.Retry) -> int:
    if not 0 <= message.max_attempts <= _MOST_ATTEMPTS:
        raise _invalid("settings.retry.max_attempts", f"There are 1 to {_MOST_ATTEMPTS} tries.")
    return message.max_attempts or 1


def _delay_ms(message: gateway_pb2.Retry) -> int:
    delay_ms = _milliseconds(message, "delay") or 0
    if not 0 <= delay_ms <= _LONGEST_DELAY_MS:
        raise _invalid("settings.retry.delay", "A pause between tries is from 0 to 60 seconds.")
    return delay_ms


def _backoff(message: gateway_pb2.Retry) -> Backoff:
    if message.backoff not in _BACKOFFS:
        raise _invalid("settings.retry.backoff", "There is no such backoff.")
    return _BACKOFFS[message.backoff]


def _retry(message: gateway_pb2.Retry) -> Retry:
    return Retry(max_attempts=_max_attempts(message), delay_ms=_delay_ms(message), backoff=_backoff(message))


def _on_disconnect(message: gateway_pb2.GatewaySettings) -> DisconnectPolicy:
    if message.on_disconnect not in _POLICIES:
        raise _invalid("settings.on_disconnect", "There is no such policy.")
    return _POLICIES[message.on_disconnect]


# What a mask may name, and how its value is read. Names are those of the message; where a field has another
# name in the core, `_PATHS` has it.
_SETTINGS: dict[str, Callable[[gateway_pb2.GatewaySettings], object]] = {
    "authentication": lambda message: message.authentication,
    "cache_ttl": _cache_ttl_s,
    "collect_logs": lambda message: message.collect_logs,
    "collect_payloads": lambda message: message.collect_payloads,
    "timeouts": lambda message: _timeouts(message.timeouts),
    "timeouts.connect": lambda message: _timeout_ms(message.timeouts, "connect"),
    "timeouts.first_byte": lambda message: _timeout_ms(message.timeouts, "first_byte"),
    "timeouts.idle": lambda message: _timeout_ms(message.timeouts, "idle"),
    "timeouts.total": lambda message: _timeout_ms(message.timeouts, "total"),
    "retry": lambda message: _retry(message.retry),
    "retry.max_attempts": lambda message: _max_attempts(message.retry),
    "retry.delay": lambda message: _delay_ms(message.retry),
    "retry.backoff": lambda message: _backoff(message.retry),
    "on_disconnect": _on_disconnect,
    "strict_translation": lambda message: message.strict_translation,
    "byok_only": lambda message: message.byok_only,
}
_PATHS: dict[str, tuple[str, ...]] = {
    "cache_ttl": ("cache_ttl_s",),
    "timeouts.connect": ("timeouts", "connect_ms"),
    "timeouts.first_byte": ("timeouts", "first_byte_ms"),
    "timeouts.idle": ("timeouts", "idle_ms"),
    "timeouts.total": ("timeouts", "total_ms"),
    "retry.max_attempts": ("retry", "max_attempts"),
    "retry.delay": ("retry", "delay_ms"),
    "retry.backoff": ("retry", "backoff"),
}


def _timeouts_message(found: Timeouts) -> gateway_pb2.Timeouts:
    return gateway_pb2.Timeouts(
        connect=_duration(found.connect_ms),
        first_byte=_duration(found.first_byte_ms),
        idle=_duration(found.idle_ms),
        total=_duration(found.total_ms),
    )


def _retry_message(found: Retry) -> gateway_pb2.Retry:
    return gateway_pb2.Retry(
        max_attempts=found.max_attempts,
        delay=_duration(found.delay_ms),
        backoff=_BACKOFF_NUMBERS[found.backoff],
    )


def _milliseconds(message: Any, field: str) -> int | None:
    """Return a duration, rounded up so that what is not zero does not become zero; None when absent."""
    if not message.HasField(field):
        return None
    duration: duration_pb2.Duration = getattr(message, field)
    return duration.seconds * 1000 - (-duration.nanos // 1_000_000)


def _duration(duration_ms: int | None) -> duration_pb2.Duration | None:
    if duration_ms is None:
        return None
    message = duration_pb2.Duration()
    message.FromMilliseconds(duration_ms)
    return message


def _timestamp(when: datetime) -> timestamp_pb2.Timestamp:
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(when)
    return message
