"""
Whose stored keys a token may change, and where those may be sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.auth.v1 import token_pb2
from kit.errors import GatewayError, Reason
from kit.providers import canonical, is_custom

if TYPE_CHECKING:
    from headrace.auth.v1 import auth_service_pb2

__all__ = ["check", "may_readdress"]


def check(principal: auth_service_pb2.Principal, provider: str, *, reference: str = "") -> None:
    """
    Check that a token may change a key of a provider.

    Args:
        principal: Whose token it is.
        provider: Slug, or another name of it.
        reference: Where the key is kept, when that is another store.

    Raises:
        GatewayError: PERMISSION_DENIED.
    """
    narrowed = principal.restrictions
    named = {canonical(each) for each in narrowed.providers}
    of_models = {canonical(each.partition("/")[0]) for each in narrowed.models}
    slug = canonical(provider)
    if (named and slug not in named) or (of_models and slug not in of_models):
        raise GatewayError(
            Reason.PERMISSION_DENIED,
            f"This token may not use the provider {provider[:64]!r}.",
            resource="provider",
            id=provider[:64],
        )
    if reference and is_custom(slug) and not _is_operator(principal):
        # Who chooses the address that a key is sent to can read it there, and in the other store there are
        # keys that nobody but the operator may read.
        raise GatewayError(
            Reason.PERMISSION_DENIED,
            "For a provider of the account's own, a key in another store can be named by an operator only.",
            resource="provider",
            id=provider[:64],
        )


def may_readdress(principal: auth_service_pb2.Principal, *, has_keys: bool) -> None:
    """
    Check that a token may send a provider's calls, and with them its stored keys, to another address.

    Raises:
        GatewayError: CONFLICT; there are stored keys, which would be told to whoever is there.
    """
    if has_keys and not _is_operator(principal):
        raise GatewayError(
            Reason.CONFLICT,
            "There are stored keys for this provider, which would be sent to the new address: "
            "delete them first, or let an operator change it.",
            resource="provider_config",
        )


def _is_operator(principal: auth_service_pb2.Principal) -> bool:
    return token_pb2.PERMISSION_OPERATOR in principal.permissions
