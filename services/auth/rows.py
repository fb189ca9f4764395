"""Rows of accounts and tokens as core types, and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kit.moment import microseconds, moment
from services.auth.core.account import Account, AccountSpec
from services.auth.core.token import Grant, Owner, Permission, Restrictions, StoredToken, Token, TokenSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

__all__ = ["account", "account_row", "grants_text", "spec_row", "stored_token", "token_row"]


def account(row: Mapping[Any, Any]) -> Account:
    """Return an account from its row."""
    return Account(
        id=row["id"],
        spec=AccountSpec(name=row["name"], unified=row["unified"]),
        created_at=moment(row["created_at_us"]),
        updated_at=moment(row["updated_at_us"]),
        deleted_at=_moment(row["deleted_at_us"]),
    )


def account_row(found: Account) -> dict[str, Any]:
    """Return the row of an account that is there."""
    return {
        "id": found.id,
        "name": found.spec.name,
        "unified": found.spec.unified,
        "created_at_us": microseconds(found.created_at),
        "updated_at_us": microseconds(found.updated_at),
    }


def stored_token(row: Mapping[Any, Any]) -> StoredToken:
    """Return a token from its row."""
    restrictions = {name: tuple(each) for name, each in json.loads(row["restrictions"]).items()}
    token = Token(
        id=row["id"],
        owner=Owner(account_id=row["account_id"] or "", user_id=row["user_id"] or ""),
        spec=TokenSpec(
            name=row["name"],
            grants=tuple(_grants(row["grants"])),
            restrictions=Restrictions(**restrictions),
            not_before=_moment(row["not_before_us"]),
            expires_at=_moment(row["expires_at_us"]),
            disabled=row["disabled"],
        ),
        created_at=moment(row["created_at_us"]),
        updated_at=moment(row["updated_at_us"]),
        revoked_at=_moment(row["revoked_at_us"]),
        last_used_at=_moment(row["last_used_at_us"]),
    )
    return StoredToken(token=token, hash=bytes(row["hash"]), bootstrap=row["bootstrap"])


def token_row(stored: StoredToken) -> dict[str, Any]:
    """Return the row of a token."""
    token = stored.token
    return {
        "id": token.id,
        "account_id": token.owner.account_id or None,
        "user_id": token.owner.user_id or None,
        "hash": stored.hash,
        "bootstrap": stored.bootstrap,
        "created_at_us": microseconds(token.created_at),
        "updated_at_us": microseconds(token.updated_at),
        "revoked_at_us": _microseconds(token.revoked_at),
        "last_used_at_us": _microseconds(token.last_used_at),
        **spec_row(token.spec),
    }


def spec_row(spec: TokenSpec) -> dict[str, Any]:
    """Return what is chosen about a token, as part of its row."""
    narrowed = spec.restrictions
    return {
        "name": spec.name,
        "grants": grants_text(spec.grants),
        "restrictions": json.dumps(
            {
                "gateway_ids": narrowed.gateway_ids,
                "providers": narrowed.providers,
                "models": narrowed.models,
                "addresses": narrowed.addresses,
                "forbidden_addresses": narrowed.forbidden_addresses,
            }
        ),
        "not_before_us": _microseconds(spec.not_before),
        "expires_at_us": _microseconds(spec.expires_at),
        "disabled": spec.disabled,
    }


def grants_text(grants: Iterable[Grant]) -> str:
    """Return grants as they stand in a row: permissions by account."""
    return json.dumps({grant.account_id: grant.permissions for grant in grants})


def _grants(text: str) -> Iterable[Grant]:
    for account_id, names in json.loads(text).items():
        yield Grant(account_id=account_id, permissions=tuple(Permission(name) for name in names))


def _moment(since_epoch_us: int | None) -> datetime | None:
    return None if since_epoch_us is None else moment(since_epoch_us)


def _microseconds(when: datetime | None) -> int | None:
    return None if when is None else microseconds(when)
