"""What auth needs of a store. `store_sqlite` is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from services.auth.core.page import Position
    from services.auth.core.token import StoredToken, Token

__all__ = ["FirstTokenTransaction", "TokenStore"]


class FirstTokenTransaction(Protocol):
    """A transaction that no other process is in at the same time."""

    async def find(self, token_id: str) -> StoredToken | None:
        """Return a token by its id."""
        ...

    async def had_first_token(self, account_id: str) -> bool:
        """Tell whether the account ever had a first token, revoked or not."""
        ...

    async def add(self, stored: StoredToken) -> None:
        """Add a token, and its account where that is missing."""
        ...


class TokenStore(Protocol):
    """Accounts, tokens and the generation. Each method is one transaction."""

    async def generation(self) -> int:
        """Return the generation of what is stored."""
        ...

    async def find(self, token_id: str) -> tuple[StoredToken | None, int]:
        """Return a token by its id, and the generation that it was read at."""
        ...

    async def add(self, stored: StoredToken) -> None:
        """
        Add a token, and its account where that is missing.

        Raises:
            GatewayError: CONFLICT; there is a token of that id.
        """
        ...

    async def page(self, account_id: str, *, size: int, after: Position | None) -> Sequence[Token]:
        """Return at most `size` tokens of an account, newest first, from behind a position on."""
        ...

    async def revoke(
        self, account_id: str, token_id: str, *, at: datetime, then: Callable[[int, str], None]
    ) -> Token:
        """
        Revoke a token, unless it is revoked already, and return it.

        Args:
            account_id: Its account.
            token_id: Which.
            at: The time to note.
            then: Is told the new generation and the account once the change is stored.

        Raises:
            GatewayError: NOT_FOUND; the account has no such token.
        """
        ...

    def first_token(self) -> AbstractAsyncContextManager[FirstTokenTransaction]:
        """Open the transaction in which the first token is made."""
        ...

    async def check(self) -> None:
        """Raise when the store does not answer."""
        ...
