"""The vault's messages to its core types and back. Requests are validated here and trusted behind."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Final

from google.protobuf import duration_pb2, timestamp_pb2

from headrace.auth.v1 import credential_pb2, provider_config_pb2
from headrace.common.v1 import lifetime_pb2
from kit.account import check_account_id
from kit.errors import GatewayError, Reason
from kit.providers import SLUGS, canonical, is_custom
from kit.secret import Secret
from services.auth.core.provider_config import (
    DEFAULT_ALIAS,
    KeyReport,
    KeyStatus,
    ProviderConfig,
    ProviderConfigChange,
    check_config,
    check_secret,
    fingerprint,
    preview,
)
from services.auth.core.secret_ref import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from services.auth.core.secret_ref import References

__all__ = ["change", "config", "lifetime", "message", "page_size", "provider", "reports", "stored_key"]

_DEFAULT_PAGE: Final = 100
_LARGEST_PAGE: Final = 1000
_MOST_REPORTS: Final = 10_000
_MOST_MS: Final = 2**53

_STATUSES: Final[dict[provider_config_pb2.KeyStatus.ValueType, KeyStatus]] = {
    provider_config_pb2.KEY_STATUS_UNSPECIFIED: KeyStatus.UNUSED,
    provider_config_pb2.KEY_STATUS_ACTIVE: KeyStatus.ACTIVE,
    provider_config_pb2.KEY_STATUS_INVALID: KeyStatus.INVALID,
    provider_config_pb2.KEY_STATUS_LIMITED: KeyStatus.LIMITED,
}
_NUMBERS: Final = {status: number for number, status in _STATUSES.items()}


def config(
    request: provider_config_pb2.CreateProviderConfigRequest,
    references: References,
    *,
    config_id: str,
    now: datetime,
) -> tuple[ProviderConfig, Secret | None]:
    """
    Return the config that is to be kept, and its key unless that is elsewhere.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    given = request.config
    account_id = check_account_id(given.account_id)
    secret, ref = _key(request.secret, given.secret_ref, references, account_id)
    if secret is None and ref is None:
        raise _invalid("secret", "A key, or a reference to one, is required.")
    made = ProviderConfig(
        id=config_id,
        account_id=account_id,
        gateway_id=given.gateway_id,
        provider=provider(given.provider),
        alias=given.alias,
        created_at=now,
        updated_at=now,
        default_config=given.default_config,
        secret_ref=ref or "",
        secret_preview="" if secret is None else preview(secret.reveal()),
        secret_fingerprint="" if secret is None else fingerprint(config_id, secret.reveal()),
        weight=given.weight or 1,
        rate_limit=given.rate_limit if given.HasField("rate_limit") else None,
        rate_limit_period_ms=_milliseconds(given.rate_limit_period)
        if given.HasField("rate_limit_period")
        else 60_000,
    )
    check_config(made)
    return made, secret


def change(
    request: provider_config_pb2.UpdateProviderConfigRequest, references: References
) -> ProviderConfigChange:
    """
    Return what is to be changed of a config.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    secret, ref = _key(request.secret, request.secret_ref, references, check_account_id(request.account_id))
    period = request.rate_limit_period
    return ProviderConfigChange(
        secret=secret,
        secret_ref=ref,
        alias=request.alias if request.HasField("alias") else None,
        weight=request.weight if request.HasField("weight") else None,
        rate_limit=request.rate_limit if request.HasField("rate_limit") else None,
        rate_limit_period_ms=_milliseconds(period) if request.HasField("rate_limit_period") else None,
        default_config=request.default_config if request.HasField("default_config") else None,
    )


def provider(name: str) -> str:
    """
    Return the slug that a provider's name stands for.

    Raises:
        GatewayError: INVALID_REQUEST; there is none of that name.
    """
    slug = canonical(name)
    if slug not in SLUGS and not is_custom(slug):
        raise _invalid("provider", "There is no provider of that name; an own one is `custom-{slug}`.")
    return slug


def reports(messages: Iterable[credential_pb2.KeyReport]) -> Sequence[KeyReport]:
    """
    Return what became of keys, the last of each.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    found: dict[str, KeyReport] = {}
    for each in messages:
        try:
            used_at = each.use_time.ToDatetime(tzinfo=UTC)
        except (ValueError, OverflowError):
            raise _invalid("reports.use_time", "That is not a time.") from None
        if each.status not in _STATUSES:
            raise _invalid("reports.status", "There is no such status.")
        found[each.id] = KeyReport(id=each.id, status=_STATUSES[each.status], used_at=used_at)
        if len(found) > _MOST_REPORTS:
            raise _invalid("reports", f"At most {_MOST_REPORTS} keys are reported at once.")
    return tuple(found.values())


