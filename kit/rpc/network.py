"""
What gRPC does otherwise between hosts, where a service is several replicas behind a name.

Clients spread calls over all addresses of a name and leave out those that do not answer, or that said that
they are about to stop. Names are looked up again when a connection ends, so servers end each one now and
then, without a call noticing, and new replicas are found.

Numbers here bound how long a host that vanished without a word is still asked: about as long as
`UNANSWERED_S` for calls, and that and `KEEPALIVE_S` together for whoever only listens.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

__all__ = ["KEEPALIVE_S", "MAX_CONNECTION_AGE_S", "UNANSWERED_S", "client_options", "server_options"]

KEEPALIVE_S: Final = 6.0
"""After how long without a sign of life a peer is pinged. Servers of 0.1 allow one in 5 s."""

UNANSWERED_S: Final = 3.0
"""
How long what was sent may stay without the other kernel's word that it came (TCP_USER_TIMEOUT). A peer that
is merely busy gives it all the same.
"""

MAX_CONNECTION_AGE_S: Final = 30.0
"""How old a connection gets, so that a new replica has work within that time."""

# A handshake on a busy machine takes some time; an address that takes longer is no good now.
_CONNECT_S: Final = 2.0
_LONGEST_PAUSE_S: Final = 1.0
_RESOLVE_S: Final = 2.0
# gRPC's own 30 s would keep a replica out that took the place of another one.
_RESOLVE_EVERY_S: Final = 1.0

# What each service says of itself on its server as long as it takes calls, by the first word of its name.
_HEALTH: Final = {
    "auth": "headrace.auth.v1.AuthService",
    "router": "headrace.router.v1.RouterService",
    "cache": "headrace.cache.v1.CacheService",
    "ledger": "headrace.ledger.v1.LedgerService",
    "providers": "headrace.provider.v1.ProviderService",
    "edge": "headrace.inference.v1.InferenceService",
}


def client_options(peer: str) -> dict[str, Any]:
    """
    Give gRPC's options of a channel to another host.

    Args:
        peer: Name of the service or process that is called.
    """
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if health := _HEALTH.get(peer.partition("-")[0]):
        config["healthCheckConfig"] = {"serviceName": health}
    return {
        "grpc.service_config": orjson.dumps(config).decode(),
        # Nobody else has a say in this by way of DNS.
        "grpc.service_config_disable_resolution": 1,
        "grpc.dns_min_time_between_resolutions_ms": _ms(_RESOLVE_EVERY_S),
        "grpc.dns_ares_query_timeout": _ms(_RESOLVE_S),
        # The limit of one try to connect, in spite of its name.
        "grpc.min_reconnect_backoff_ms": _ms(_CONNECT_S),
        "grpc.max_reconnect_backoff_ms": _ms(_LONGEST_PAUSE_S),
        **_silence(),
    }


def server_options(*, max_age_s: float) -> dict[str, Any]:
    """
    Give gRPC's options of a server that other hosts call.

    Args:
        max_age_s: How old a connection gets, in seconds, give or take a tenth; its calls go on to their end.
    """
    return {"grpc.max_connection_age_ms": _ms(max_age_s), **_silence()}


def _silence() -> dict[str, Any]:
    # `grpc.http2.ping_timeout_ms`, which a process must keep to, stays as it is: it may be busy.
    return {"grpc.keepalive_time_ms": _ms(KEEPALIVE_S), "grpc.keepalive_timeout_ms": _ms(UNANSWERED_S)}


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
