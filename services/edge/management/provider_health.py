"""
The health of providers on the management API.

An account sees what it did with keys and providers of its own. What is done with the operator's keys tells
which models other accounts use, and how much, so that only operators see it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from headrace.auth.v1 import token_pb2
from headrace.router.v1 import router_service_pb2 as pb
from kit.providers import canonical
from services.edge.management.models.forms import Listed
from services.edge.management.models.provider_health import HealthQuery, ProviderHealth
from services.edge.management.operation import Operation
from services.edge.wire import provider_health as wire

if TYPE_CHECKING:
    from services.edge.management.operation import Call
    from services.edge.management.peers import Peers

__all__ = ["ProviderHealths"]


_PATH: Final = "/accounts/{account_id}/ai-gateway/providers/health"


class ProviderHealths:
    """
    Lists how providers do.

    Args:
        peers: The services behind.
    """

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def operations(self) -> tuple[Operation, ...]:
        """Give the rows."""
        return (
            Operation(
                id="aig-config-list-provider-health", method="GET", path=_PATH, tag="Provider health",
                summary="List how providers did lately, by model and by key.",
                permission=token_pb2.PERMISSION_AI_GATEWAY_READ, handler=self._list, query=HealthQuery,
                result=list[ProviderHealth], shape="list",
            ),
        )  # fmt: skip

    async def _list(self, call: Call) -> Listed[Any]:
        query: HealthQuery = call.query
        request = pb.GetHealthRequest(
            account_id=call.account_id,
            shared=token_pb2.PERMISSION_OPERATOR in call.principal.permissions,
            provider=canonical(query.provider),
        )
        answer = await self._peers.router.GetHealth(request, timeout=self._peers.timeout_s)
        named = {canonical(name) for name in call.principal.restrictions.providers}
        rows = [row for row in answer.health if not named or row.provider in named]
        page = rows[query.offset : query.offset + query.per_page]
        return Listed(items=[wire.shown(row) for row in page], total=len(rows))
