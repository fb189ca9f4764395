"""Decides whether a presented token is good, and for how long that may be believed."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kit.errors import GatewayError, Reason
from services.auth.core.token import digest

if TYPE_CHECKING:
    from datetime import datetime

    from services.auth.core.token import StoredToken, Token

__all__ = ["Reuse", "authenticate", "reuse"]

_NO_HASH = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """How long an answer may be reused, and how much longer while auth is away."""

    reuse_for_s: float
    grace_s: float


def authenticate(presented: str, account_id: str, stored: StoredToken | None, now: datetime) -> Token:
    """
    Return the token that was presented.

    Args:
        presented: The text.
        account_id: The account in whose name it was presented.
        stored: What is known under the text's id.
        now: The time.

    Raises:
        GatewayError: UNAUTHENTICATED, whatever is wrong: a caller learns nothing about tokens of others.
    """
    # Every refusal does the same work, so that the time taken tells nothing either.
    good = hmac.compare_digest(digest(presented), stored.hash if stored else _NO_HASH)
    if stored is None or not good or not _usable(stored.token, account_id, now):
        raise GatewayError(Reason.UNAUTHENTICATED, "The token is not valid.")
    return stored.token


def reuse(token: Token, now: datetime, *, reuse_for_s: float, grace_s: float) -> Reuse:
    """Return how long an answer about a token may be reused: never, grace included, past its expiry."""
    if token.expires_at is None:
        return Reuse(reuse_for_s=reuse_for_s, grace_s=grace_s)
    left_s = max(0.0, (token.expires_at - now).total_seconds())
    reuse_for_s = min(reuse_for_s, left_s)
    return Reuse(reuse_for_s=reuse_for_s, grace_s=min(grace_s, left_s - reuse_for_s))


def _usable(token: Token, account_id: str, now: datetime) -> bool:
    return (
        token.account_id == account_id
        and token.revoked_at is None
        and (token.expires_at is None or now < token.expires_at)
    )
