"""Stored provider keys between messages and the management API's JSON."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.duration_pb2 import Duration

from headrace.auth.v1 import provider_config_pb2 as pb
from services.edge.wire.moment import iso, iso_or_none

__all__ = ["period", "shown"]

_PERIOD_S: Final = 60.0
_STATUS: Final = {
    pb.KEY_STATUS_UNSPECIFIED: "unused",
    pb.KEY_STATUS_ACTIVE: "active",
    pb.KEY_STATUS_INVALID: "invalid",
    pb.KEY_STATUS_LIMITED: "limited",
}


def shown(config: pb.ProviderConfig) -> dict[str, Any]:
    """Give a key, without the key, as JSON."""
    limited = config.HasField("rate_limit") and config.rate_limit > 0
    kept_period = config.HasField("rate_limit_period")
    return {
        "id": config.id,
        "account_id": config.account_id,
        "account_tag": config.account_id,
        "gateway_id": config.gateway_id,
        "provider_slug": config.provider,
        "alias": config.alias,
        "default_config": config.default_config,
        "secret_id": config.secret_ref or config.id,
        "secret_preview": config.secret_preview,
        "secret_fingerprint": config.secret_fingerprint,
        "weight": config.weight or 1,
        "rate_limit": config.rate_limit if limited else None,
        "rate_limit_period": config.rate_limit_period.ToMilliseconds() / 1000 if kept_period else _PERIOD_S,
        "status": _STATUS[config.status],
        "created_at": iso(config.create_time),
        "modified_at": iso(config.update_time),
        "last_used_at": iso_or_none(config.last_use_time),
    }


def period(seconds: float | None) -> Duration | None:
    """Write a period; None where none was given."""
    if seconds is None:
        return None
    duration = Duration()
    duration.FromMilliseconds(round(seconds * 1000))
    return duration
