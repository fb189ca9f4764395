"""Gateways and the errors about them. What a gateway does stands in `settings` and `documents`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kit.errors import GatewayError, Reason
from services.router.core.echo import echo
from services.router.core.settings import GatewaySettings

if TYPE_CHECKING:
    from datetime import datetime

    from services.router.core.documents import Documents

__all__ = [
    "DEFAULT_GATEWAY",
    "MOST_GATEWAYS",
    "Gateway",
    "ManagedGateway",
    "absent",
    "check_new_id",
    "exists",
    "is_gateway_id",
    "not_found",
    "too_many",
]

DEFAULT_GATEWAY: Final = "default"
# Of one account; far above what anybody has, and bounds what an account can fill.
MOST_GATEWAYS: Final = 1000

_ID = re.compile(r"[a-z0-9_]+(?:-[a-z0-9_]+)*", re.ASCII)
_LONGEST_ID = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A name in the URL under which settings are kept: as much of it as plans need."""

    account_id: str
    id: str
    internal_id: str
    settings: GatewaySettings
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedGateway:
    """A gateway with everything that is kept of it."""

    gateway: Gateway
    documents: Documents


def is_gateway_id(text: str) -> bool:
    """Tell whether a gateway could have this id."""
    return len(text) <= _LONGEST_ID and _ID.fullmatch(text) is not None


def check_new_id(text: str) -> str:
    """
    Return the id of a gateway to be made.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    if not is_gateway_id(text):
        raise GatewayError(
            Reason.INVALID_REQUEST,
            f"A gateway's id has 1 to {_LONGEST_ID} lower-case letters, digits, underscores and single "
            "hyphens between them.",
            param="id",
        )
    return text


def not_found(gateway_id: str) -> GatewayError:
    """Return the error about a gateway that the account does not have."""
    return GatewayError(
        Reason.GATEWAY_NOT_FOUND,
        "The account has no gateway of that name.",
        gateway_id=echo(gateway_id),
    )


def exists(gateway_id: str) -> GatewayError:
    """Return the error about a gateway that the account has already."""
    return GatewayError(
        Reason.CONFLICT,
        f"The account has a gateway of the id {echo(gateway_id)!r} already.",
        resource="gateway",
        param="id",
    )


def too_many() -> GatewayError:
    """Return the error about one gateway more than an account may have."""
    return GatewayError(
        Reason.INVALID_REQUEST, f"An account has at most {MOST_GATEWAYS} gateways.", param="id"
    )


def absent(account_id: str, gateway_id: str, now: datetime, *, internal_id: str) -> Gateway:
    """
    Return the gateway that stands for one that is not stored: `default` makes itself, others do not.

    Args:
        account_id: Whose it would be.
        gateway_id: Which.
        now: When it would be made.
        internal_id: The UUID that it would have.

    Raises:
        GatewayError: GATEWAY_NOT_FOUND.
    """
    if gateway_id != DEFAULT_GATEWAY:
        raise not_found(gateway_id)
    return Gateway(
        account_id=account_id,
        id=gateway_id,
        internal_id=internal_id,
        settings=GatewaySettings(),
        created_at=now,
        updated_at=now,
    )
