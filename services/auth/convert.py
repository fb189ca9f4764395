"""Auth's messages to its core types and back. What a field's value may be is checked in `core`."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from google.protobuf import duration_pb2, timestamp_pb2

from headrace.auth.v1 import account_pb2, token_pb2
from headrace.auth.v1 import auth_service_pb2 as pb
from headrace.common.v1 import lifetime_pb2
from kit.errors import GatewayError, Reason
from services.auth.core.account import AccountSpec
from services.auth.core.token import Grant, Owner, Permission, Restrictions, TokenSpec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from services.auth.core.account import Account
    from services.auth.core.authentication import Authenticated, Reuse
    from services.auth.core.secret_ref import References
    from services.auth.core.token import Token

__all__ = [
    "account",
    "account_spec",
    "authenticated",
    "invalidation",
    "moment_of",
    "offset",
    "owner",
    "page_size",
    "token",
    "token_spec",
]

_DEFAULT_PAGE = 100
_LARGEST_PAGE = 1000
_LARGEST_OFFSET = 2**62

_PERMISSIONS: dict[token_pb2.Permission.ValueType, Permission] = {
    token_pb2.PERMISSION_AI_GATEWAY_RUN: Permission.AI_GATEWAY_RUN,
    token_pb2.PERMISSION_AI_GATEWAY_READ: Permission.AI_GATEWAY_READ,
    token_pb2.PERMISSION_AI_GATEWAY_EDIT: Permission.AI_GATEWAY_EDIT,
    token_pb2.PERMISSION_WORKERS_AI_READ: Permission.WORKERS_AI_READ,
    token_pb2.PERMISSION_OPERATOR: Permission.OPERATOR,
}
_NUMBERS = {permission: number for number, permission in _PERMISSIONS.items()}


def owner(message: token_pb2.TokenOwner) -> Owner:
    """Return whose token is meant."""
    return Owner(account_id=message.account_id, user_id=message.user_id)


def token_spec(message: token_pb2.TokenSpec) -> TokenSpec:
    """
    Return what a token is to be.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    return TokenSpec(
        name=message.name,
        grants=tuple(_grant(grant) for grant in message.grants),
        restrictions=_restrictions(message.restrictions),
        not_before=moment_of(message, "not_before_time"),
        expires_at=moment_of(message, "expire_time"),
        disabled=message.disabled,
    )


def account_spec(message: account_pb2.AccountSpec) -> AccountSpec:
    """Return what an account is to be."""
    return AccountSpec(name=message.name, unified=message.unified)


def page_size(number: int) -> int:
    """Return how many entries a page has."""
    if not 0 <= number <= _LARGEST_PAGE:
        raise _invalid("page_size", f"A page has 1 to {_LARGEST_PAGE} entries.")
    return number or _DEFAULT_PAGE


def offset(number: int) -> int:
    """Return how many entries to pass over."""
    if not 0 <= number <= _LARGEST_OFFSET:
        raise _invalid("offset", "An offset is at least 0.")
    return number


def token(found: Token) -> token_pb2.Token:
    """Return a token as a message."""
    spec, whose = found.spec, found.owner
    message = token_pb2.Token(
        id=found.id,
        owner=token_pb2.TokenOwner(account_id=whose.account_id, user_id=whose.user_id),
        name=spec.name,
        restrictions=_restrictions_message(spec.restrictions),
        create_time=_timestamp(found.created_at),
        update_time=_timestamp(found.updated_at),
        not_before_time=_timestamp(spec.not_before),
        expire_time=_timestamp(spec.expires_at),
        revoke_time=_timestamp(found.revoked_at),
        disabled=spec.disabled,
        last_use_time=_timestamp(found.last_used_at),
    )
    for grant in spec.grants:
        message.grants.add(account_id=grant.account_id, permissions=_numbers(grant.permissions))
    return message


def account(found: Account, references: References) -> account_pb2.Account:
    """Return an account as a message, with the references to keys that it may use; a deleted one none."""
    return account_pb2.Account(
        id=found.id,
        spec=account_pb2.AccountSpec(name=found.spec.name, unified=found.spec.unified),
        create_time=_timestamp(found.created_at),
        update_time=_timestamp(found.updated_at),
        reference_kinds=references.allowed(found.id) if found.deleted_at is None else (),
        delete_time=_timestamp(found.deleted_at),
    )


def authenticated(found: Authenticated, reuse: Reuse, generation: int) -> pb.AuthenticateResponse:
    """Return the answer about a good token."""
    spec = found.token.spec
    return pb.AuthenticateResponse(
        principal=pb.Principal(
            account_id=found.account_id,
            token_id=found.token.id,
            token_name=spec.name,
            permissions=_numbers(found.permissions),
            restrictions=_restrictions_message(spec.restrictions),
            user_id=found.token.owner.user_id,
        ),
        lifetime=lifetime_pb2.Lifetime(
            reuse_for=_duration(reuse.reuse_for_s),
            grace=_duration(reuse.grace_s),
            generation=generation,
            # Changes of a token that is good for other accounts than its own void the answers of all.
            scope=found.account_id,
        ),
    )


def invalidation(generation: int, scope: str) -> pb.WatchResponse:
    """Return a watch event."""
    return pb.WatchResponse(invalidation=lifetime_pb2.Invalidation(generation=generation, scope=scope))


def _grant(message: token_pb2.Grant) -> Grant:
    given = set(message.permissions)
    if not given <= _PERMISSIONS.keys():
        raise _invalid("grants", "There is no such permission.")
    found = {_PERMISSIONS[number] for number in given}
    ordered = tuple(permission for permission in Permission if permission in found)
    return Grant(account_id=message.account_id, permissions=ordered)


def _restrictions(message: token_pb2.Restrictions) -> Restrictions:
    return Restrictions(
        gateway_ids=tuple(message.gateway_ids),
        providers=tuple(message.providers),
        models=tuple(message.models),
        addresses=tuple(message.addresses),
        forbidden_addresses=tuple(message.forbidden_addresses),
    )


def _restrictions_message(found: Restrictions) -> token_pb2.Restrictions:
    return token_pb2.Restrictions(
        gateway_ids=found.gateway_ids,
        providers=found.providers,
        models=found.models,
        addresses=found.addresses,
        forbidden_addresses=found.forbidden_addresses,
    )


def moment_of(
    message: token_pb2.TokenSpec | token_pb2.UpdateTokenRequest | token_pb2.RollTokenRequest, field: str
) -> datetime | None:
    """
    Read a time; None where none was set.

    Raises:
        GatewayError: INVALID_REQUEST; it is none.
    """
    if not message.HasField(field):  # type: ignore[arg-type]  # a name of a field, out of two
        return None
    stamp: timestamp_pb2.Timestamp = getattr(message, field)
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise _invalid(field, "This is not a time.") from None


def _numbers(found: Iterable[Permission]) -> list[token_pb2.Permission.ValueType]:
    return [_NUMBERS[permission] for permission in found]


def _timestamp(when: datetime | None) -> timestamp_pb2.Timestamp | None:
    if when is None:
        return None
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(when)
    return message


def _duration(seconds: float) -> duration_pb2.Duration:
    message = duration_pb2.Duration()
    message.FromMilliseconds(int(seconds * 1000))
    return message


def _invalid(param: str, message: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, message, param=param)
