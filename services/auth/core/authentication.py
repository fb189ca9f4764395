"""Decides whether a presented token is good, what it allows, and for how long that may be believed."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kit.errors import GatewayError, Reason
from services.auth.core.token import Permission, digest

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from services.auth.core.token import StoredToken, Token

__all__ = ["Authenticated", "Reuse", "authenticate", "reuse"]

_NO_HASH = bytes(32)
# What an operator's token allows on every account. Not to send requests: those cost others money.
_OPERATORS = (Permission.AI_GATEWAY_READ, Permission.AI_GATEWAY_EDIT, Permission.OPERATOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticated:
    """
    A token that is good.

    Attributes:
        account_id: Account that it speaks for. Empty: a user's token that asks about itself.
        permissions: What it allows there.
    """

    token: Token
    account_id: str
    permissions: tuple[Permission, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """How long an answer may be reused, and how much longer while auth is away."""

    reuse_for_s: float
    grace_s: float


def authenticate(
    presented: str, account_id: str, stored: StoredToken | None, existing: Collection[str], now: datetime
) -> Authenticated:
    """
    Return whose the token is that was presented.

    Args:
        presented: The text.
        account_id: The account in whose name it was presented. Empty: none in particular.
        stored: What is known under the text's id.
        existing: Which of that account and the token's own accounts are there.
        now: The time.

    Raises:
        GatewayError: UNAUTHENTICATED, whatever is wrong: a caller learns nothing about tokens of others.
    """
    # Every refusal does the same work, so that the time taken tells nothing either.
    good = hmac.compare_digest(digest(presented), stored.hash if stored else _NO_HASH)
    if stored is None or not good or not _works(stored.token, existing, now):
        raise _refusal()
    token = stored.token
    if not account_id:
        own = token.owner.account_id
        return Authenticated(token=token, account_id=own, permissions=_allowed(token, own, existing))
    permissions = _allowed(token, account_id, existing)
    if not permissions:
        raise _refusal()
    return Authenticated(token=token, account_id=account_id, permissions=permissions)


def reuse(token: Token, now: datetime, *, reuse_for_s: float, grace_s: float) -> Reuse:
    """Return how long an answer about a token may be reused: never, grace included, past its expiry."""
    expires_at = token.spec.expires_at
    if expires_at is None:
        return Reuse(reuse_for_s=reuse_for_s, grace_s=grace_s)
    left_s = max(0.0, (expires_at - now).total_seconds())
    reuse_for_s = min(reuse_for_s, left_s)
    return Reuse(reuse_for_s=reuse_for_s, grace_s=min(grace_s, left_s - reuse_for_s))


def _works(token: Token, existing: Collection[str], now: datetime) -> bool:
    spec, owner = token.spec, token.owner
    return (
        token.revoked_at is None
        and not spec.disabled
        and (spec.not_before is None or spec.not_before <= now)
        and (spec.expires_at is None or now < spec.expires_at)
        and (not owner.account_id or owner.account_id in existing)
    )


def _allowed(token: Token, account_id: str, existing: Collection[str]) -> tuple[Permission, ...]:
    if account_id not in existing:
        return ()
    found = set(token.granted(account_id))
    # An operator's power comes from an account that is still there.
    if any(
        Permission.OPERATOR in grant.permissions and grant.account_id in existing
        for grant in token.spec.grants
    ):
        found |= set(_OPERATORS)
    return tuple(permission for permission in Permission if permission in found)


def _refusal() -> GatewayError:
    return GatewayError(Reason.UNAUTHENTICATED, "The token is not valid.")
