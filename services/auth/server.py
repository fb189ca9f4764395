"""Auth's servicers: decode, look up, decide, encode."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from headrace.auth.v1 import auth_service_pb2 as pb
from headrace.auth.v1.auth_service_pb2_grpc import AuthServiceServicer, TokenServiceServicer
from kit import moment
from kit.account import check_account_id
from services.auth import convert
from services.auth.core import page
from services.auth.core.authentication import authenticate, reuse
from services.auth.core.token import StoredToken, Token, digest, mint, token_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.clock import Clock
    from kit.generation import WatchHub
    from services.auth.config import AuthConfig
    from services.auth.store import TokenStore

__all__ = ["AuthServicer", "TokenServicer"]


class AuthServicer(AuthServiceServicer):
    """
    Answers `headrace.auth.v1.AuthService`.

    Args:
        store: The tokens.
        hub: Tells watchers.
        config: How long answers hold.
        clock: The time.
    """

    def __init__(self, *, store: TokenStore, hub: WatchHub, config: AuthConfig, clock: Clock) -> None:
        self._store = store
        self._hub = hub
        self._config = config
        self._clock = clock

    async def Authenticate(self, request: pb.AuthenticateRequest, context: Any) -> pb.AuthenticateResponse:
        """Find whose token this is."""
        name = token_id(request.token)
        stored, generation = await self._store.find(name) if name else (None, 0)
        now = moment.now(self._clock)
        token = authenticate(request.token, request.account_id, stored, now)
        span = reuse(token, now, reuse_for_s=self._config.reuse_for_s, grace_s=self._config.grace_s)
        return convert.authenticated(token, span, generation)

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
        hub: Is told of revocations.
        clock: The time.
        log: Where changes are told.
    """

    def __init__(self, *, store: TokenStore, hub: WatchHub, clock: Clock, log: Any) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._log = log

    async def CreateToken(self, request: pb.CreateTokenRequest, context: Any) -> pb.CreateTokenResponse:
        """Make a token."""
        now = moment.now(self._clock)
        credential = mint()
        token = Token(
            id=credential.id,
            account_id=check_account_id(request.account_id),
            name=convert.name(request.name),
            permissions=convert.permissions(request.permissions),
            restrictions=convert.restrictions(request.restrictions),
            created_at=now,
            expires_at=convert.expiry(request, now),
        )
        secret = credential.text.reveal()
        await self._store.add(StoredToken(token=token, hash=digest(secret)))
        self._log.info("token made", account_id=token.account_id, token_id=token.id)
        return pb.CreateTokenResponse(token=convert.token(token), secret=secret)

    async def ListTokens(self, request: pb.ListTokensRequest, context: Any) -> pb.ListTokensResponse:
        """List the tokens of an account."""
        size = convert.page_size(request.page_size)
        after = page.decode(request.page_token)
        # One more than was asked for tells whether there is a next page.
        found = await self._store.page(check_account_id(request.account_id), size=size + 1, after=after)
        more = len(found) > size
        tokens = found[:size]
        last = tokens[-1] if more else None
        position = "" if last is None else page.encode(page.Position(created_at=last.created_at, id=last.id))
        return pb.ListTokensResponse(tokens=map(convert.token, tokens), next_page_token=position)

    async def RevokeToken(self, request: pb.RevokeTokenRequest, context: Any) -> pb.RevokeTokenResponse:
        """Revoke a token."""
        token = await self._store.revoke(
            check_account_id(request.account_id),
            request.token_id,
            at=moment.now(self._clock),
            then=self._hub.advance,
        )
        self._log.info("token revoked", account_id=token.account_id, token_id=token.id)
        return pb.RevokeTokenResponse(token=convert.token(token))
