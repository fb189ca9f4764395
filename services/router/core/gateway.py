"""Gateways and their settings; documented in `headrace.router.v1.Gateway`."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from kit.errors import GatewayError, Reason
from services.router.core.echo import echo

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = [
    "DEFAULT_GATEWAY",
    "Backoff",
    "DisconnectPolicy",
    "Gateway",
    "GatewaySettings",
    "Retry",
    "Timeouts",
    "absent",
    "changed",
    "is_gateway_id",
    "not_found",
]

DEFAULT_GATEWAY = "default"

_ID = re.compile(r"[a-z0-9_]+(?:-[a-z0-9_]+)*", re.ASCII)
_LONGEST_ID = 64


class Backoff(StrEnum):
    """How the pause between tries grows."""

    CONSTANT = "constant"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"


class DisconnectPolicy(StrEnum):
    """What happens to the upstream call when the client goes away."""

    CANCEL = "cancel"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Time-outs of one attempt. None: the provider service's own."""

    connect_ms: int | None = None
    first_byte_ms: int | None = None
    idle_ms: int | None = None
    total_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How a step is tried again. As it stands: not at all."""

    max_attempts: int = 1
    delay_ms: int = 0
    backoff: Backoff = Backoff.CONSTANT


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """What a gateway does with requests. As they stand: the settings of a gateway that made itself."""

    authentication: bool = True
    cache_ttl_s: int = 0
    collect_logs: bool = True
    collect_payloads: bool = True
    timeouts: Timeouts = dataclasses.field(default_factory=Timeouts)
    retry: Retry = dataclasses.field(default_factory=Retry)
    on_disconnect: DisconnectPolicy = DisconnectPolicy.CANCEL
    strict_translation: bool = False
    byok_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A name in the URL under which settings are kept."""

    account_id: str
    id: str
    settings: GatewaySettings
    created_at: datetime
    updated_at: datetime


def is_gateway_id(text: str) -> bool:
    """Tell whether a gateway could have this id."""
    return len(text) <= _LONGEST_ID and _ID.fullmatch(text) is not None


def not_found(gateway_id: str) -> GatewayError:
    """Return the error about a gateway that the account does not have."""
    return GatewayError(
        Reason.GATEWAY_NOT_FOUND,
        "The account has no gateway of that name.",
        gateway_id=echo(gateway_id),
    )


def absent(account_id: str, gateway_id: str, now: datetime) -> Gateway:
    """
    Return the gateway that stands for one that is not stored: `default` makes itself, others do not.

    Raises:
        GatewayError: GATEWAY_NOT_FOUND.
    """
    if gateway_id != DEFAULT_GATEWAY:
        raise not_found(gateway_id)
    return Gateway(
        account_id=account_id, id=gateway_id, settings=GatewaySettings(), created_at=now, updated_at=now
    )


def changed(settings: GatewaySettings, values: Mapping[tuple[str, ...], object]) -> GatewaySettings:
    """
    Return settings with some values replaced.

    Args:
        settings: As they were.
        values: New values by field, or by field and field within it.
    """
    for path, value in values.items():
        first, *rest = path
        new = dataclasses.replace(getattr(settings, first), **{rest[0]: value}) if rest else value
        settings = dataclasses.replace(settings, **{first: new})  # type: ignore[arg-type]  # convert checked it
    return settings
