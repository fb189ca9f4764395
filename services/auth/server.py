"""Auth's servicers of tokens and accounts: decode, look up, decide, encode."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from headrace.auth.v1 import account_pb2, token_pb2
from headrace.auth.v1 import auth_service_pb2 as pb
from headrace.auth.v1.account_pb2_grpc import AccountServiceServicer
from headrace.auth.v1.auth_service_pb2_grpc import AuthServiceServicer
from headrace.auth.v1.token_pb2_grpc import TokenServiceServicer
from kit import moment
from kit.account import ACCOUNT_ID, check_account_id
from kit.audit_service import actor_of
from kit.errors import GatewayError, Reason
from services.auth import convert
from services.auth.core.account import Account, check_account
from services.auth.core.authentication import authenticate, reuse
from services.auth.core.token import StoredToken, Token, digest, mint, token_id
from services.auth.core.token_spec import check_owner, checked
from services.auth.store import Found

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.clock import Clock
    from kit.generation import WatchHub
    from services.auth.config import AuthConfig
    from services.auth.core.secret_ref import References
    from services.auth.last_use import LastUse
    from services.auth.store import AccountStore, TokenStore

__all__ = ["AccountServicer", "AuthServicer", "TokenServicer"]

_NOTHING = Found(stored=None, existing=frozenset(), generation=0)
_LONGEST_ID = 64
_MOST_NAMED = 1000


class AuthServicer(AuthServiceServicer):
    """
    Answers `headrace.auth.v1.AuthService`.

    Args:
        store: The tokens.
        hub: Tells watchers.
        last_use: Is told of good tokens.
        config: How long answers hold.
        clock: The time.
    """

    def __init__(
        self, *, store: TokenStore, hub: WatchHub, last_use: LastUse, config: AuthConfig, clock: Clock
    ) -> None:
        self._store = store
        self._hub = hub
        self._last_use = last_use
        self._config = config
        self._clock = clock

    async def Authenticate(self, request: pb.AuthenticateRequest, context: Any) -> pb.AuthenticateResponse:
        """Find whose token this is."""
        name = token_id(request.token)
        # What cannot be an account's id is nobody's account, and need not be looked for.
        asked = request.account_id if ACCOUNT_ID.fullmatch(request.account_id) else ""
        known = asked == request.account_id
        found = await self._store.find(name, asked) if name and known else _NOTHING
        now = moment.now(self._clock)
        good = authenticate(request.token, request.account_id, found.stored, found.existing, now)
        self._last_use.note(good.token.id, moment.microseconds(now))
        span = reuse(good.token, now, reuse_for_s=self._config.reuse_for_s, grace_s=self._config.grace_s)
        return convert.authenticated(good, span, found.generation)

    async def Watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.WatchResponse]:
        """Report when answers of `Authenticate` become void."""
        async with aclosing(self._hub.watch()) as events:
            async for event in events:
                yield convert.invalidation(event.number, event.scope)


class TokenServicer(TokenServiceServicer):
    """
    Answers `headrace.auth.v1.TokenService`.

    Args:
        store: The tokens.
        hub: Is told of changes.
        clock: The time.
        log: Where changes are told.
    """

    def __init__(self, *, store: TokenStore, hub: WatchHub, clock: Clock, log: Any) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._log = log

    async def CreateToken(
        self, request: token_pb2.CreateTokenRequest, context: Any
    ) -> token_pb2.CreateTokenResponse:
        """Make a token."""
        now = moment.now(self._clock)
        owner = check_owner(convert.owner(request.owner))
        spec = checked(convert.token_spec(request.spec), owner, now)
        credential = mint()
        token = Token(id=credential.id, owner=owner, spec=spec, created_at=now, updated_at=now)
        secret = credential.text.reveal()
        await self._store.add(StoredToken(token=token, hash=digest(secret)), actor_of(request.actor))
        self._told("token made", token)
        return token_pb2.CreateTokenResponse(token=convert.token(token), secret=secret)

    async def ListTokens(
        self, request: token_pb2.ListTokensRequest, context: Any
    ) -> token_pb2.ListTokensResponse:
        """List the tokens of an owner."""
        found, total = await self._store.page(
            check_owner(convert.owner(request.owner)),
            size=convert.page_size(request.page_size),
            offset=convert.offset(request.offset),
            revoked=request.show_revoked,
        )
        return token_pb2.ListTokensResponse(tokens=map(convert.token, found), total_count=total)

    async def GetToken(self, request: token_pb2.GetTokenRequest, context: Any) -> token_pb2.GetTokenResponse:
        """Find a token."""
        owner = check_owner(convert.owner(request.owner))
        return token_pb2.GetTokenResponse(token=convert.token(await self._store.get(owner, _id(request))))

    async def UpdateToken(
        self, request: token_pb2.UpdateTokenRequest, context: Any
    ) -> token_pb2.UpdateTokenResponse:
        """Replace what is chosen about a token."""
        owner = check_owner(convert.owner(request.owner))
        token = await self._store.update(
            owner,
            _id(request),
            checked(convert.token_spec(request.spec), owner),
            at=moment.now(self._clock),
            actor=actor_of(request.actor),
            then=self._hub.advance,
            unchanged_since=convert.moment_of(request, "if_update_time"),
        )
        self._told("token changed", token)
        return token_pb2.UpdateTokenResponse(token=convert.token(token))

    async def RollToken(
        self, request: token_pb2.RollTokenRequest, context: Any
    ) -> token_pb2.RollTokenResponse:
        """Give a token a new secret."""
        name = _id(request)
        secret = mint(name=name).text.reveal()
        token = await self._store.roll(
            check_owner(convert.owner(request.owner)),
            name,
            digest(secret),
            at=moment.now(self._clock),
            actor=actor_of(request.actor),
            then=self._hub.advance,
            unchanged_since=convert.moment_of(request, "if_update_time"),
        )
        self._told("token rolled", token)
        return token_pb2.RollTokenResponse(token=convert.token(token), secret=secret)

    async def RevokeToken(
        self, request: token_pb2.RevokeTokenRequest, context: Any
    ) -> token_pb2.RevokeTokenResponse:
        """Revoke a token."""
        token = await self._store.revoke(
            check_owner(convert.owner(request.owner)),
            _id(request),
            at=moment.now(self._clock),
            actor=actor_of(request.actor),
            then=self._hub.advance,
        )
        self._told("token revoked", token)
        return token_pb2.RevokeTokenResponse(token=convert.token(token))

    def _told(self, what: str, token: Token) -> None:
        owner = token.owner
        self._log.info(what, account_id=owner.account_id, user_id=owner.user_id, token_id=token.id)


class AccountServicer(AccountServiceServicer):
    """
    Answers `headrace.auth.v1.AccountService`.

    Args:
        store: The accounts.
        hub: Is told of changes.
        own_account_id: The account of this installation itself.
        references: Which keys in other stores accounts may name.
        clock: The time.
        log: Where changes are told.
    """

    def __init__(
        self,
        *,
        store: AccountStore,
        hub: WatchHub,
        own_account_id: str,
        references: References,
        clock: Clock,
        log: Any,
    ) -> None:
        self._store = store
        self._hub = hub
        self._own_account_id = own_account_id
        self._references = references
        self._clock = clock
        self._log = log

    async def CreateAccount(
        self, request: account_pb2.CreateAccountRequest, context: Any
    ) -> account_pb2.CreateAccountResponse:
        """Make an account."""
        now = moment.now(self._clock)
        account = Account(
            id=check_account_id(request.account_id),
            spec=check_account(convert.account_spec(request.spec)),
            created_at=now,
            updated_at=now,
        )
        await self._store.add(account, actor=actor_of(request.actor), then=self._hub.advance)
        self._log.info("account made", account_id=account.id)
        return account_pb2.CreateAccountResponse(account=self._shown(account))

    async def ListAccounts(
        self, request: account_pb2.ListAccountsRequest, context: Any
    ) -> account_pb2.ListAccountsResponse:
        """List accounts."""
        if len(request.account_ids) > _MOST_NAMED:
            raise GatewayError(
                Reason.INVALID_REQUEST, f"At most {_MOST_NAMED} can be asked for.", param="account_ids"
            )
        found, total = await self._store.page(
            size=convert.page_size(request.page_size),
            offset=convert.offset(request.offset),
            among=[check_account_id(each) for each in request.account_ids],
            deleted=request.include_deleted,
        )
        return account_pb2.ListAccountsResponse(accounts=map(self._shown, found), total_count=total)

    async def GetAccount(
        self, request: account_pb2.GetAccountRequest, context: Any
    ) -> account_pb2.GetAccountResponse:
        """Find an account."""
        account = await self._store.get(check_account_id(request.account_id))
        return account_pb2.GetAccountResponse(account=self._shown(account))

    async def UpdateAccount(
        self, request: account_pb2.UpdateAccountRequest, context: Any
    ) -> account_pb2.UpdateAccountResponse:
        """Replace what is chosen about an account."""
        account = await self._store.update(
            check_account_id(request.account_id),
            check_account(convert.account_spec(request.spec)),
            at=moment.now(self._clock),
            actor=actor_of(request.actor),
            then=self._hub.advance,
        )
        self._log.info("account changed", account_id=account.id)
        return account_pb2.UpdateAccountResponse(account=self._shown(account))

    async def DeleteAccount(
        self, request: account_pb2.DeleteAccountRequest, context: Any
    ) -> account_pb2.DeleteAccountResponse:
        """Delete an account."""
        account_id = check_account_id(request.account_id)
        if account_id == self._own_account_id:
            raise GatewayError(
                Reason.CONFLICT, "The account of this installation itself stays.", resource="account"
            )
        account = await self._store.delete(
            account_id,
            at=moment.now(self._clock),
            actor=actor_of(request.actor),
            then=self._hub.advance,
        )
        self._log.info("account deleted", account_id=account.id)
        return account_pb2.DeleteAccountResponse(account=self._shown(account))

    def _shown(self, account: Account) -> account_pb2.Account:
        return convert.account(account, self._references)


def _id(
    request: token_pb2.GetTokenRequest
    | token_pb2.UpdateTokenRequest
    | token_pb2.RollTokenRequest
    | token_pb2.RevokeTokenRequest,
) -> str:
    """Return the id of a token; one that is none is unknown, and never meets the database."""
    name = request.token_id
    if not name.isascii() or not name.isalnum() or len(name) > _LONGEST_ID:
        raise GatewayError(
            Reason.NOT_FOUND, "There is no such token.", resource="token", id=name[:_LONGEST_ID]
        )
    return name
