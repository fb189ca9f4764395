"""What auth needs of a store of accounts and tokens. `store_sql` is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from kit.audit import Actor
    from services.auth.core.account import Account, AccountSpec
    from services.auth.core.token import Owner, StoredToken, Token, TokenSpec

__all__ = ["AccountStore", "FirstTokenTransaction", "Found", "TokenStore", "Told"]

Told = Callable[[int, str], None]
"""Is told the new generation and its scope, once a change is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """
    What is known about a token that somebody presents.

    Attributes:
        stored: The token. None: there is none of that id.
        existing: Which are there, of the account that was asked for and of the token's own.
        generation: The generation that all of it was read at.
    """

    stored: StoredToken | None
    existing: Collection[str]
    generation: int


class FirstTokenTransaction(Protocol):
    """A transaction that no other process is in at the same time."""

    async def find(self, token_id: str) -> StoredToken | None:
        """Return a token by its id."""
        ...

    async def had_first_token(self, account_id: str) -> bool:
        """Tell whether the account ever had a first token, revoked or not."""
        ...

    async def ensure_account(self, account_id: str, spec: AccountSpec, *, at: datetime) -> bool:
        """Make the account where there never was one of that id; False when it was deleted."""
        ...

    async def add(self, stored: StoredToken) -> None:
        """Add a token."""
        ...


class TokenStore(Protocol):
    """
    Tokens and the generation. Each method is one transaction.

    A change writes what was changed into the audit log, and is told once it is stored. Methods that take an
    owner fail with NOT_FOUND when that has no such token.
    """

    async def generation(self) -> int:
        """Return the generation of what is stored."""
        ...

    async def find(self, token_id: str, account_id: str) -> Found:
        """Return what is known about a token that was presented in the name of an account."""
        ...

    async def get(self, owner: Owner, token_id: str) -> Token:
        """Return a token."""
        ...

    async def add(self, stored: StoredToken, actor: Actor) -> None:
        """
        Add a token.

        Raises:
            GatewayError: NOT_FOUND; an account that it is for does not exist. CONFLICT; its id is taken.
        """
        ...

    async def page(
        self, owner: Owner, *, size: int, offset: int, revoked: bool
    ) -> tuple[Sequence[Token], int]:
        """
        Return some tokens of an owner, newest first, and how many there are in all.

        Args:
            owner: Whose.
            size: Most tokens.
            offset: How many to pass over.
            revoked: Whether revoked ones count.
        """
        ...

    async def update(
        self,
        owner: Owner,
        token_id: str,
        spec: TokenSpec,
        *,
        at: datetime,
        actor: Actor,
        then: Told,
        unchanged_since: datetime | None = None,
    ) -> Token:
        """
        Replace what is chosen about a token that is not revoked, and return it.

        Raises:
            GatewayError: NOT_FOUND; also when an account that it would newly be for does not exist. CONFLICT;
                it was not last changed at `unchanged_since`.
        """
        ...

    async def roll(
        self,
        owner: Owner,
        token_id: str,
        digest: bytes,
        *,
        at: datetime,
        actor: Actor,
        then: Told,
        unchanged_since: datetime | None = None,
    ) -> Token:
        """
        Give a token that is not revoked another secret, by its hash, and return it.

        Raises:
            GatewayError: NOT_FOUND. CONFLICT; it was not last changed at `unchanged_since`.
        """
        ...

    async def revoke(self, owner: Owner, token_id: str, *, at: datetime, actor: Actor, then: Told) -> Token:
        """Revoke a token, unless it is revoked already, and return it."""
        ...

    async def used(self, times: Mapping[str, int]) -> None:
        """Note when tokens were last used, in microseconds since 1970 by id; never earlier than noted."""
        ...

    def first_token(self) -> AbstractAsyncContextManager[FirstTokenTransaction]:
        """Open the transaction in which the first token is made."""
        ...

    async def check(self) -> None:
        """Raise when the store does not answer."""
        ...


class AccountStore(Protocol):
    """Accounts. Each method is one transaction; changes are audited and told as those of tokens."""

    async def add(self, account: Account, *, actor: Actor, then: Told) -> None:
        """
        Add an account.

        Raises:
            GatewayError: CONFLICT; there is one of that id, or was.
        """
        ...

    async def get(self, account_id: str) -> Account:
        """
        Return an account.

        Raises:
            GatewayError: NOT_FOUND.
        """
        ...

    async def page(
        self, *, size: int, offset: int, among: Collection[str], deleted: bool
    ) -> tuple[Sequence[Account], int]:
        """
        Return some accounts by id, and how many there are in all.

        Args:
            size: Most accounts.
            offset: How many to pass over.
            among: Only these. Empty: all.
            deleted: Whether deleted ones count.
        """
        ...

    async def update(
        self, account_id: str, spec: AccountSpec, *, at: datetime, actor: Actor, then: Told
    ) -> Account:
        """
        Replace what is chosen about an account, and return it.

        Raises:
            GatewayError: NOT_FOUND.
        """
        ...

    async def delete(self, account_id: str, *, at: datetime, actor: Actor, then: Told) -> Account:
        """
        Delete an account with its tokens and keys, and return it as it was.

        Tokens of users lose what they could do there; one that has nothing else is revoked.

        Raises:
            GatewayError: NOT_FOUND.
        """
        ...
