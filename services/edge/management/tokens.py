"""
Tokens on the management API: those of accounts, and those of users.

The two differ in whose they are and in nothing else, so that each handler answers for both: where an account
stands in the path the token is the account's, else the caller's user's.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from headrace.auth.v1 import token_pb2 as pb
from kit import moment
from kit.clock import SystemClock
from kit.errors import GatewayError, Reason
from services.edge.management import listing
from services.edge.management.models.token import (
    AccountTokenQuery,
    CreatedToken,
    DeletedToken,
    PermissionGroup,
    PermissionGroupQuery,
    Token,
    TokenBody,
    UserTokenQuery,
    UserTokensQuery,
    Verified,
)
from services.edge.management.operation import Answer, Message, Operation
from services.edge.management.powers import lacks, own_token, powers_of
from services.edge.wire import permission_group
from services.edge.wire import token as wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from kit.clock import Clock
    from services.edge.management.models.forms import Listed
    from services.edge.management.operation import Call
    from services.edge.management.peers import Peers
    from services.edge.management.powers import Powers

__all__ = ["Tokens"]

_T = TypeVar("_T")

_ACCOUNT: Final = "/accounts/{account_id}/tokens"
_USER: Final = "/user/tokens"
_READ: Final = pb.PERMISSION_AI_GATEWAY_READ
_EDIT: Final = pb.PERMISSION_AI_GATEWAY_EDIT
# How often a token is looked at that somebody else changes at the same time.
_TRIES: Final = 10
_VALID: Final = Message(10000, "This API Token is valid and active")


class Tokens:
    """
    Lists and changes tokens.

    Args:
        peers: The services behind.
        clock: Says which tokens are over.
    """

    def __init__(self, peers: Peers, clock: Clock | None = None) -> None:
        self._peers = peers
        self._clock = clock or SystemClock()

    def operations(self) -> tuple[Operation, ...]:
        """Give the rows."""
        return (*self._account_rows(), *self._user_rows())

    def _account_rows(self) -> tuple[Operation, ...]:
        tag, one = "Account tokens", f"{_ACCOUNT}/{{token_id}}"
        return (
            Operation(
                id="account-api-tokens-list-tokens", method="GET", path=_ACCOUNT, tag=tag,
                summary="List the tokens of an account.", permission=_READ, handler=self._list,
                query=AccountTokenQuery, result=list[Token], shape="list", for_narrowed=True,
            ),
            Operation(
                id="account-api-tokens-create-token", method="POST", path=_ACCOUNT, tag=tag,
                summary="Make a token of an account.", permission=_EDIT, handler=self._create,
                body=TokenBody, result=CreatedToken, failures=(404,), for_narrowed=True,
                keeps_to_providers=True,
            ),
            Operation(
                id="account-api-tokens-verify-token", method="GET", path=f"{_ACCOUNT}/verify", tag=tag,
                summary="Tell whether the token that asks works on an account.", permission=None,
                handler=self._verify, result=Verified,
            ),
            Operation(
                id="account-api-tokens-list-permission-groups", method="GET",
                path=f"{_ACCOUNT}/permission_groups", tag=tag,
                summary="List what tokens of an account can allow.", permission=None,
                handler=self._groups, query=PermissionGroupQuery, result=list[PermissionGroup],
            ),
            Operation(
                id="account-api-tokens-token-details", method="GET", path=one, tag=tag,
                summary="Show a token of an account.", permission=_READ, handler=self._get, result=Token,
                failures=(404,), for_narrowed=True,
            ),
            Operation(
                id="account-api-tokens-update-token", method="PUT", path=one, tag=tag,
                summary="Replace what a token of an account is.", permission=_EDIT, handler=self._replace,
                body=TokenBody, result=Token, failures=(404, 409), for_narrowed=True,
                keeps_to_providers=True,
            ),
            Operation(
                id="account-api-tokens-delete-token", method="DELETE", path=one, tag=tag,
                summary="Revoke a token of an account for ever.", permission=_EDIT, handler=self._delete,
                result=DeletedToken, failures=(404,), for_narrowed=True,
                keeps_to_providers=True,
            ),
            Operation(
                id="account-api-tokens-roll-token", method="PUT", path=f"{one}/value", tag=tag,
                summary="Give a token of an account a new secret.", permission=_EDIT, handler=self._roll,
                result=str, failures=(404, 409), for_narrowed=True,
                keeps_to_providers=True,
            ),
        )  # fmt: skip

    def _user_rows(self) -> tuple[Operation, ...]:
        # What is allowed depends on every account that a token is for, which the handlers look at.
        tag, one = "User tokens", f"{_USER}/{{token_id}}"
        return (
            Operation(
                id="user-api-tokens-list-tokens", method="GET", path=_USER, tag=tag,
                summary="List the tokens of a user.", permission=None, handler=self._list,
                query=UserTokensQuery, result=list[Token], shape="list",
            ),
            Operation(
                id="user-api-tokens-create-token", method="POST", path=_USER, tag=tag,
                summary="Make a token of a user.", permission=None, handler=self._create,
                query=UserTokenQuery, body=TokenBody, result=CreatedToken, failures=(404,),
            ),
            Operation(
                id="user-api-tokens-verify-token", method="GET", path=f"{_USER}/verify", tag=tag,
                summary="Tell whether the token that asks works, whosever it is.", permission=None,
                handler=self._verify, result=Verified,
            ),
            Operation(
                id="permission-groups-list-permission-groups", method="GET",
                path=f"{_USER}/permission_groups", tag=tag,
                summary="List what tokens of users can allow.", permission=None,
                handler=self._groups, query=PermissionGroupQuery, result=list[PermissionGroup],
            ),
            Operation(
                id="user-api-tokens-token-details", method="GET", path=one, tag=tag,
                summary="Show a token of a user.", permission=None, handler=self._get,
                query=UserTokenQuery, result=Token, failures=(404,),
            ),
            Operation(
                id="user-api-tokens-update-token", method="PUT", path=one, tag=tag,
                summary="Replace what a token of a user is.", permission=None, handler=self._replace,
                query=UserTokenQuery, body=TokenBody, result=Token, failures=(404, 409),
            ),
            Operation(
                id="user-api-tokens-delete-token", method="DELETE", path=one, tag=tag,
                summary="Revoke a token of a user for ever.", permission=None, handler=self._delete,
                query=UserTokenQuery, result=DeletedToken, failures=(404,),
            ),
            Operation(
                id="user-api-tokens-roll-token", method="PUT", path=f"{one}/value", tag=tag,
                summary="Give a token of a user a new secret.", permission=None, handler=self._roll,
                query=UserTokenQuery, result=str, failures=(404, 409),
            ),
        )  # fmt: skip

    async def _list(self, call: Call) -> Listed[Any]:
        powers, owner = await self._asked(call)
        newest_first = call.query.direction == "desc"

        async def fetch(size: int, offset: int) -> tuple[Sequence[pb.Token], int]:
            request = pb.ListTokensRequest(owner=owner, page_size=size, offset=offset)
            answer = await self._peers.tokens.ListTokens(request, timeout=self._peers.timeout_s)
            return answer.tokens, answer.total_count

        if powers.operator or (call.account_id and not powers.narrowed):
            # All of them, which may be many.
            give = listing.page if newest_first else listing.page_from_the_end
            return await give(fetch, call.query, self._shown)
        visible = [token for token in await listing.everything(fetch) if powers.sees(token)]
        return listing.chosen(visible if newest_first else visible[::-1], call.query, self._shown)

    async def _create(self, call: Call) -> dict[str, Any]:
        powers, owner = await self._asked(call)
        spec = wire.spec(call.body, account_id=call.account_id)
        powers.check_may(_EDIT, spec.grants)
        powers.check_covers(spec)
        request = pb.CreateTokenRequest(owner=owner, spec=spec, actor=call.actor)
        with _body():
            answer = await self._peers.tokens.CreateToken(request, timeout=self._peers.timeout_s)
        return {**self._shown(answer.token), "value": answer.secret}

    async def _get(self, call: Call) -> dict[str, Any]:
        powers, owner = await self._asked(call)
        return self._shown(await self._find(call, powers, owner))

    async def _replace(self, call: Call) -> dict[str, Any]:
        return self._shown(await _again(self._replace_once, call))

    async def _replace_once(self, call: Call) -> pb.Token:
        powers, owner = await self._asked(call)
        kept = await self._changeable(call, powers, owner)
        spec = wire.spec(call.body, account_id=call.account_id, kept=kept)
        powers.check_may(_EDIT, spec.grants)
        powers.check_covers(spec)
        request = pb.UpdateTokenRequest(
            owner=owner,
            token_id=kept.id,
            spec=spec,
            actor=call.actor,
            # What was looked at is what is changed: it might have gained since.
            if_update_time=kept.update_time,
        )
        with _body():
            return (await self._peers.tokens.UpdateToken(request, timeout=self._peers.timeout_s)).token

    async def _delete(self, call: Call) -> dict[str, Any]:
        powers, owner = await self._asked(call)
        # Nobody gains by ending what would have gone on for longer than their own.
        kept = await self._changeable(call, powers, owner, expiry=False)
        request = pb.RevokeTokenRequest(owner=owner, token_id=kept.id, actor=call.actor)
        await self._peers.tokens.RevokeToken(request, timeout=self._peers.timeout_s)
        return {"id": kept.id}

    async def _roll(self, call: Call) -> str:
        return await _again(self._roll_once, call)

    async def _roll_once(self, call: Call) -> str:
        powers, owner = await self._asked(call)
        kept = await self._changeable(call, powers, owner)
        request = pb.RollTokenRequest(
            owner=owner, token_id=kept.id, actor=call.actor, if_update_time=kept.update_time
        )
        return (await self._peers.tokens.RollToken(request, timeout=self._peers.timeout_s)).secret

    async def _verify(self, call: Call) -> Answer:
        own = await own_token(self._peers, call.principal)
        return Answer(result=wire.verified(call.principal.token_id, own), messages=(_VALID,))

    async def _groups(self, call: Call) -> list[dict[str, Any]]:
        powers = await powers_of(self._peers, call.principal)
        accounts = (call.account_id,) if call.account_id else tuple(powers.permissions)
        given = [
            group.permission
            for group in permission_group.GROUPS
            if any(powers.may(group.permission, account) for account in accounts)
        ]
        return permission_group.shown(given, name=call.query.name, scope=call.query.scope)

    async def _asked(self, call: Call) -> tuple[Powers, pb.TokenOwner]:
        """Find out what the caller has, and whose tokens they ask for."""
        powers = await powers_of(self._peers, call.principal)
        if call.account_id:
            return powers, pb.TokenOwner(account_id=call.account_id)
        user_id = call.query.user_id or call.principal.user_id
        if not user_id:
            raise GatewayError(
                Reason.PERMISSION_DENIED,
                "This token is an account's, not a user's; its tokens are at /accounts/{account_id}/tokens.",
            )
        if user_id != call.principal.user_id and not powers.operator:
            raise GatewayError(
                Reason.PERMISSION_DENIED, "Only an operator's token is for other users.", param="user_id"
            )
        if not powers.operator and not any(
            {_READ, _EDIT} & permissions for permissions in powers.permissions.values()
        ):
            raise lacks(_READ)
        return powers, pb.TokenOwner(user_id=user_id)

    async def _find(self, call: Call, powers: Powers, owner: pb.TokenOwner) -> pb.Token:
        request = pb.GetTokenRequest(owner=owner, token_id=call.path["token_id"])
        token = (await self._peers.tokens.GetToken(request, timeout=self._peers.timeout_s)).token
        if token.HasField("revoke_time") or not powers.sees(token):
            raise GatewayError(
                Reason.NOT_FOUND, "There is no such token.", resource="token", id=request.token_id[:64]
            )
        return token

    async def _changeable(
        self, call: Call, powers: Powers, owner: pb.TokenOwner, *, expiry: bool = True
    ) -> pb.Token:
        """Find a token that the caller may change, which is one that can do no more than theirs."""
        token = await self._find(call, powers, owner)
        powers.check_may(_EDIT, token.grants)
        powers.check_covers(token, expiry=expiry)
        return token

    def _shown(self, token: pb.Token) -> dict[str, Any]:
        return wire.shown(token, moment.now(self._clock))


async def _again(change: Callable[[Call], Awaitable[_T]], call: Call) -> _T:
    """Look again and change what was changed by somebody else in between, as often as makes sense."""
    for _ in range(_TRIES - 1):
        try:
            return await change(call)
        except GatewayError as error:
            if error.reason is not Reason.CONFLICT:
                raise
    return await change(call)


@contextmanager
def _body() -> Iterator[None]:
    """Tell what a service finds wrong in the words of the body."""
    try:
        yield
    except GatewayError as error:
        raise wire.in_the_words_of_the_body(error) from error
