"""
Provider configs: what is known of a stored key besides the key, what may be chosen, and which make a pool.

The key itself is never part of a type here.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from kit.errors import GatewayError, Reason
from services.auth.core.secret_ref import parse

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from kit.secret import Secret

__all__ = [
    "DEFAULT_ALIAS",
    "MOST_IN_GATEWAY",
    "KeyReport",
    "KeyStatus",
    "ProviderConfig",
    "ProviderConfigChange",
    "aliases",
    "applied",
    "check_config",
    "check_secret",
    "fingerprint",
    "pool",
    "preview",
]

DEFAULT_ALIAS: Final = "default"
MOST_IN_GATEWAY: Final = 200
"""Bounds what an answer about a gateway's keys holds, and what one reads to give it."""

_GATEWAY = re.compile(r"[a-z0-9_]+(?:-[a-z0-9_]+)*", re.ASCII)
_SLUG = re.compile(r"[a-z0-9]+(?:[-_.][a-z0-9]+)*", re.ASCII)
_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_LONGEST_NAME = 64
_LARGEST_WEIGHT = 1000
_LARGEST_LIMIT = 1_000_000_000
_LONGEST_PERIOD_MS = 30 * 86_400_000
_LONGEST_SECRET = 65_536
_SHOWN = 4
_FINGERPRINT = 8
_SHOWN_FROM = 12  # of a shorter one the last four would be too much of it


class KeyStatus(StrEnum):
    """How a provider took a key last; documented in `headrace.auth.v1.KeyStatus`."""

    UNUSED = "unused"
    ACTIVE = "active"
    INVALID = "invalid"
    LIMITED = "limited"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConfig:
    """
    A stored key without the key.

    Attributes:
        secret_ref: Where the key is. Empty: it is sealed here.
        secret_preview: Its last characters. Empty: not known.
        secret_fingerprint: As `fingerprint` gives it. Empty: not known.
        rate_limit: Most requests in a period. None: any number.
        last_used_at: None: never.
    """

    id: str
    account_id: str
    gateway_id: str
    provider: str
    alias: str
    created_at: datetime
    updated_at: datetime
    default_config: bool = False
    secret_ref: str = ""
    secret_preview: str = ""
    secret_fingerprint: str = ""
    weight: int = 1
    rate_limit: int | None = None
    rate_limit_period_ms: int = 60_000
    status: KeyStatus = KeyStatus.UNUSED
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConfigChange:
    """
    What to change of a provider config; None leaves a member as it is.

    Attributes:
        secret: A new key to be sealed here.
        secret_ref: Where a new key is.
        rate_limit: Zero: none from now on.
    """

    secret: Secret | None = None
    secret_ref: str | None = None
    alias: str | None = None
    weight: int | None = None
    rate_limit: int | None = None
    rate_limit_period_ms: int | None = None
    default_config: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReport:
    """How a key was taken, and when it was used."""

    id: str
    status: KeyStatus
    used_at: datetime


def check_config(config: ProviderConfig) -> None:
    """
    See that what is chosen of a config is within bounds.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    _check(_named(_GATEWAY, config.gateway_id), "gateway_id", "That is not a gateway's id.")
    _check(_named(_SLUG, config.provider), "provider", "That is not a provider's name.")
    _check(
        _ALIAS.fullmatch(config.alias) is not None,
        "alias",
        "An alias has 1 to 64 letters, digits, hyphens or underscores.",
    )
    _check(1 <= config.weight <= _LARGEST_WEIGHT, "weight", f"A weight is 1 to {_LARGEST_WEIGHT}.")
    _check(
        config.rate_limit is None or 1 <= config.rate_limit <= _LARGEST_LIMIT,
        "rate_limit",
        f"A rate limit is 1 to {_LARGEST_LIMIT} requests.",
    )
    _check(
        1_000 <= config.rate_limit_period_ms <= _LONGEST_PERIOD_MS,
        "rate_limit_period",
        "A rate limit's period is 1 second to 30 days.",
    )
    if config.secret_ref:
        parse(config.secret_ref)


def check_secret(text: str) -> None:
    """
    See that a key is one that could be sent in a header.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    _check(0 < len(text.encode()) <= _LONGEST_SECRET, "secret", "A key has 1 to 65536 bytes.")
    _check(bool(text.strip()) and "\0" not in text, "secret", "A key is text that is not blank.")


def preview(secret: str) -> str:
    """Return what may be shown of a key."""
    return secret[-_SHOWN:] if len(secret) >= _SHOWN_FROM else ""


def fingerprint(config_id: str, secret: str) -> str:
    """
    Return what tells whether somebody's key is this one.

    It is short, so that of a key that could be guessed it leaves many guesses, and each config has its own,
    so that the same key in two places does not show.
    """
    return hmac.new(config_id.encode(), secret.encode(), hashlib.sha256).hexdigest()[:_FINGERPRINT]


def applied(config: ProviderConfig, change: ProviderConfigChange, at: datetime) -> ProviderConfig:
    """
    Return a config after a change, with a clean status where the key is a new one.

    Raises:
        GatewayError: INVALID_REQUEST; it would be out of bounds.
    """
    named = {
        name: value
        for name in ("alias", "weight", "rate_limit_period_ms", "default_config")
        if (value := getattr(change, name)) is not None
    }
    found = replace(config, updated_at=at, **named)
    if change.rate_limit is not None:
        found = replace(found, rate_limit=change.rate_limit or None)
    if change.secret is not None:
        text = change.secret.reveal()
        found = replace(
            found,
            secret_ref="",
            secret_preview=preview(text),
            secret_fingerprint=fingerprint(found.id, text),
        )
    if change.secret_ref is not None:
        found = replace(found, secret_ref=change.secret_ref, secret_preview="", secret_fingerprint="")
    if change.secret is not None or change.secret_ref is not None:
        found = replace(found, status=KeyStatus.UNUSED)
    check_config(found)
    return found


def pool(configs: Iterable[ProviderConfig], alias: str) -> tuple[ProviderConfig, ...]:
    """Return the configs that share an alias, in their order."""
    return tuple(config for config in configs if config.alias == (alias or DEFAULT_ALIAS))


def aliases(configs: Iterable[ProviderConfig]) -> tuple[str, ...]:
    """Return the aliases that there are, sorted."""
    return tuple(sorted({config.alias for config in configs}))


def _named(pattern: re.Pattern[str], text: str) -> bool:
    return len(text) <= _LONGEST_NAME and pattern.fullmatch(text) is not None


def _check(good: bool, param: str, message: str) -> None:  # noqa: FBT001 - the condition reads first
    if not good:
        raise GatewayError(Reason.INVALID_REQUEST, message, param=param)
