"""
What may be chosen about a token: bounds, formats, and how the choice is put in order.

Whether the accounts of grants exist is for the store to say.
"""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import IPv6Network, ip_network
from typing import TYPE_CHECKING

from kit.account import ACCOUNT_ID
from kit.errors import GatewayError, Reason
from services.auth.core.token import Grant, Owner, Permission, Restrictions, TokenSpec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from ipaddress import IPv4Network

__all__ = ["check_owner", "checked"]

_GATEWAY = re.compile(r"[a-z0-9_]+(?:-[a-z0-9_]+)*", re.ASCII)
_SLUG = re.compile(r"[a-z0-9]+(?:[-_.][a-z0-9]+)*", re.ASCII)
_MODEL = re.compile(r"[^/\s]+/\S+")

_LONGEST_NAME = 120
_MOST_GRANTS = 100
# A token narrowed to more is better not narrowed; bounds what every answer carries.
_MOST_NAMES = 100
_LONGEST_ENTRY = 256


def check_owner(owner: Owner) -> Owner:
    """
    Return an owner that is one.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    if bool(owner.account_id) == bool(owner.user_id):
        raise _invalid("owner", "A token belongs to an account or to a user: name exactly one.")
    if owner.account_id and not ACCOUNT_ID.fullmatch(owner.account_id):
        raise _invalid("account_id", "An account id has 1 to 64 letters, digits, hyphens or underscores.")
    if owner.user_id and not _named(owner.user_id):
        raise _invalid("user_id", f"A user's name has 1 to {_LONGEST_NAME} printable characters.")
    return owner


def checked(spec: TokenSpec, owner: Owner, now: datetime | None = None) -> TokenSpec:
    """
    Return what is chosen, in order, once it is within bounds.

    Args:
        spec: As it was asked for.
        owner: Whose token it is.
        now: The time, which a new token's expiry must be after. A token that is there may be changed when it
            has expired, and may be made to.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    if not _named(spec.name):
        raise _invalid("name", f"A token's name has 1 to {_LONGEST_NAME} printable characters.")
    if spec.expires_at is not None:
        if now is not None and spec.expires_at <= now:
            raise _invalid("expire_time", "The expiry is in the past.")
        if spec.not_before is not None and spec.expires_at <= spec.not_before:
            raise _invalid("expire_time", "The expiry comes before the token begins to work.")
    return replace(spec, grants=_grants(spec.grants, owner), restrictions=_restrictions(spec.restrictions))


def _grants(given: tuple[Grant, ...], owner: Owner) -> tuple[Grant, ...]:
    found: dict[str, set[Permission]] = {}
    for grant in given:
        if not ACCOUNT_ID.fullmatch(grant.account_id):
            raise _invalid("grants", "A grant names no account.")
        if owner.account_id and grant.account_id != owner.account_id:
            raise _invalid("grants", "An account's token is for its own account only.")
        found.setdefault(grant.account_id, set()).update(grant.permissions)
    if not found and owner.account_id:
        found = {owner.account_id: set()}
    if not found:
        raise _invalid("grants", "A user's token says for which accounts it is.")
    if len(found) > _MOST_GRANTS:
        raise _invalid("grants", f"A token is for at most {_MOST_GRANTS} accounts.")
    # Saying nothing on an account asks for the least that is of use.
    least = {Permission.AI_GATEWAY_RUN}
    return tuple(
        Grant(
            account_id=account_id, permissions=tuple(each for each in Permission if each in (wanted or least))
        )
        for account_id, wanted in found.items()
    )


def _restrictions(given: Restrictions) -> Restrictions:
    return Restrictions(
        gateway_ids=_names("gateway_ids", given.gateway_ids, _GATEWAY),
        providers=_names("providers", given.providers, _SLUG),
        models=_names("models", given.models, _MODEL),
        addresses=_networks("addresses", given.addresses),
        forbidden_addresses=_networks("forbidden_addresses", given.forbidden_addresses),
    )


def _names(field: str, names: Iterable[str], pattern: re.Pattern[str]) -> tuple[str, ...]:
    unique = _few(field, names)
    for each in unique:
        if len(each) > _LONGEST_ENTRY or not pattern.fullmatch(each):
            raise _invalid(f"restrictions.{field}", "One of these is not well-formed.")
    return unique


def _networks(field: str, texts: Iterable[str]) -> tuple[str, ...]:
    """Return networks as they were written; `10.1.2.3/8` stands for the network that it lies in."""
    unique = _few(field, texts)
    for each in unique:
        try:
            # A zone belongs to one machine, and never is in the address that a request comes from.
            if "%" in each or len(each) > _LONGEST_ENTRY:
                raise ValueError  # noqa: TRY301 - refused alike
            if _is_mapped(ip_network(each, strict=False)):
                raise ValueError  # noqa: TRY301 - refused alike
        except ValueError:
            shown = each[:64]
            raise _invalid(
                f"restrictions.{field}", f"{shown!r} is not an IP address, nor a network such as 10.0.0.0/8."
            ) from None
    return unique


def _is_mapped(network: IPv4Network | IPv6Network) -> bool:
    """Say whether this is IPv4 written as IPv6, which no address of a request would ever match."""
    return isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None


def _few(field: str, names: Iterable[str]) -> tuple[str, ...]:
    unique = tuple(dict.fromkeys(names))
    if len(unique) > _MOST_NAMES:
        raise _invalid(f"restrictions.{field}", f"A token is narrowed to at most {_MOST_NAMES} of these.")
    return unique


def _named(text: str) -> bool:
    return 1 <= len(text) <= _LONGEST_NAME and bool(text.strip()) and text.isprintable()


def _invalid(param: str, message: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, message, param=param)
