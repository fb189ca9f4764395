"""
Accounts on the management API.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from headrace.auth.v1 import account_pb2 as pb
from headrace.auth.v1 import token_pb2
from headrace.router.v1 import custom_provider_pb2, gateway_service_pb2
from kit.errors import GatewayError, Reason
from services.edge.management import listing
from services.edge.management.models.account import (
    Account,
    AccountQuery,
    CreateAccount,
    DeletedAccount,
    ReplaceAccount,
)
from services.edge.management.models.forms import Listed
from services.edge.management.operation import Operation
from services.edge.management.powers import lacks, powers_of
from services.edge.wire import account as wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from services.edge.management.operation import Call
    from services.edge.management.peers import Peers

__all__ = ["Accounts"]

_TAG: Final = "Accounts"
_ALL: Final = "/accounts"
_ONE: Final = "/accounts/{account_id}"
_READ: Final = token_pb2.PERMISSION_AI_GATEWAY_READ
_OPERATOR: Final = token_pb2.PERMISSION_OPERATOR
_MANY: Final = 100


class Accounts:
    """
    Lists and changes accounts.

    Args:
        peers: The services behind.
    """

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def operations(self) -> tuple[Operation, ...]:
        """Give the rows."""
        return (
            Operation(
                id="accounts-list-accounts", method="GET", path=_ALL, tag=_TAG,
                summary="List the accounts that the token is for; all, for an operator's.",
                permission=None, handler=self._list, query=AccountQuery, result=list[Account], shape="list",
            ),
            Operation(
                id="account-creation", method="POST", path=_ALL, tag=_TAG,
                summary="Make an account.", permission=None, handler=self._create, body=CreateAccount,
                result=Account, failures=(409,),
            ),
            Operation(
                id="accounts-account-details", method="GET", path=_ONE, tag=_TAG,
                summary="Show an account.", permission=_READ, handler=self._get, result=Account,
                failures=(404,), for_narrowed=True,
            ),
            Operation(
                id="accounts-update-account", method="PUT", path=_ONE, tag=_TAG,
                summary="Change an account.", permission=_OPERATOR, handler=self._replace,
                body=ReplaceAccount, result=Account, failures=(404,),
            ),
            Operation(
                id="account-deletion", method="DELETE", path=_ONE, tag=_TAG,
                summary="Delete an account with its gateways, custom providers, tokens and keys.",
                permission=_OPERATOR, handler=self._delete, result=DeletedAccount, failures=(404, 409),
            ),
        )  # fmt: skip

    async def _list(self, call: Call) -> Listed[Any]:
        query: AccountQuery = call.query
        powers = await powers_of(self._peers, call.principal)
        if query.include_deleted and not powers.operator:
            raise lacks(_OPERATOR)
        own = () if powers.operator else tuple(powers.permissions)
        if not (own or powers.operator):
            # Of none, as a user's whose accounts are gone: asking for none in particular would ask for all.
            return Listed(items=[], total=0)

        async def fetch(size: int, offset: int) -> tuple[Sequence[pb.Account], int]:
            request = pb.ListAccountsRequest(
                page_size=size, offset=offset, account_ids=own, include_deleted=query.include_deleted
            )
            answer = await self._peers.accounts.ListAccounts(request, timeout=self._peers.timeout_s)
            return answer.accounts, answer.total_count

        if query.name:
            found = [
                each
                for each in await listing.everything(fetch)
                if query.name in (each.spec.name, "" if each.spec.name else each.id)
            ]
            return listing.chosen(found if query.direction == "asc" else found[::-1], query, wire.shown)
        give = listing.page if query.direction == "asc" else listing.page_from_the_end
        return await give(fetch, query, wire.shown)

    async def _create(self, call: Call) -> dict[str, Any]:
        body: CreateAccount = call.body
        powers = await powers_of(self._peers, call.principal)
        if not powers.operator or powers.narrowed:
            raise lacks(_OPERATOR)
        request = pb.CreateAccountRequest(
            account_id=body.id or uuid.uuid4().hex,
            spec=pb.AccountSpec(name=body.name, unified=body.unified),
            actor=call.actor,
        )
        answer = await self._peers.accounts.CreateAccount(request, timeout=self._peers.timeout_s)
        return wire.shown(answer.account)

    async def _get(self, call: Call) -> dict[str, Any]:
        return wire.shown(await self._find(call))

    async def _replace(self, call: Call) -> dict[str, Any]:
        body: ReplaceAccount = call.body
        unified = body.unified
        if unified is None:
            # Clients of the public product do not know it, and do not mean to switch it off by a new name.
            unified = (await self._find(call)).spec.unified
        request = pb.UpdateAccountRequest(
            account_id=call.account_id,
            spec=pb.AccountSpec(name=body.name, unified=unified),
            actor=call.actor,
        )
        answer = await self._peers.accounts.UpdateAccount(request, timeout=self._peers.timeout_s)
        return wire.shown(answer.account)

    async def _delete(self, call: Call) -> dict[str, Any]:
        await self._find(call)
        if call.account_id == self._peers.account:
            raise GatewayError(
                Reason.CONFLICT,
                "This is the account of the installation itself, which stays.",
                resource="account",
                id=call.account_id,
            )
        # Before the account, so that a deletion that breaks off can be begun again; and once more after it,
        # since until then a request could have made the gateway `default` anew.
        await self._empty(call)
        request = pb.DeleteAccountRequest(account_id=call.account_id, actor=call.actor)
        await self._peers.accounts.DeleteAccount(request, timeout=self._peers.timeout_s)
        await self._empty(call)
        await self._peers.forget(call.account_id)
        return {"id": call.account_id}

    async def _find(self, call: Call) -> pb.Account:
        request = pb.GetAccountRequest(account_id=call.account_id)
        return (await self._peers.accounts.GetAccount(request, timeout=self._peers.timeout_s)).account

    async def _empty(self, call: Call) -> None:
        """Delete what router has of an account."""
        account_id, actor, timeout_s = call.account_id, call.actor, self._peers.timeout_s
        gateways, providers = self._peers.gateways, self._peers.custom_providers
        wanted = gateway_service_pb2.ListGatewaysRequest(account_id=account_id, page_size=_MANY)
        while found := (await gateways.ListGateways(wanted, timeout=timeout_s)).gateways:
            for gateway in found:
                one = gateway_service_pb2.DeleteGatewayRequest(
                    account_id=account_id, gateway_id=gateway.id, actor=actor
                )
                await _gone(gateways.DeleteGateway(one, timeout=timeout_s))
        listed = custom_provider_pb2.ListCustomProvidersRequest(account_id=account_id, page_size=_MANY)
        while named := (await providers.ListCustomProviders(listed, timeout=timeout_s)).providers:
            for provider in named:
                other = custom_provider_pb2.DeleteCustomProviderRequest(
                    account_id=account_id, id=provider.id, actor=actor
                )
                await _gone(providers.DeleteCustomProvider(other, timeout=timeout_s))


async def _gone(deleting: Awaitable[object]) -> None:
    """Wait until something is gone; somebody else may have deleted it."""
    try:
        await deleting
    except GatewayError as error:
        if error.reason not in (Reason.NOT_FOUND, Reason.GATEWAY_NOT_FOUND):
            raise
