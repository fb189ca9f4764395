"""
What the audit log shows of what is configured: the members that the management API shows, secrets masked.

Settings refuse what looks like a secret; what might be one all the same is masked here once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from kit.secret import MASK
from services.router.core.credential import looks_like_credential

if TYPE_CHECKING:
    from datetime import datetime

    from services.router.core.custom_provider import CustomProvider
    from services.router.core.gateway import ManagedGateway
    from services.router.core.route import Route, RouteVersion
    from services.router.core.settings import GatewaySettings

__all__ = ["custom_provider_view", "gateway_view", "purge_view", "route_view"]

# Examples of calls may show a key.
_TEXTS: Final = ("description", "link", "curl_example", "js_example")
_DOCUMENTS: Final = ("dlp", "guardrails", "otel", "rate_limits", "spend_limits", "stripe")


def gateway_view(found: ManagedGateway) -> dict[str, Any]:
    """Show a gateway."""
    gateway = found.gateway
    return {
        "id": gateway.id,
        "internal_id": gateway.internal_id,
        "created_at": _time(gateway.created_at),
        "modified_at": _time(gateway.updated_at),
        **_settings(gateway.settings),
        **{name: _document(name, getattr(found.documents, name)) for name in _DOCUMENTS},
    }


def custom_provider_view(provider: CustomProvider) -> dict[str, Any]:
    """Show a provider of an account's own; values of its headers are masked."""
    return {
        "id": provider.id,
        "slug": provider.slug,
        "name": provider.name,
        "base_url": provider.base_url,
        "headers": {name: MASK for name, _ in provider.headers},
        "enable": provider.enabled,
        "beta": provider.beta,
        **{name: _text(getattr(provider, name)) for name in _TEXTS},
        "position": provider.position,
        "created_at": _time(provider.created_at),
        "modified_at": _time(provider.updated_at),
    }


def route_view(route: Route, added: RouteVersion | None = None) -> dict[str, Any]:
    """
    Show a route with the version that answers.

    Args:
        route: The route.
        added: A version that was added and does not answer.
    """
    shown = {
        "id": route.id,
        "gateway_id": route.gateway_id,
        "name": route.name,
        "created_at": _time(route.created_at),
        "modified_at": _time(route.updated_at),
        "version": _version(route.version),
        "deployment": {
            "deployment_id": route.deployment.id,
            "version_id": route.deployment.version_id,
            "created_at": _time(route.deployment.created_at),
        },
    }
    return shown if added is None else {**shown, "added_version": _version(added)}


def purge_view(*, gateway_id: str, provider: str, key_digest: bytes) -> dict[str, Any]:
    """Show which kept answers are forgotten; what is empty narrows nothing."""
    return {
        "gateway_id": gateway_id or None,
        "provider": provider or None,
        "key_sha256": key_digest.hex() or None,
    }


def _version(version: RouteVersion) -> dict[str, Any]:
    return {
        "version_id": version.id,
        "created_at": _time(version.created_at),
        "comment": version.comment,
        "elements": orjson.loads(version.elements),
    }


def _settings(settings: GatewaySettings) -> dict[str, Any]:
    retry, timeouts = settings.retry, settings.timeouts
    return {
        "authentication": settings.authentication,
        "byok_only": settings.byok_only,
        "cache_invalidate_on_update": settings.cache_invalidate_on_update,
        "cache_ttl": settings.cache_ttl_s,
        "collect_logs": settings.collect_logs,
        "collect_payloads": settings.collect_payloads,
        "log_classification": settings.log_classification,
        "log_management": settings.log_management,
        "log_management_strategy": settings.log_management_strategy.value,
        "logpush": settings.logpush,
        "logpush_public_key": settings.logpush_public_key or None,
        "on_disconnect": settings.on_disconnect.value,
        "rate_limiting_interval": settings.rate_limit_interval_s,
        "rate_limiting_limit": settings.rate_limit,
        "rate_limiting_technique": settings.rate_limit_technique.value,
        "retry_backoff": None if retry.backoff is None else retry.backoff.value,
        "retry_delay": retry.delay_ms,
        "retry_max_attempts": retry.max_attempts,
        "store_id": settings.store_id or None,
        "strict_translation": settings.strict_translation,
        "connect_timeout": timeouts.connect_ms,
        "first_byte_timeout": timeouts.first_byte_ms,
        "idle_timeout": timeouts.idle_ms,
        "total_timeout": timeouts.total_ms,
        "wholesale": settings.wholesale,
        "workers_ai_billing_mode": settings.workers_ai_billing_mode,
        "cache_no_sharing": settings.cache_no_sharing,
        "cache_replay_paced": settings.cache_replay_paced,
        "cache_stale_if_error": settings.cache_stale_if_error_s,
        "cache_stale_while_revalidate": settings.cache_stale_while_revalidate_s,
        "drain_timeout": settings.drain_timeout_ms,
        "idempotency_ttl": settings.idempotency_ttl_s,
        "stream_failover": settings.stream_failover,
        "zdr": settings.zdr,
    }


def _document(name: str, text: str) -> Any:
    if not text:
        return None
    document = orjson.loads(text)
    if name == "otel":
        return [_masked(target) for target in document]
    return _masked(document) if name == "stripe" else document


def _masked(document: dict[str, Any]) -> dict[str, Any]:
    shown = dict(document)
    if "authorization" in shown:
        shown["authorization"] = MASK
    if "headers" in shown:
        shown["headers"] = dict.fromkeys(shown["headers"], MASK)
    if "usage_events" in shown:
        shown["usage_events"] = [{"payload": _text(event["payload"])} for event in shown["usage_events"]]
    return shown


def _text(text: str) -> str:
    return MASK if looks_like_credential(text) else text


def _time(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
