"""The health of providers from messages to the management API's JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.router.v1 import router_service_pb2 as pb

__all__ = ["shown"]


def shown(health: pb.ProviderHealth) -> dict[str, Any]:
    """Show how a provider does."""
    return {
        "provider": health.provider,
        "model": health.model,
        "key": health.key,
        "shared": health.shared,
        "circuit": health.circuit,
        "retry_after_ms": health.retry_after.ToMilliseconds() if health.HasField("retry_after") else None,
        "success_rate": health.success_rate if health.HasField("success_rate") else None,
        "first_byte_ms": health.first_byte.ToMilliseconds() if health.HasField("first_byte") else None,
        "weight": health.weight,
        "successes": health.successes,
        "failures": health.failures,
        "refusals": health.refusals,
    }
