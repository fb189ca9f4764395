"""
Tokens: what one is, how a new one is made, and how a presented one is read.

A token is `hr_<id>_<secret>`; `kit.tokens` has the exact shape. The id is public and finds the row;
the whole text is hashed and compared.
The text itself must never be part of a type here other than `Secret`.
"""

from __future__ import annotations

import hashlib
import secrets
from base64 import b32encode, urlsafe_b64encode
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from kit import tokens
from kit.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

__all__ = [
    "Credential",
    "Grant",
    "Owner",
    "Permission",
    "Restrictions",
    "StoredToken",
    "Token",
    "TokenSpec",
    "digest",
    "mint",
    "token_id",
]

# 60 bits of id name a token without a collision in any installation's life; 256 bits cannot be guessed.
_SECRET_BYTES = 32


class Permission(StrEnum):
    """What a token allows; documented in `headrace.auth.v1.Permission`."""

    AI_GATEWAY_RUN = "ai_gateway_run"
    AI_GATEWAY_READ = "ai_gateway_read"
    AI_GATEWAY_EDIT = "ai_gateway_edit"
    WORKERS_AI_READ = "workers_ai_read"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose a token is: exactly one is not empty."""

    account_id: str = ""
    user_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """
    What a token allows on one account.

    Attributes:
        permissions: In the order of `Permission`, each once.
    """

    account_id: str
    permissions: tuple[Permission, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restrictions:
    """
    What a token is narrowed to. An empty list narrows nothing.

    Attributes:
        addresses: Networks that it may be used from.
        forbidden_addresses: Networks that it may not be used from.
    """

    gateway_ids: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    forbidden_addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSpec:
    """
    What is chosen about a token.

    Attributes:
        grants: By account, each account once.
        not_before: When it begins to work. None: at once.
        expires_at: When it stops working. None: never.
        disabled: Whether it is switched off for now.
    """

    name: str
    grants: tuple[Grant, ...]
    restrictions: Restrictions = field(default_factory=Restrictions)
    not_before: datetime | None = None
    expires_at: datetime | None = None
    disabled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """
    A token without its secret.

    Attributes:
        updated_at: When it was last changed, rolling included.
        revoked_at: None: it was not.
        last_used_at: To within some seconds. None: never.
    """

    id: str
    owner: Owner
    spec: TokenSpec
    created_at: datetime
    updated_at: datetime
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    @property
    def operator(self) -> bool:
        """Whether it allows what operators do, which is on every account."""
        return any(Permission.OPERATOR in grant.permissions for grant in self.spec.grants)

    @property
    def accounts(self) -> tuple[str, ...]:
        """The accounts that it is for."""
        return tuple(grant.account_id for grant in self.spec.grants)

    def granted(self, account_id: str) -> tuple[Permission, ...]:
        """Return what is granted on an account; nothing where it is not for that."""
        for grant in self.spec.grants:
            if grant.account_id == account_id:
                return grant.permissions
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredToken:
    """
    A token as it is kept.

    Attributes:
        hash: SHA-256 of the whole token. Not a secret, but nothing for a log either.
        bootstrap: Whether it is the one made on first start.
    """

    token: Token
    hash: bytes = field(repr=False)
    bootstrap: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A new token's id and its whole text."""

    id: str
    text: Secret


def mint(random_bytes: Callable[[int], bytes] = secrets.token_bytes, *, name: str = "") -> Credential:
    """
    Make the text of a new token.

    Args:
        random_bytes: Where randomness comes from.
        name: The id it is to have. Empty: a new one.
    """
    # 8 bytes give 13 characters of base32, of which the last holds four bits only: the first 12 are full.
    name = name or b32encode(random_bytes(8)).decode().lower()[: tokens.ID_CHARACTERS]
    secret = urlsafe_b64encode(random_bytes(_SECRET_BYTES)).decode().rstrip("=")
    return Credential(id=name, text=Secret(f"{tokens.PREFIX}{name}_{secret}"))


def token_id(presented: str) -> str | None:
    """Return the id in a token's text, or None when it is not the text of a token."""
    return tokens.id_of(presented)


def digest(presented: str) -> bytes:
    """Return the hash that is kept of a token's text."""
    # Plain SHA-256 and no slow password hash: 256 random bits cannot be tried out.
    return hashlib.sha256(presented.encode()).digest()
