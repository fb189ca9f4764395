"""
Gateways on the management API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from headrace.auth.v1 import provider_config_pb2, token_pb2
from headrace.router.v1 import gateway_service_pb2 as pb
from kit.errors import GatewayError, Reason
from kit.providers import SLUGS, canonical, is_custom
from services.edge.management.models.forms import Listed
from services.edge.management.models.gateway import CreateGateway, Gateway, GatewayQuery, ReplaceGateway
from services.edge.management.operation import Operation
from services.edge.wire import gateway as wire

if TYPE_CHECKING:
    from services.edge.management.operation import Call
    from services.edge.management.peers import Peers

__all__ = ["Gateways"]

_TAG: Final = "Gateways"
_BASE: Final = "/accounts/{account_id}/ai-gateway/gateways"
_ONE: Final = f"{_BASE}/{{gateway_id}}"
_READ: Final = token_pb2.PERMISSION_AI_GATEWAY_READ
_EDIT: Final = token_pb2.PERMISSION_AI_GATEWAY_EDIT
_NO_PROVIDER: Final = frozenset({"universal", "compat"})


class Gateways:
    """
    Lists and changes gateways.

    Args:
        peers: The services behind.
    """

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def operations(self) -> tuple[Operation, ...]:
        """Give the rows."""
        return (
            Operation(
                id="aig-config-list-gateway", method="GET", path=_BASE, tag=_TAG,
                summary="List the gateways of an account.", permission=_READ, handler=self._list,
                query=GatewayQuery, result=list[Gateway], shape="list", for_narrowed=True,
            ),
            Operation(
                id="aig-config-create-gateway", method="POST", path=_BASE, tag=_TAG,
                summary="Make a gateway.", permission=_EDIT, handler=self._create,
                body=CreateGateway, result=Gateway, failures=(409,), for_narrowed=True,
            ),
            Operation(
                id="aig-config-fetch-gateway", method="GET", path=_ONE, tag=_TAG,
                summary="Show a gateway.", permission=_READ, handler=self._get, result=Gateway,
                failures=(404,),
            ),
            Operation(
                id="aig-config-update-gateway", method="PUT", path=_ONE, tag=_TAG,
                summary="Replace all settings of a gateway.", permission=_EDIT, handler=self._replace,
                body=ReplaceGateway, result=Gateway, failures=(404,),
            ),
            Operation(
                id="aig-config-delete-gateway", method="DELETE", path=_ONE, tag=_TAG,
                summary="Delete a gateway with its routes and keys.", permission=_EDIT,
                handler=self._delete, result=Gateway, failures=(404,),
            ),
            Operation(
                id="aig-config-get-gateway-url", method="GET", path=f"{_ONE}/url/{{provider}}", tag=_TAG,
                summary="Show where a provider's API is through a gateway.", permission=_READ,
                handler=self._url, result=str, failures=(404,),
            ),
        )  # fmt: skip

    async def _list(self, call: Call) -> Listed[Any]:
        query: GatewayQuery = call.query
        request = pb.ListGatewaysRequest(
            account_id=call.account_id,
            page_size=query.per_page,
            offset=query.offset,
            search=query.search,
            gateway_ids=call.principal.restrictions.gateway_ids,
        )
        answer = await self._peers.gateways.ListGateways(request, timeout=self._peers.timeout_s)
        return Listed(items=[wire.shown(each) for each in answer.gateways], total=answer.total_count)

    async def _create(self, call: Call) -> dict[str, Any]:
        body: CreateGateway = call.body
        named = call.principal.restrictions.gateway_ids
        if named and body.id not in named:
            raise GatewayError(
                Reason.PERMISSION_DENIED, f"This token may not use the gateway {body.id!r}.", id=body.id
            )
        request = pb.CreateGatewayRequest(
            account_id=call.account_id, gateway_id=body.id, settings=wire.settings(body), actor=call.actor
        )
        answer = await self._peers.gateways.CreateGateway(request, timeout=self._peers.timeout_s)
        return wire.shown(answer.gateway)

    async def _get(self, call: Call) -> dict[str, Any]:
        return wire.shown(await self._peers.gateway(call.account_id, call.gateway_id))

    async def _replace(self, call: Call) -> dict[str, Any]:
        request = pb.ReplaceGatewayRequest(
            account_id=call.account_id,
            gateway_id=call.gateway_id,
            settings=wire.settings(call.body),
            actor=call.actor,
        )
        answer = await self._peers.gateways.ReplaceGateway(request, timeout=self._peers.timeout_s)
        if request.settings.cache_invalidate_on_update:
            await self._peers.forget(call.account_id, gateway_id=call.gateway_id)
        return wire.shown(answer.gateway)

    async def _delete(self, call: Call) -> dict[str, Any]:
        # The keys first: what is left of a deletion that breaks off is a gateway without keys, which can be
        # deleted again, and never keys that a new gateway of that name would find.
        keys = provider_config_pb2.DeleteGatewayConfigsRequest(
            account_id=call.account_id, gateway_id=call.gateway_id, actor=call.actor
        )
        await self._peers.gateway(call.account_id, call.gateway_id)
        await self._peers.provider_configs.DeleteGatewayConfigs(keys, timeout=self._peers.timeout_s)
        request = pb.DeleteGatewayRequest(
            account_id=call.account_id, gateway_id=call.gateway_id, actor=call.actor
        )
        answer = await self._peers.gateways.DeleteGateway(request, timeout=self._peers.timeout_s)
        # Once more for a key that came in between; from now on there is no gateway to keep one for.
        await self._peers.provider_configs.DeleteGatewayConfigs(keys, timeout=self._peers.timeout_s)
        await self._peers.forget(call.account_id, gateway_id=call.gateway_id)
        return wire.shown(answer.gateway)

    async def _url(self, call: Call) -> str:
        await self._peers.gateway(call.account_id, call.gateway_id)
        provider = call.path["provider"]
        base = f"{call.origin}/v1/{call.account_id}/{call.gateway_id}"
        if provider == "universal":
            return f"{base}/"
        if provider not in _NO_PROVIDER and canonical(provider) not in SLUGS and not is_custom(provider):
            raise GatewayError(
                Reason.NOT_FOUND, "There is no such provider.", resource="provider", id=provider[:64]
            )
        return f"{base}/{provider}"
