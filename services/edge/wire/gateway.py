"""
Gateways between messages and the management API's JSON.

Source of the member names: the public product's gateway object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
from google.protobuf.duration_pb2 import Duration

from headrace.router.v1 import gateway_pb2 as pb
from services.edge.wire.moment import iso

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["settings", "shown"]

_DEFAULT: Final = "default"
_MOST_LOGS: Final = 10_000_000
# Objects that are JSON text between services.
_DOCUMENTS: Final = ("dlp", "guardrails", "otel", "rate_limits", "spend_limits", "stripe")
_SAME: Final = (
    "authentication", "byok_only", "cache_invalidate_on_update", "cache_no_sharing", "cache_replay_paced",
    "collect_logs", "collect_payloads", "log_classification", "logpush", "stream_failover",
    "strict_translation", "zdr",
)  # fmt: skip
_TIMES: Final = ("cache_stale_if_error", "cache_stale_while_revalidate", "idempotency_ttl")
_TIMEOUTS: Final = ("connect", "first_byte", "idle", "total")


def settings(body: Any) -> pb.GatewaySettings:
    """Write settings from the body of a request, a `CreateGateway` or `ReplaceGateway`."""
    message = pb.GatewaySettings(
        **{name: getattr(body, name) for name in _SAME},
        cache_ttl=_seconds(body.cache_ttl),
        drain_timeout=_milliseconds(body.drain_timeout),
        rate_limit=body.rate_limiting_limit or 0,
        rate_limit_interval=_seconds(body.rate_limiting_interval),
        rate_limit_technique=_number(pb.RateLimitTechnique, body.rate_limiting_technique),
        log_management=body.log_management,
        log_management_strategy=_number(pb.LogManagementStrategy, body.log_management_strategy),
        logpush_public_key=body.logpush_public_key or "",
        wholesale=body.wholesale,
        workers_ai_billing_mode=body.workers_ai_billing_mode,
        store_id=body.store_id or "",
        on_disconnect=_number(pb.DisconnectPolicy, body.on_disconnect),
        retry=pb.Retry(
            max_attempts=body.retry_max_attempts or 0,
            delay=_milliseconds(body.retry_delay),
            backoff=_number(pb.Backoff, body.retry_backoff),
        ),
        timeouts=pb.Timeouts(**{name: _milliseconds(getattr(body, f"{name}_timeout")) for name in _TIMEOUTS}),
    )
    for name in _TIMES:
        if seconds := getattr(body, name):
            getattr(message, name).CopyFrom(Duration(seconds=seconds))
    for name in _DOCUMENTS:
        value = getattr(body, name)
        if value is not None:
            setattr(message, f"{name}_json", orjson.dumps(value, default=_plain).decode())
    return message


def shown(gateway: pb.Gateway) -> dict[str, Any]:
    """Give a gateway as JSON."""
    kept = gateway.settings
    return {
        "id": gateway.id,
        "internal_id": gateway.internal_id,
        "account_id": gateway.account_id,
        "account_tag": gateway.account_id,
        "created_at": iso(gateway.create_time),
        "modified_at": iso(gateway.update_time),
        "is_default": gateway.id == _DEFAULT,
        **{name: getattr(kept, name) for name in _SAME},
        **{name: getattr(kept, name).seconds for name in _TIMES},
        "cache_ttl": kept.cache_ttl.seconds,
        "drain_timeout": kept.drain_timeout.ToMilliseconds() if kept.HasField("drain_timeout") else None,
        "rate_limiting_interval": kept.rate_limit_interval.seconds,
        "rate_limiting_limit": kept.rate_limit,
        "rate_limiting_technique": _name(pb.RateLimitTechnique, kept.rate_limit_technique) or "fixed",
        "retry_max_attempts": kept.retry.max_attempts or None,
        "retry_delay": kept.retry.delay.ToMilliseconds() if kept.retry.HasField("delay") else None,
        "retry_backoff": _name(pb.Backoff, kept.retry.backoff),
        "log_management": kept.log_management if kept.HasField("log_management") else _MOST_LOGS,
        "log_management_strategy": (
            _name(pb.LogManagementStrategy, kept.log_management_strategy) or "delete_oldest"
        ).upper(),
        "logpush_public_key": kept.logpush_public_key or None,
        "wholesale": kept.wholesale if kept.HasField("wholesale") else True,
        "workers_ai_billing_mode": kept.workers_ai_billing_mode or "postpaid",
        "store_id": kept.store_id or None,
        "on_disconnect": _name(pb.DisconnectPolicy, kept.on_disconnect) or "cancel",
        **{f"{name}_timeout": _timeout(kept.timeouts, name) for name in _TIMEOUTS},
        **{name: _document(getattr(kept, f"{name}_json")) for name in _DOCUMENTS},
    }


def _document(text: str) -> Any:
    return orjson.loads(text) if text else None


def _plain(value: BaseModel) -> dict[str, Any]:
    return value.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _seconds(value: int | None) -> Duration | None:
    return None if value is None else Duration(seconds=value)


def _milliseconds(value: int | None) -> Duration | None:
    if value is None:
        return None
    duration = Duration()
    duration.FromMilliseconds(value)
    return duration


def _timeout(timeouts: pb.Timeouts, name: str) -> int | None:
    return getattr(timeouts, name).ToMilliseconds() if timeouts.HasField(name) else None  # type: ignore[arg-type]  # a field's name


def _number(enum: Any, name: str | None) -> Any:
    """Give the number of an enum's value by its name without prefix, in whatever case."""
    return 0 if name is None else _by_name(enum)[name.lower()]


def _name(enum: Any, number: int) -> str | None:
    """Give the name of an enum's value, without prefix and in lower case; None for the first, unspecified."""
    return None if number == 0 else next(name for name, found in _by_name(enum).items() if found == number)


def _by_name(enum: Any) -> dict[str, int]:
    prefix = enum.keys()[0].removesuffix("UNSPECIFIED")
    return {name.removeprefix(prefix).lower(): number for name, number in enum.items()}
