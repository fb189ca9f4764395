"""
Accounts' own providers on the management API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from google.protobuf.field_mask_pb2 import FieldMask

from headrace.auth.v1 import token_pb2
from headrace.router.v1 import custom_provider_pb2 as pb
from services.edge.management.key_rights import may_readdress
from services.edge.management.models.custom_provider import (
    CreateCustomProvider,
    CustomProvider,
    CustomProviderQuery,
    UpdateCustomProvider,
)
from services.edge.management.models.forms import Listed
from services.edge.management.operation import Operation
from services.edge.wire import custom_provider as wire

if TYPE_CHECKING:
    from services.edge.management.operation import Call
    from services.edge.management.peers import Peers

__all__ = ["CustomProviders"]

_TAG: Final = "Custom providers"
_BASE: Final = "/accounts/{account_id}/ai-gateway/custom-providers"
_ONE: Final = f"{_BASE}/{{id}}"
_READ: Final = token_pb2.PERMISSION_AI_GATEWAY_READ
_EDIT: Final = token_pb2.PERMISSION_AI_GATEWAY_EDIT
_READ_ONLY: Final = frozenset({"id", "logo", "created_at", "modified_at"})
_CLEARED: Final = frozenset({"description", "link", "headers", "curl_example", "js_example"})
_COLUMNS: Final = {"created_at": "create_time"}


class CustomProviders:
    """
    Lists and changes accounts' own providers.

    Args:
        peers: The services behind.
    """

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def operations(self) -> tuple[Operation, ...]:
        """Give the rows."""
        return (
            Operation(
                id="aig-config-list-custom-providers", method="GET", path=_BASE, tag=_TAG,
                summary="List the providers that an account named itself.", permission=_READ,
                handler=self._list, query=CustomProviderQuery, result=list[CustomProvider], shape="list",
                for_narrowed=True,
            ),
            Operation(
                id="aig-config-create-custom-provider", method="POST", path=_BASE, tag=_TAG,
                summary="Make a provider.", permission=_EDIT, handler=self._create,
                body=CreateCustomProvider, result=CustomProvider, failures=(409,),
            ),
            Operation(
                id="aig-config-get-custom-provider", method="GET", path=_ONE, tag=_TAG,
                summary="Show a provider.", permission=_READ, handler=self._get, result=CustomProvider,
                failures=(404,), for_narrowed=True,
            ),
            Operation(
                id="aig-config-update-custom-provider", method="PATCH", path=_ONE, tag=_TAG,
                summary="Change a provider.", permission=_EDIT, handler=self._update,
                body=UpdateCustomProvider, result=CustomProvider, failures=(404, 409),
            ),
            Operation(
                id="aig-config-delete-custom-provider", method="DELETE", path=_ONE, tag=_TAG,
                summary="Delete a provider; nothing goes to it from then on.", permission=_EDIT,
                handler=self._delete, result=CustomProvider, failures=(404,),
            ),
        )  # fmt: skip

    async def _list(self, call: Call) -> Listed[Any]:
        query: CustomProviderQuery = call.query
        column, _, direction = query.order_by.partition(" ")
        request = pb.ListCustomProvidersRequest(
            account_id=call.account_id,
            page_size=query.per_page,
            offset=query.offset,
            enabled=query.enable,
            beta=query.beta,
            search=query.search,
            order_by=_COLUMNS.get(column, column),
            descending=direction == "DESC",
        )
        answer = await self._peers.custom_providers.ListCustomProviders(
            request, timeout=self._peers.timeout_s
        )
        items = [wire.shown(each, call.account_id) for each in answer.providers]
        info = {"operator_providers": list(answer.operator_providers)}
        return Listed(items=items, total=answer.total_count, info=info)

    async def _create(self, call: Call) -> dict[str, Any]:
        provider, _ = wire.provider(call.body.model_dump())
        # Keys outlive the provider that they were stored for.
        has_keys = await self._peers.has_keys(call.account_id, f"custom-{provider.slug}")
        may_readdress(call.principal, has_keys=has_keys)
        request = pb.CreateCustomProviderRequest(
            account_id=call.account_id, provider=provider, actor=call.actor
        )
        answer = await self._peers.custom_providers.CreateCustomProvider(
            request, timeout=self._peers.timeout_s
        )
        return wire.shown(answer.provider, call.account_id)

    async def _get(self, call: Call) -> dict[str, Any]:
        request = pb.GetCustomProviderRequest(account_id=call.account_id, id=call.path["id"])
        answer = await self._peers.custom_providers.GetCustomProvider(request, timeout=self._peers.timeout_s)
        return wire.shown(answer.provider, call.account_id)

    async def _update(self, call: Call) -> dict[str, Any]:
        given = call.body.model_dump(exclude_unset=True, exclude=set(_READ_ONLY))
        # Some clients write null for what they do not say; only a text that may be empty is cleared by it.
        said = {name: value for name, value in given.items() if value is not None or name in _CLEARED}
        provider, fields = wire.provider(said)
        before = ""
        if "base_url" in fields or "slug" in fields:
            before = await self._check_keys(call, provider, fields)
        request = pb.UpdateCustomProviderRequest(
            account_id=call.account_id,
            id=call.path["id"],
            provider=provider,
            update_mask=FieldMask(paths=fields),
            actor=call.actor,
        )
        answer = await self._peers.custom_providers.UpdateCustomProvider(
            request, timeout=self._peers.timeout_s
        )
        for slug in {answer.provider.slug, before or answer.provider.slug}:
            await self._peers.forget(call.account_id, provider=f"custom-{slug}")
        return wire.shown(answer.provider, call.account_id)

    async def _check_keys(self, call: Call, provider: pb.CustomProvider, fields: list[str]) -> str:
        """Check that no key is sent to another address by this change; give the provider's slug until now."""
        request = pb.GetCustomProviderRequest(account_id=call.account_id, id=call.path["id"])
        answer = await self._peers.custom_providers.GetCustomProvider(request, timeout=self._peers.timeout_s)
        now = answer.provider
        moved = "base_url" in fields and _host(provider.base_url) != _host(now.base_url)
        # Under another name it may find keys that were stored for an earlier one of that name.
        slugs = {now.slug} if moved else set()
        if "slug" in fields and provider.slug != now.slug:
            slugs |= {provider.slug}
        for slug in slugs:
            may_readdress(
                call.principal, has_keys=await self._peers.has_keys(call.account_id, f"custom-{slug}")
            )
        return now.slug

    async def _delete(self, call: Call) -> dict[str, Any]:
        request = pb.DeleteCustomProviderRequest(
            account_id=call.account_id, id=call.path["id"], actor=call.actor
        )
        answer = await self._peers.custom_providers.DeleteCustomProvider(
            request, timeout=self._peers.timeout_s
        )
        await self._peers.forget(call.account_id, provider=f"custom-{answer.provider.slug}")
        return wire.shown(answer.provider, call.account_id)


def _host(url: str) -> tuple[str, str]:
    """Give what decides who gets a call: scheme, and host with port."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()
