"""
What a gateway does with requests, as far as it is plain values; documented in
`headrace.router.v1.GatewaySettings` and, for people, in docs/gateways.md.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kit.errors import GatewayError, Reason

__all__ = [
    "Backoff",
    "DisconnectPolicy",
    "GatewaySettings",
    "LogStrategy",
    "Retry",
    "Technique",
    "Timeouts",
    "checked_settings",
]

_MOST_COUNT: Final = 2**31 - 1
_MOST_ATTEMPTS: Final = 5
_LONGEST_DELAY_MS: Final = 60_000
_LONGEST_TIMEOUT_MS: Final = 86_400_000
_FEWEST_LOGS: Final = 10_000
_MOST_LOGS: Final = 10_000_000
_SHORTEST_KEY: Final = 16
_LONGEST_KEY: Final = 1024
_STORE_ID: Final = re.compile(r"[A-Za-z0-9_.:/-]{0,256}", re.ASCII)
_BILLING_MODES: Final = ("postpaid", "unified")
# What answers can be kept for. A shorter or longer time is kept as it was set, and brought within these
# where it is used.
_SHORTEST_TTL_S: Final = 60
_LONGEST_TTL_S: Final = 30 * 86_400


class Backoff(StrEnum):
    """How the pause between tries grows."""

    CONSTANT = "constant"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"


class DisconnectPolicy(StrEnum):
    """What happens to the upstream call when the client goes away."""

    CANCEL = "cancel"
    DRAIN = "drain"


class Technique(StrEnum):
    """How requests are counted against a limit."""

    FIXED = "fixed"
    SLIDING = "sliding"


class LogStrategy(StrEnum):
    """What happens when there are as many log entries as there may be."""

    DELETE_OLDEST = "DELETE_OLDEST"
    STOP_INSERTING = "STOP_INSERTING"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Time-outs of one attempt. None: the provider service's own."""

    connect_ms: int | None = None
    first_byte_ms: int | None = None
    idle_ms: int | None = None
    total_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How a step is tried again. None: not said, which is one try, no pause, the same pause each time."""

    max_attempts: int | None = None
    delay_ms: int | None = None
    backoff: Backoff | None = None


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
    cache_invalidate_on_update: bool = False
    rate_limit: int = 0
    rate_limit_interval_s: int = 0
    rate_limit_technique: Technique = Technique.FIXED
    log_management: int = _MOST_LOGS
    log_management_strategy: LogStrategy = LogStrategy.DELETE_OLDEST
    log_classification: bool = False
    logpush: bool = False
    logpush_public_key: str = ""
    zdr: bool = False
    wholesale: bool | None = None
    workers_ai_billing_mode: str = "postpaid"
    store_id: str = ""
    stream_failover: bool = False
    drain_timeout_ms: int | None = None
    cache_stale_while_revalidate_s: int = 0
    cache_stale_if_error_s: int = 0
    cache_replay_paced: bool = False
    cache_no_sharing: bool = False
    idempotency_ttl_s: int = 0

    @property
    def own_keys_only(self) -> bool:
        """Whether the operator's keys are never used, in whichever of two ways that was said."""
        return self.byok_only or self.wholesale is False

    @property
    def effective_cache_ttl_s(self) -> int:
        """How long answers are really kept; zero for not at all."""
        return self.cache_ttl_s and min(max(self.cache_ttl_s, _SHORTEST_TTL_S), _LONGEST_TTL_S)


def checked_settings(settings: GatewaySettings) -> GatewaySettings:
    """
    Return settings that may be kept.

    Raises:
        GatewayError: INVALID_REQUEST; `param` has the name that the setting has in the management API.
    """
    _check_range("cache_ttl", settings.cache_ttl_s, 0, _MOST_COUNT, "seconds")
    _check_range("rate_limiting_limit", settings.rate_limit, 0, _MOST_COUNT, "requests")
    _check_range("rate_limiting_interval", settings.rate_limit_interval_s, 0, _MOST_COUNT, "seconds")
    _check_range("log_management", settings.log_management, _FEWEST_LOGS, _MOST_LOGS, "entries")
    _check_range("retry_max_attempts", settings.retry.max_attempts, 1, _MOST_ATTEMPTS, "tries")
    _check_range("retry_delay", settings.retry.delay_ms, 0, _LONGEST_DELAY_MS, "milliseconds")
    for name in ("connect", "first_byte", "idle", "total"):
        timeout_ms = getattr(settings.timeouts, f"{name}_ms")
        _check_range(f"{name}_timeout", timeout_ms, 1, _LONGEST_TIMEOUT_MS, "milliseconds")
    _check_range("drain_timeout", settings.drain_timeout_ms, 1, _LONGEST_TIMEOUT_MS, "milliseconds")
    for name in ("cache_stale_while_revalidate", "cache_stale_if_error", "idempotency_ttl"):
        _check_range(name, getattr(settings, f"{name}_s"), 0, _LONGEST_TTL_S, "seconds")
    _check_texts(settings)
    return settings


def _check_texts(settings: GatewaySettings) -> None:
    key = settings.logpush_public_key
    if key and not (_SHORTEST_KEY <= len(key) <= _LONGEST_KEY and _is_text(key)):
        raise _invalid(
            "logpush_public_key", f"A public key has {_SHORTEST_KEY} to {_LONGEST_KEY} printable characters."
        )
    if "PRIVATE KEY" in key:
        raise _invalid("logpush_public_key", "This is a private key: only the public one may be stored.")
    if not _STORE_ID.fullmatch(settings.store_id):
        raise _invalid(
            "store_id", "A store's id has at most 256 letters, digits, dots, colons, slashes, _ and -."
        )
    if settings.workers_ai_billing_mode not in _BILLING_MODES:
        raise _invalid("workers_ai_billing_mode", f"One of these is expected: {', '.join(_BILLING_MODES)}.")


def _is_text(text: str) -> bool:
    # PEM has line ends.
    return text.replace("\r", "").replace("\n", "").isprintable()


def _check_range(name: str, value: int | None, least: int, most: int, unit: str) -> None:
    if value is not None and not least <= value <= most:
        raise _invalid(name, f"{least} to {most} {unit} are expected.")


def _invalid(param: str, message: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, message, param=param)
