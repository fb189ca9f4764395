"""
What a caller has, and what of it they may pass on: nobody makes a token that can do more than theirs.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from headrace.auth.v1 import token_pb2
from kit.errors import GatewayError, Reason
from kit.providers import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from google.protobuf.timestamp_pb2 import Timestamp

    from headrace.auth.v1 import auth_service_pb2
    from headrace.auth.v1.token_pb2 import Grant, Permission, Restrictions, Token, TokenSpec
    from services.edge.management.peers import Peers

__all__ = ["Powers", "lacks", "own_token", "powers_of"]

_READ: Final = token_pb2.PERMISSION_AI_GATEWAY_READ
_OPERATOR: Final = token_pb2.PERMISSION_OPERATOR
_EDIT: Final = token_pb2.PERMISSION_AI_GATEWAY_EDIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Powers:
    """
    What a caller's token can do.

    Attributes:
        permissions: What it allows, by account.
        restrictions: What it is narrowed to.
        expire_time: When it stops working; None for never, or where that does not count.
        operator: Whether it allows everything everywhere.
    """

    permissions: Mapping[str, frozenset[Permission.ValueType]]
    restrictions: Restrictions
    expire_time: Timestamp | None = None
    operator: bool = False

    @property
    def narrowed(self) -> bool:
        """Whether the caller is shown only some of the tokens that there are."""
        return bool(self.restrictions.gateway_ids or self.restrictions.providers or self.restrictions.models)

    def may(self, permission: Permission.ValueType, account_id: str) -> bool:
        """Say whether something is allowed on an account."""
        return self.operator or permission in self.permissions.get(account_id, ())

    def sees(self, token: Token) -> bool:
        """Say whether a token is one that the caller is shown: it lies within what theirs is narrowed to."""
        return not self._wider_names(token.restrictions) and all(
            self.may(_READ, grant.account_id) or self.may(_EDIT, grant.account_id) for grant in token.grants
        )

    def check_may(self, permission: Permission.ValueType, grants: Iterable[Grant]) -> None:
        """
        Check that something is allowed on every account of some grants.

        Raises:
            GatewayError: PERMISSION_DENIED.
        """
        for grant in grants:
            if not self.may(permission, grant.account_id):
                raise lacks(permission, f" on the account {grant.account_id!r}")

    def check_covers(self, wanted: Token | TokenSpec, *, expiry: bool = True) -> None:
        """
        Check that a token, there already or to be made, can do no more than the caller's.

        Args:
            wanted: The token.
            expiry: Whether it matters that it stops working no later.

        Raises:
            GatewayError: PERMISSION_DENIED; says in which way it can do more.
        """
        more = (
            self._more_permissions(wanted.grants)
            or self._wider_names(wanted.restrictions)
            or self._wider_networks(wanted.restrictions)
        )
        if expiry and not more and self.expire_time is not None and not self._ends_first(wanted):
            more = ("expires_on", "it works for longer")
        if more:
            param, what = more
            # Of a token that is there already, nothing in the request is wrong.
            where = {"param": f"body.{param}"} if isinstance(wanted, token_pb2.TokenSpec) else {}
            raise GatewayError(
                Reason.PERMISSION_DENIED,
                f"Your token cannot do this for a token that can do more: {what}.",
                retry_after_s=None,
                **where,
            )

    def _more_permissions(self, grants: Iterable[Grant]) -> tuple[str, str] | None:
        for grant in grants:
            for permission in grant.permissions:
                if not self.may(permission, grant.account_id):
                    name = _name(permission)
                    return "policies", f"it has the permission {name} on the account {grant.account_id!r}"
        return None

    def _wider_names(self, wanted: Restrictions) -> tuple[str, str] | None:
        own = self.restrictions
        for shown, mine, names in (
            ("gateways", set(own.gateway_ids), set(wanted.gateway_ids)),
            ("providers", _canonical(own.providers), _canonical(wanted.providers)),
            ("models", _canonical(own.models), _canonical(wanted.models)),
        ):
            if mine and not (names and mine.issuperset(names)):
                return f"restrictions.{shown}", f"it is not narrowed to the {shown} that yours is narrowed to"
        return None

    def _wider_networks(self, wanted: Restrictions) -> tuple[str, str] | None:
        own, wants = _networks(self.restrictions.addresses), _networks(wanted.addresses)
        if own and not (wants and all(_lies_in(each, own) for each in wants)):
            return "condition.request_ip.in", "it can be used from more addresses"
        forbidden = _networks(wanted.forbidden_addresses)
        if not all(_lies_in(each, forbidden) for each in _networks(self.restrictions.forbidden_addresses)):
            return "condition.request_ip.not_in", "it can be used from addresses that yours cannot"
        return None

    def _ends_first(self, wanted: Token | TokenSpec) -> bool:
        assert self.expire_time is not None
        end, own = wanted.expire_time, self.expire_time
        return wanted.HasField("expire_time") and (end.seconds, end.nanos) <= (own.seconds, own.nanos)


async def powers_of(peers: Peers, principal: auth_service_pb2.Principal) -> Powers:
    """
    Find out what a caller has.

    Raises:
        GatewayError: UNAUTHENTICATED; the token was revoked in this moment.
    """
    own = await own_token(peers, principal)
    if own is None:
        grants = {principal.account_id: frozenset(principal.permissions)}
    else:
        grants = {grant.account_id: frozenset(grant.permissions) for grant in own.grants}
    operator = any(_OPERATOR in given for given in grants.values())
    if (own is None and not operator) or (own is not None and (own.disabled or own.HasField("revoke_time"))):
        raise GatewayError(Reason.UNAUTHENTICATED, "Authentication error")
    return Powers(
        permissions=grants,
        restrictions=principal.restrictions if own is None else own.restrictions,
        # An operator's token may end when it likes: it could make itself an account, and what follows.
        expire_time=None if operator or own is None or not own.HasField("expire_time") else own.expire_time,
        operator=operator,
    )


async def own_token(peers: Peers, principal: auth_service_pb2.Principal) -> Token | None:
    """Give a caller's own token; None for an operator's that another account owns."""
    owner = (
        token_pb2.TokenOwner(user_id=principal.user_id)
        if principal.user_id
        else token_pb2.TokenOwner(account_id=principal.account_id)
    )
    request = token_pb2.GetTokenRequest(owner=owner, token_id=principal.token_id)
    try:
        return (await peers.tokens.GetToken(request, timeout=peers.timeout_s)).token
    except GatewayError as error:
        if error.reason is Reason.NOT_FOUND:
            return None
        raise


def lacks(permission: Permission.ValueType, where: str = "") -> GatewayError:
    """Give the error for a token without a permission."""
    name = _name(permission)
    return GatewayError(
        Reason.PERMISSION_DENIED, f"This token lacks the permission {name}{where}.", permission=name
    )


def _name(permission: Permission.ValueType) -> str:
    return token_pb2.Permission.Name(permission).removeprefix("PERMISSION_").lower()


def _canonical(names: Iterable[str]) -> set[str]:
    """Give names of providers, or of models, with the provider by its one name."""
    parts = (name.partition("/") for name in names)
    return {f"{canonical(provider)}{slash}{model}" for provider, slash, model in parts}


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(texts: Iterable[str]) -> list[_Network]:
    try:
        return [ipaddress.ip_network(text, strict=False) for text in texts]
    except ValueError:
        raise GatewayError(
            Reason.INVALID_REQUEST,
            "Networks are written as addresses or in CIDR notation.",
            param="body.condition.request_ip",
        ) from None


def _lies_in(network: _Network, others: Iterable[_Network]) -> bool:
    return any(
        network.version == other.version and network.subnet_of(other)  # type: ignore[arg-type]  # of one kind
        for other in others
    )
