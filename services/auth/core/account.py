"""Accounts: what one is, and what may be chosen about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Account", "AccountSpec", "check_account"]

_LONGEST_NAME = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSpec:
    """
    What is chosen about an account.

    Attributes:
        name: For people. Empty: its id.
        unified: Whether the operator's own keys are used where there is no other.
    """

    name: str = ""
    unified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """
    An account.

    Attributes:
        deleted_at: When it was deleted; None for one that is there.
    """

    id: str
    spec: AccountSpec
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None


def check_account(spec: AccountSpec) -> AccountSpec:
    """
    Return what is chosen, once it is within bounds.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    name = spec.name
    if len(name) > _LONGEST_NAME or not (name == "" or (name.isprintable() and name.strip())):
        message = f"An account's name has at most {_LONGEST_NAME} printable characters."
        raise GatewayError(Reason.INVALID_REQUEST, message, param="name")
    return spec