def page_size(number: int, offset: int) -> int:
    """
    Return how many configs a page has.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    if not 0 <= number <= _LARGEST_PAGE:
        raise _invalid("page_size", f"A page has 1 to {_LARGEST_PAGE} keys.")
    if not 0 <= offset < 2**31:
        raise _invalid("offset", "An offset is at least 0.")
    return number or _DEFAULT_PAGE


def message(found: ProviderConfig) -> provider_config_pb2.ProviderConfig:
    """Return a config as a message."""
    return provider_config_pb2.ProviderConfig(
        id=found.id,
        account_id=found.account_id,
        gateway_id=found.gateway_id,
        provider=found.provider,
        alias=found.alias,
        default_config=found.default_config,
        secret_ref=found.secret_ref,
        secret_preview=found.secret_preview,
        secret_fingerprint=found.secret_fingerprint,
        weight=found.weight,
        rate_limit=found.rate_limit,
        rate_limit_period=_duration(found.rate_limit_period_ms),
        status=_NUMBERS[found.status],
        create_time=_timestamp(found.created_at),
        update_time=_timestamp(found.updated_at),
        last_use_time=None if found.last_used_at is None else _timestamp(found.last_used_at),
    )


def stored_key(found: ProviderConfig, secret: Secret) -> credential_pb2.StoredKey:
    """Return a key, to be used upstream."""
    limited = found.rate_limit is not None
    return credential_pb2.StoredKey(
        id=found.id,
        secret=secret.reveal(),
        weight=found.weight,
        rate_limit=found.rate_limit,
        rate_limit_period=_duration(found.rate_limit_period_ms) if limited else None,
    )


def lifetime(
    *, reuse_for_s: float, grace_s: float, generation: int, account_id: str
) -> lifetime_pb2.Lifetime:
    """Return how long an answer holds."""
    return lifetime_pb2.Lifetime(
        reuse_for=_duration(int(reuse_for_s * 1000)),
        grace=_duration(int(grace_s * 1000)),
        generation=generation,
        scope=account_id,
    )


def alias(text: str) -> str:
    """Return the alias that a request names, or the one that it does not need to."""
    return text or DEFAULT_ALIAS


def _key(text: str, ref: str, references: References, account_id: str) -> tuple[Secret | None, str | None]:
    if text and ref:
        raise _invalid("secret_ref", "A key is given, or a reference to one, and not both.")
    if ref:
        parsed = parse(ref)
        references.check(parsed, account_id)
        return None, parsed.text
    if not text:
        return None, None
    check_secret(text)
    return Secret(text), None


def _invalid(param: str, text: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, text, param=param)


def _milliseconds(given: duration_pb2.Duration) -> int:
    found = given.seconds * 1000 + given.nanos // 1_000_000
    return max(-1, min(found, _MOST_MS))


def _timestamp(when: datetime) -> timestamp_pb2.Timestamp:
    made = timestamp_pb2.Timestamp()
    made.FromDatetime(when)
    return made


def _duration(milliseconds: int) -> duration_pb2.Duration:
    made = duration_pb2.Duration()
    made.FromMilliseconds(milliseconds)
    return made
