"""Gateways and their settings, as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.router.v1 import gateway_pb2 as pb
from services.router.convert.fields import choice, duration, invalid, milliseconds, seconds, timestamp
from services.router.core.documents import Documents, checked_documents
from services.router.core.settings import (
    Backoff,
    DisconnectPolicy,
    GatewaySettings,
    LogStrategy,
    Retry,
    Technique,
    Timeouts,
    checked_settings,
)

if TYPE_CHECKING:
    from headrace.router.v1 import gateway_service_pb2
    from services.router.core.gateway import ManagedGateway

__all__ = ["gateway", "plan_settings", "settings", "wanted"]

_BACKOFFS = {
    pb.BACKOFF_UNSPECIFIED: None,
    pb.BACKOFF_CONSTANT: Backoff.CONSTANT,
    pb.BACKOFF_LINEAR: Backoff.LINEAR,
    pb.BACKOFF_EXPONENTIAL: Backoff.EXPONENTIAL,
}
_BACKOFF_NUMBERS = {found: number for number, found in _BACKOFFS.items()}
_POLICIES = {
    pb.DISCONNECT_POLICY_UNSPECIFIED: DisconnectPolicy.CANCEL,
    pb.DISCONNECT_POLICY_CANCEL: DisconnectPolicy.CANCEL,
    pb.DISCONNECT_POLICY_DRAIN: DisconnectPolicy.DRAIN,
}
# The later of two numbers for the same, which is the one that says so.
_POLICY_NUMBERS = {found: number for number, found in _POLICIES.items()}
_TECHNIQUES = {
    pb.RATE_LIMIT_TECHNIQUE_UNSPECIFIED: Technique.FIXED,
    pb.RATE_LIMIT_TECHNIQUE_FIXED: Technique.FIXED,
    pb.RATE_LIMIT_TECHNIQUE_SLIDING: Technique.SLIDING,
}
_TECHNIQUE_NUMBERS = {found: number for number, found in _TECHNIQUES.items()}
_STRATEGIES = {
    pb.LOG_MANAGEMENT_STRATEGY_UNSPECIFIED: LogStrategy.DELETE_OLDEST,
    pb.LOG_MANAGEMENT_STRATEGY_DELETE_OLDEST: LogStrategy.DELETE_OLDEST,
    pb.LOG_MANAGEMENT_STRATEGY_STOP_INSERTING: LogStrategy.STOP_INSERTING,
}
_STRATEGY_NUMBERS = {found: number for number, found in _STRATEGIES.items()}

_OTHER_TIMES = ("cache_stale_while_revalidate", "cache_stale_if_error", "idempotency_ttl")


def wanted(
    request: gateway_service_pb2.CreateGatewayRequest | gateway_service_pb2.ReplaceGatewayRequest,
) -> tuple[GatewaySettings, Documents]:
    """
    Return what a gateway is to do.

    Raises:
        GatewayError: INVALID_REQUEST; `param` has the name or path that it has in the management API.
    """
    if not request.HasField("settings"):
        raise invalid("settings", "Say what the gateway is to do.")
    return settings(request.settings), _documents(request.settings)


def settings(message: pb.GatewaySettings) -> GatewaySettings:
    """
    Return settings that may be kept; what is left out gets its default.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    found = GatewaySettings(
        authentication=message.authentication,
        cache_ttl_s=seconds(message, "cache_ttl", param="cache_ttl"),
        collect_logs=message.collect_logs,
        collect_payloads=message.collect_payloads,
        timeouts=_timeouts(message.timeouts),
        retry=_retry(message.retry),
        on_disconnect=choice(_POLICIES, message.on_disconnect, param="on_disconnect"),
        strict_translation=message.strict_translation,
        byok_only=message.byok_only,
        cache_invalidate_on_update=message.cache_invalidate_on_update,
        rate_limit=message.rate_limit,
        rate_limit_interval_s=seconds(message, "rate_limit_interval", param="rate_limiting_interval"),
        rate_limit_technique=choice(
            _TECHNIQUES, message.rate_limit_technique, param="rate_limiting_technique"
        ),
        log_management_strategy=choice(
            _STRATEGIES, message.log_management_strategy, param="log_management_strategy"
        ),
        log_classification=message.log_classification,
        logpush=message.logpush,
        logpush_public_key=message.logpush_public_key,
        zdr=message.zdr,
        wholesale=message.wholesale if message.HasField("wholesale") else None,
        workers_ai_billing_mode=message.workers_ai_billing_mode or "postpaid",
        store_id=message.store_id,
        stream_failover=message.stream_failover,
        drain_timeout_ms=milliseconds(message, "drain_timeout"),
        cache_replay_paced=message.cache_replay_paced,
        cache_no_sharing=message.cache_no_sharing,
        **{f"{name}_s": seconds(message, name, param=name) for name in _OTHER_TIMES},
        **({"log_management": message.log_management} if message.HasField("log_management") else {}),
    )
    return checked_settings(found)


