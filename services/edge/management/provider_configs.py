"""
Stored provider keys on the management API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from headrace.auth.v1 import provider_config_pb2 as pb
from headrace.auth.v1 import token_pb2
from services.edge.management import key_rights as rights
from services.edge.management.models.forms import Listed, PageQuery
from services.edge.management.models.provider_config import (
    CreateProviderConfig,
    ProviderConfig,
    UpdateProviderConfig,
)
from services.edge.management.operation import Operation
from services.edge.wire import provider_config as wire

if TYPE_CHECKING:
    from services.edge.management.operation import Call
    from services.edge.management.peers import Peers

__all__ = ["ProviderConfigs"]

_TAG: Final = "Provider keys"
_BASE: Final = "/accounts/{account_id}/ai-gateway/gateways/{gateway_id}/provider_configs"
_ONE: Final = f"{_BASE}/{{id}}"
_READ: Final = token_pb2.PERMISSION_AI_GATEWAY_READ
_EDIT: Final = token_pb2.PERMISSION_AI_GATEWAY_EDIT


class ProviderConfigs:
    """
    Lists and changes stored keys.

    Args:
        peers: The services behind.
    """

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def operations(self) -> tuple[Operation, ...]:
        """Give the rows."""
        return (
            Operation(
                id="aig-config-list-providers", method="GET", path=_BASE, tag=_TAG,
                summary="List the keys of a gateway, without the keys.", permission=_READ,
                handler=self._list, query=PageQuery, result=list[ProviderConfig], shape="list",
                failures=(404,),
            ),
            Operation(
                id="aig-config-create-providers", method="POST", path=_BASE, tag=_TAG,
                summary="Keep a key.", permission=_EDIT, handler=self._create,
                body=CreateProviderConfig, result=ProviderConfig, failures=(404, 409),
                keeps_to_providers=True,
            ),
            Operation(
                id="aig-config-fetch-providers", method="GET", path=_ONE, tag=_TAG,
                summary="Show a key, without the key.", permission=_READ, handler=self._get,
                result=ProviderConfig, failures=(404,),
            ),
            Operation(
                id="aig-config-update-providers", method="PUT", path=_ONE, tag=_TAG,
                summary="Change a key, or what is kept about it.", permission=_EDIT, handler=self._update,
                body=UpdateProviderConfig, result=ProviderConfig, failures=(404, 409),
                keeps_to_providers=True,
            ),
            Operation(
                id="aig-config-delete-providers", method="DELETE", path=_ONE, tag=_TAG,
                summary="Delete a key.", permission=_EDIT, handler=self._delete, result=ProviderConfig,
                failures=(404,),
                keeps_to_providers=True,
            ),
        )  # fmt: skip

    async def _list(self, call: Call) -> Listed[Any]:
        await self._peers.gateway(call.account_id, call.gateway_id)
        request = pb.ListProviderConfigsRequest(
            account_id=call.account_id,
            gateway_id=call.gateway_id,
            page_size=call.query.per_page,
            offset=call.query.offset,
        )
        answer = await self._peers.provider_configs.ListProviderConfigs(
            request, timeout=self._peers.timeout_s
        )
        return Listed(items=[wire.shown(each) for each in answer.configs], total=answer.total_count)

    async def _create(self, call: Call) -> dict[str, Any]:
        body: CreateProviderConfig = call.body
        rights.check(call.principal, body.provider_slug, reference=body.secret_id or "")
        await self._peers.gateway(call.account_id, call.gateway_id)
        config = pb.ProviderConfig(
            account_id=call.account_id,
            gateway_id=call.gateway_id,
            provider=body.provider_slug,
            alias=body.alias,
            default_config=body.default_config,
            secret_ref=body.secret_id or "",
            weight=body.weight,
            rate_limit=body.rate_limit or None,
            rate_limit_period=wire.period(body.rate_limit_period),
        )
        request = pb.CreateProviderConfigRequest(config=config, secret=body.secret or "", actor=call.actor)
        answer = await self._peers.provider_configs.CreateProviderConfig(
            request, timeout=self._peers.timeout_s
        )
        return wire.shown(answer.config)

    async def _get(self, call: Call) -> dict[str, Any]:
        return wire.shown(await self._one(call))

    async def _one(self, call: Call) -> pb.ProviderConfig:
        request = pb.GetProviderConfigRequest(
            account_id=call.account_id, gateway_id=call.gateway_id, id=call.path["id"]
        )
        answer = await self._peers.provider_configs.GetProviderConfig(request, timeout=self._peers.timeout_s)
        return answer.config

    async def _update(self, call: Call) -> dict[str, Any]:
        body: UpdateProviderConfig = call.body
        # A key's provider never changes, so that what was looked at is what is changed.
        provider = (await self._one(call)).provider
        rights.check(call.principal, provider, reference=body.secret_id or "")
        rate_limit = body.rate_limit
        if rate_limit is None and "rate_limit" in body.model_fields_set:
            rate_limit = 0  # an explicit null takes the limit away
        request = pb.UpdateProviderConfigRequest(
            account_id=call.account_id,
            gateway_id=call.gateway_id,
            id=call.path["id"],
            secret=body.secret or "",
            secret_ref=body.secret_id or "",
            alias=body.alias,
            weight=body.weight,
            rate_limit=rate_limit,
            rate_limit_period=wire.period(body.rate_limit_period),
            default_config=body.default_config,
            actor=call.actor,
        )
        answer = await self._peers.provider_configs.UpdateProviderConfig(
            request, timeout=self._peers.timeout_s
        )
        return wire.shown(answer.config)

    async def _delete(self, call: Call) -> dict[str, Any]:
        rights.check(call.principal, (await self._one(call)).provider)
        request = pb.DeleteProviderConfigRequest(
            account_id=call.account_id, gateway_id=call.gateway_id, id=call.path["id"], actor=call.actor
        )
        answer = await self._peers.provider_configs.DeleteProviderConfig(
            request, timeout=self._peers.timeout_s
        )
        return wire.shown(answer.config)
