"""Auth's messages to its core types and back. Requests are validated here and trusted behind."""

from __future__ import annotations

import re
from datetime import UTC
from typing import TYPE_CHECKING

from google.protobuf import duration_pb2, timestamp_pb2

from headrace.auth.v1 import auth_service_pb2 as pb
from headrace.common.v1 import lifetime_pb2
from kit.errors import GatewayError, Reason
from services.auth.core.token import Permission, Restrictions

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from services.auth.core.authentication import Reuse
    from services.auth.core.token import Token

__all__ = [
    "authenticated",
    "expiry",
    "invalidation",
    "name",
    "page_size",
    "permissions",
    "restrictions",
    "token",
]

_GATEWAY = re.compile(r"[a-z0-9_]+(?:-[a-z0-9_]+)*", re.ASCII)
_SLUG = re.compile(r"[a-z0-9]+(?:[-_.][a-z0-9]+)*", re.ASCII)
_MODEL = re.compile(r"[^/\s]+/\S+")

_MOST_NAMES = 100  # a token narrowed to more is better not narrowed; bounds what every answer carries
_LONGEST_NAME = 256
_DEFAULT_PAGE = 100
_LARGEST_PAGE = 1000

_PERMISSIONS: dict[pb.Permission.ValueType, Permission] = {
    pb.PERMISSION_AI_GATEWAY_RUN: Permission.AI_GATEWAY_RUN,
    pb.PERMISSION_AI_GATEWAY_READ: Permission.AI_GATEWAY_READ,
    pb.PERMISSION_AI_GATEWAY_EDIT: Permission.AI_GATEWAY_EDIT,
    pb.PERMISSION_WORKERS_AI_READ: Permission.WORKERS_AI_READ,
}
_NUMBERS = {permission: number for number, permission in _PERMISSIONS.items()}


def _invalid(param: str, message: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, message, param=param)


def name(text: str) -> str:
    """Return a token's name that is one."""
    if not 1 <= len(text) <= 120 or not text.strip() or not text.isprintable():
        raise _invalid("name", "A token's name has 1 to 120 printable characters.")
    return text


def permissions(numbers: Iterable[pb.Permission.ValueType]) -> tuple[Permission, ...]:
    """Return permissions in their order, each once; Run when there are none."""
    given = set(numbers)
    if not given <= _PERMISSIONS.keys():
        raise _invalid("permissions", "There is no such permission.")
    found = {_PERMISSIONS[number] for number in given} or {Permission.AI_GATEWAY_RUN}
    return tuple(permission for permission in Permission if permission in found)


def restrictions(message: pb.Restrictions) -> Restrictions:
    """Return what a token is narrowed to."""
    return Restrictions(
        gateway_ids=_names("gateway_ids", message.gateway_ids, _GATEWAY),
        providers=_names("providers", message.providers, _SLUG),
        models=_names("models", message.models, _MODEL),
    )


def _names(field: str, names: Iterable[str], pattern: re.Pattern[str]) -> tuple[str, ...]:
    unique = tuple(dict.fromkeys(names))
    if len(unique) > _MOST_NAMES:
        raise _invalid(f"restrictions.{field}", f"A token is narrowed to at most {_MOST_NAMES} of these.")
    for each in unique:
        if len(each) > _LONGEST_NAME or not pattern.fullmatch(each):
            raise _invalid(f"restrictions.{field}", "One of these is not well-formed.")
    return unique


def expiry(message: pb.CreateTokenRequest, now: datetime) -> datetime | None:
    """Return when a token will stop working; None: never."""
    if not message.HasField("expire_time"):
        return None
    try:
        when = message.expire_time.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise _invalid("expire_time", "The expiry is not a time.") from None
    if when <= now:
        raise _invalid("expire_time", "The expiry is in the past.")
    return when


def page_size(number: int) -> int:
    """Return how many tokens a page has."""
    if not 0 <= number <= _LARGEST_PAGE:
        raise _invalid("page_size", f"A page has 1 to {_LARGEST_PAGE} tokens.")
    return number or _DEFAULT_PAGE


def token(found: Token) -> pb.Token:
    """Return a token as a message."""
    return pb.Token(
        id=found.id,
        account_id=found.account_id,
        name=found.name,
        permissions=_permission_numbers(found),
        restrictions=_restrictions(found.restrictions),
        create_time=_timestamp(found.created_at),
        expire_time=_timestamp(found.expires_at),
        revoke_time=_timestamp(found.revoked_at),
    )


def authenticated(found: Token, reuse: Reuse, generation: int) -> pb.AuthenticateResponse:
    """Return the answer about a good token."""
    return pb.AuthenticateResponse(
        principal=pb.Principal(
            account_id=found.account_id,
            token_id=found.id,
            token_name=found.name,
            permissions=_permission_numbers(found),
            restrictions=_restrictions(found.restrictions),
        ),
        lifetime=lifetime_pb2.Lifetime(
            reuse_for=_duration(reuse.reuse_for_s),
            grace=_duration(reuse.grace_s),
            generation=generation,
            scope=found.account_id,
        ),
    )


def invalidation(generation: int, scope: str) -> pb.WatchResponse:
    """Return a watch event."""
    return pb.WatchResponse(invalidation=lifetime_pb2.Invalidation(generation=generation, scope=scope))


def _permission_numbers(found: Token) -> list[pb.Permission.ValueType]:
    return [_NUMBERS[permission] for permission in found.permissions]


def _restrictions(found: Restrictions) -> pb.Restrictions:
    return pb.Restrictions(gateway_ids=found.gateway_ids, providers=found.providers, models=found.models)


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