def gateway(found: ManagedGateway) -> pb.Gateway:
    """Return a gateway as a message, with everything that is kept of it."""
    kept, documents = found.gateway, found.documents
    message = pb.Gateway(
        account_id=kept.account_id,
        id=kept.id,
        internal_id=kept.internal_id,
        settings=_settings_message(kept.settings),
        create_time=timestamp(kept.created_at),
        update_time=timestamp(kept.updated_at),
    )
    message.settings.MergeFrom(
        pb.GatewaySettings(
            dlp_json=documents.dlp,
            guardrails_json=documents.guardrails,
            otel_json=documents.otel,
            rate_limits_json=documents.rate_limits,
            spend_limits_json=documents.spend_limits,
            stripe_json=documents.stripe,
        )
    )
    return message


def plan_settings(found: GatewaySettings) -> pb.GatewaySettings:
    """Return what a plan says of settings: what is acted on for each request, as it applies."""
    return pb.GatewaySettings(
        authentication=found.authentication,
        cache_ttl=duration(found.effective_cache_ttl_s * 1000) if found.cache_ttl_s else None,
        collect_logs=found.collect_logs,
        collect_payloads=found.collect_payloads,
        timeouts=None if found.timeouts == Timeouts() else _timeouts_message(found.timeouts),
        retry=None if found.retry == Retry() else _retry_message(found.retry),
        on_disconnect=_POLICY_NUMBERS[found.on_disconnect],
        strict_translation=found.strict_translation,
        byok_only=found.own_keys_only,
        zdr=found.zdr,
        **_traffic(found),
    )


def _traffic(found: GatewaySettings) -> dict[str, Any]:
    """Return what stands alike in plans and in gateways; what is off is left out."""
    times = {name: getattr(found, f"{name}_s") for name in _OTHER_TIMES}
    return {
        "stream_failover": found.stream_failover,
        "drain_timeout": duration(found.drain_timeout_ms),
        "cache_replay_paced": found.cache_replay_paced,
        "cache_no_sharing": found.cache_no_sharing,
        **{name: duration(time_s * 1000) for name, time_s in times.items() if time_s},
    }


def _settings_message(found: GatewaySettings) -> pb.GatewaySettings:
    return pb.GatewaySettings(
        authentication=found.authentication,
        cache_ttl=duration(found.cache_ttl_s * 1000) if found.cache_ttl_s else None,
        collect_logs=found.collect_logs,
        collect_payloads=found.collect_payloads,
        timeouts=None if found.timeouts == Timeouts() else _timeouts_message(found.timeouts),
        retry=None if found.retry == Retry() else _retry_message(found.retry),
        on_disconnect=_POLICY_NUMBERS[found.on_disconnect],
        strict_translation=found.strict_translation,
        byok_only=found.byok_only,
        cache_invalidate_on_update=found.cache_invalidate_on_update,
        rate_limit=found.rate_limit,
        rate_limit_interval=(
            duration(found.rate_limit_interval_s * 1000) if found.rate_limit_interval_s else None
        ),
        rate_limit_technique=_TECHNIQUE_NUMBERS[found.rate_limit_technique],
        log_management=found.log_management,
        log_management_strategy=_STRATEGY_NUMBERS[found.log_management_strategy],
        log_classification=found.log_classification,
        logpush=found.logpush,
        logpush_public_key=found.logpush_public_key,
        zdr=found.zdr,
        wholesale=found.wholesale,
        workers_ai_billing_mode=found.workers_ai_billing_mode,
        store_id=found.store_id,
        **_traffic(found),
    )


def _documents(message: pb.GatewaySettings) -> Documents:
    return checked_documents(
        Documents(
            dlp=message.dlp_json,
            guardrails=message.guardrails_json,
            otel=message.otel_json,
            rate_limits=message.rate_limits_json,
            spend_limits=message.spend_limits_json,
            stripe=message.stripe_json,
        )
    )


def _timeouts(message: pb.Timeouts) -> Timeouts:
    return Timeouts(
        connect_ms=milliseconds(message, "connect"),
        first_byte_ms=milliseconds(message, "first_byte"),
        idle_ms=milliseconds(message, "idle"),
        total_ms=milliseconds(message, "total"),
    )


def _timeouts_message(found: Timeouts) -> pb.Timeouts:
    return pb.Timeouts(
        connect=duration(found.connect_ms),
        first_byte=duration(found.first_byte_ms),
        idle=duration(found.idle_ms),
        total=duration(found.total_ms),
    )


def _retry(message: pb.Retry) -> Retry:
    return Retry(
        max_attempts=message.max_attempts or None,
        delay_ms=milliseconds(message, "delay"),
        backoff=choice(_BACKOFFS, message.backoff, param="retry_backoff"),
    )


def _retry_message(found: Retry) -> pb.Retry:
    return pb.Retry(
        max_attempts=found.max_attempts or 0,
        delay=duration(found.delay_ms),
        backoff=_BACKOFF_NUMBERS[found.backoff],
    )
