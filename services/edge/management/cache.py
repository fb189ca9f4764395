"""
Purges of kept answers on the management API. The public product has no such call.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from headrace.auth.v1 import token_pb2
from headrace.cache.v1 import cache_service_pb2 as pb
from headrace.router.v1 import gateway_service_pb2
from kit.errors import GatewayError, Reason
from kit.providers import SLUGS, canonical, is_custom
from services.edge.management.models.cache import PurgeGatewayQuery, PurgeQuery
from services.edge.management.operation import Operation

if TYPE_CHECKING:
    from services.edge.management.operation import Call
    from services.edge.management.peers import Peers

__all__ = ["CachePurges"]

_TAG: Final = "Cache"
_ACCOUNT: Final = "/accounts/{account_id}/ai-gateway/cache"
_GATEWAY: Final = "/accounts/{account_id}/ai-gateway/gateways/{gateway_id}/cache"
_EDIT: Final = token_pb2.PERMISSION_AI_GATEWAY_EDIT


class CachePurges:
    """
    Forgets kept answers.

    Args:
        peers: The services behind.
    """

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def operations(self) -> tuple[Operation, ...]:
        """Give the rows."""
        return (
            Operation(
                id="aig-config-purge-gateway-cache", method="DELETE", path=_GATEWAY, tag=_TAG,
                summary="Forget the kept answers of a gateway: all, a provider's, or those under a key.",
                permission=_EDIT, handler=self._of_gateway, query=PurgeGatewayQuery, failures=(404,),
            ),
            Operation(
                id="aig-config-purge-cache", method="DELETE", path=_ACCOUNT, tag=_TAG,
                summary="Forget the kept answers of an account: all, or a provider's.", permission=_EDIT,
                handler=self._of_account, query=PurgeQuery, failures=(404,),
            ),
        )  # fmt: skip

    async def _of_gateway(self, call: Call) -> dict[str, Any]:
        query: PurgeGatewayQuery = call.query
        await self._peers.gateway(call.account_id, call.gateway_id)
        request = pb.PurgeRequest(
            account_id=call.account_id,
            gateway_id=call.gateway_id,
            provider=_known(query.provider),
            custom_key=query.key,
        )
        return await self._purge(call, request)

    async def _of_account(self, call: Call) -> dict[str, Any]:
        query: PurgeQuery = call.query
        request = pb.PurgeRequest(account_id=call.account_id, provider=_known(query.provider))
        return await self._purge(call, request)

    async def _purge(self, call: Call, request: pb.PurgeRequest) -> dict[str, Any]:
        """Write a purge down, and then make it: none goes unnoticed, whatever dies between the two."""
        entry = gateway_service_pb2.RecordPurgeRequest(
            account_id=request.account_id,
            gateway_id=request.gateway_id,
            provider=request.provider,
            key_digest=_digest(request),
            actor=call.actor,
        )
        await self._peers.gateways.RecordPurge(entry, timeout=self._peers.timeout_s)
        await self._peers.cache.Purge(request, timeout=self._peers.timeout_s)
        return {}


def _digest(request: pb.PurgeRequest) -> bytes:
    """Give what stands for the key in the audit log: clients choose keys, and may put anything there."""
    return hashlib.sha256(request.custom_key.encode()).digest() if request.HasField("custom_key") else b""


def _known(provider: str | None) -> str:
    """
    Give the slug of a provider; empty for all, which None is.

    Raises:
        GatewayError: NOT_FOUND; there is none of that name, so that a misspelt one is not passed over.
    """
    if provider is None:
        return ""
    slug = canonical(provider)
    if slug not in SLUGS and not is_custom(slug):
        raise GatewayError(Reason.NOT_FOUND, "There is no such provider.", resource="provider", id=provider)
    return slug
