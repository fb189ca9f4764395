"""
Gateways as the management API takes and shows them.

Source of names, bounds and defaults: the public product's gateway object. `docs/gateways.md` says what each
does; members below `collect_payloads` are ours.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from services.edge.management.models.forms import Body, PageQuery, ReadOnly, Shown
from services.edge.management.models.gateway_parts import (
    Dlp,
    Guardrails,
    Otel,
    RateLimits,
    SpendLimits,
    Stripe,
)

__all__ = ["CreateGateway", "Gateway", "GatewayQuery", "ReplaceGateway"]

_MOST = 2**31 - 1
_Count = Annotated[int, Field(ge=0, le=_MOST)]
_Stale = Annotated[int, Field(ge=0, le=30 * 86_400)]

GatewayId = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9_]+(?:-[a-z0-9_]+)*$", examples=["production"])
]
Milliseconds = Annotated[int, Field(ge=1, le=86_400_000)]


class GatewayQuery(PageQuery):
    """Which gateways to list."""

    search: Annotated[str, Field(max_length=64)] = ""
    """Only gateways with this in their id."""


class _Settings(Body):
    cache_invalidate_on_update: bool
    """Whether a change of the settings empties the cache."""
    cache_ttl: _Count | None
    """Seconds for which answers are cached; 0 or null: not at all."""
    collect_logs: bool
    """Whether requests are logged."""
    rate_limiting_interval: _Count | None
    """Seconds in which `rate_limiting_limit` counts; 0 or null: no limit."""
    rate_limiting_limit: _Count | None
    """Most requests in the interval; 0 or null: any number."""
    rate_limiting_technique: Literal["fixed", "sliding"] | None = None
    """How requests are counted. Default: `fixed`."""
    authentication: bool = False
    """Whether a request without a valid token is refused."""
    byok_only: bool = False
    """Whether the operator's own keys are never used."""
    dlp: Dlp | None = None
    guardrails: Guardrails | None = None
    log_classification: bool = False
    log_management: Annotated[int, Field(ge=10_000, le=10_000_000)] | None = None
    """Most log entries kept. Default: 10,000,000."""
    log_management_strategy: Literal["STOP_INSERTING", "DELETE_OLDEST"] | None = None
    """What happens when there are that many. Default: `DELETE_OLDEST`."""
    logpush: bool = False
    logpush_public_key: Annotated[str, Field(min_length=16, max_length=1024)] | None = None
    otel: Annotated[list[Otel], Field(max_length=20)] | None = None
    retry_backoff: Literal["constant", "linear", "exponential"] | None = None
    retry_delay: Annotated[int, Field(ge=0, le=60_000)] | None = None
    """Milliseconds before the second try."""
    retry_max_attempts: Annotated[int, Field(ge=1, le=5)] | None = None
    """Tries in all."""
    spend_limits: SpendLimits | None = None
    store_id: Annotated[str, Field(max_length=256)] | None = None
    stripe: Stripe | None = None
    wholesale: bool | None = None
    workers_ai_billing_mode: Literal["postpaid", "unified"] = "postpaid"
    zdr: bool = False
    collect_payloads: bool = True
    """Whether the bodies of requests and answers are logged too."""
    on_disconnect: Literal["cancel", "drain"] = "cancel"
    """What happens to the upstream call when the client goes away."""
    strict_translation: bool = False
    """Whether a parameter that the target cannot take is an error."""
    connect_timeout: Milliseconds | None = None
    first_byte_timeout: Milliseconds | None = None
    idle_timeout: Milliseconds | None = None
    total_timeout: Milliseconds | None = None
    rate_limits: RateLimits | None = None
    drain_timeout: Milliseconds | None = None
    """Longest that an upstream call is read on without its client, with `drain`. Default: to its end."""
    stream_failover: bool = False
    """Whether a stream that breaks off is continued by the next step."""
    cache_stale_while_revalidate: _Stale = 0
    """Seconds past its time that an answer is still given while a new one is fetched."""
    cache_stale_if_error: _Stale = 0
    """Seconds past its time that an answer is still given when the provider fails."""
    cache_replay_paced: bool = False
    """Whether a stream from the cache comes at the pace at which it first came."""
    cache_no_sharing: bool = False
    """Whether identical requests that run at the same time each make a call of their own."""
    idempotency_ttl: _Stale = 0
    """Seconds for which a request with an `Idempotency-Key` is known again; 0: not at all."""

    is_default: ReadOnly
    internal_id: ReadOnly
    account_id: ReadOnly
    account_tag: ReadOnly
    created_at: ReadOnly
    modified_at: ReadOnly


class CreateGateway(_Settings):
    """A gateway to be made."""

    id: GatewayId


class ReplaceGateway(_Settings):
    """What a gateway is to do from now on. What is left out gets its default."""

    id: ReadOnly


class Gateway(Shown):
    """A gateway."""

    id: GatewayId
    internal_id: str
    account_id: str
    account_tag: str
    created_at: str
    modified_at: str
    is_default: bool
    authentication: bool
    byok_only: bool
    cache_invalidate_on_update: bool
    cache_no_sharing: bool
    cache_replay_paced: bool
    cache_stale_if_error: int
    cache_stale_while_revalidate: int
    cache_ttl: int
    collect_logs: bool
    collect_payloads: bool
    connect_timeout: int | None
    dlp: dict[str, Any] | None
    drain_timeout: int | None
    first_byte_timeout: int | None
    guardrails: dict[str, Any] | None
    idempotency_ttl: int
    idle_timeout: int | None
    log_classification: bool
    log_management: int
    log_management_strategy: Literal["STOP_INSERTING", "DELETE_OLDEST"]
    logpush: bool
    logpush_public_key: str | None
    on_disconnect: Literal["cancel", "drain"]
    otel: list[dict[str, Any]] | None
    rate_limiting_interval: int
    rate_limiting_limit: int
    rate_limiting_technique: Literal["fixed", "sliding"]
    rate_limits: dict[str, Any] | None
    retry_backoff: Literal["constant", "linear", "exponential"] | None
    retry_delay: int | None
    retry_max_attempts: int | None
    spend_limits: dict[str, Any] | None
    store_id: str | None
    stream_failover: bool
    strict_translation: bool
    stripe: dict[str, Any] | None
    total_timeout: int | None
    wholesale: bool
    workers_ai_billing_mode: Literal["postpaid", "unified"]
    zdr: bool
