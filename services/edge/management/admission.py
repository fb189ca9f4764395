"""
Who calls the management API, and whether they may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.auth.v1 import token_pb2
from headrace.common.v1 import actor_pb2
from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.auth.v1 import auth_service_pb2
    from services.edge.headers import RequestHeaders
    from services.edge.management.operation import Operation
    from services.edge.pipeline.access import Access

__all__ = ["Admission", "actor", "check", "presented"]

_INTERFACE = "api"
_CHANGING = (token_pb2.PERMISSION_AI_GATEWAY_EDIT, token_pb2.PERMISSION_OPERATOR)
_USER_AGENT_CHARACTERS = 256


class Admission:
    """
    Admits requests of the management API.

    Args:
        access: Knows tokens.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    async def authenticate(self, account_id: str, headers: RequestHeaders) -> auth_service_pb2.Principal:
        """
        Find out who calls. Comes before everything else, so that nobody learns what there is without a token.

        Raises:
            GatewayError: UNAUTHENTICATED, PERMISSION_DENIED, or auth is away.
        """
        token = presented(headers)
        if not token:
            raise GatewayError(Reason.UNAUTHENTICATED, "Authentication error")
        try:
            principal = await self._access.authenticate(account_id, token)
        except GatewayError as error:
            if error.reason is Reason.UNAUTHENTICATED:
                raise GatewayError(Reason.UNAUTHENTICATED, "Authentication error") from error
            raise
        self._access.check_address(principal, headers.client_address)
        return principal


def check(principal: auth_service_pb2.Principal, operation: Operation, path: Mapping[str, str]) -> None:
    """
    Check that a token allows an operation.

    Raises:
        GatewayError: PERMISSION_DENIED.
    """
    wanted = operation.permission
    if wanted is not None and wanted not in principal.permissions:
        name = token_pb2.Permission.Name(wanted).removeprefix("PERMISSION_").lower()
        raise GatewayError(
            Reason.PERMISSION_DENIED, f"This token lacks the permission {name}.", permission=name
        )
    narrowed = principal.restrictions
    if wanted in _CHANGING and (narrowed.providers or narrowed.models) and not operation.keeps_to_providers:
        # What a gateway does, it does with every provider.
        raise GatewayError(
            Reason.PERMISSION_DENIED,
            "This token is for some providers or models only, and this concerns others as well.",
        )
    named = narrowed.gateway_ids
    if not named:
        return
    gateway_id = path.get("gateway_id")
    if gateway_id is None and operation.permission is not None and not operation.for_narrowed:
        raise GatewayError(
            Reason.PERMISSION_DENIED, "This token is for some gateways only, not for the whole account."
        )
    if gateway_id is not None and gateway_id not in named:
        raise GatewayError(
            Reason.PERMISSION_DENIED,
            f"This token may not use the gateway {gateway_id!r}.",
            resource="gateway",
            id=gateway_id,
        )


def actor(principal: auth_service_pb2.Principal, headers: RequestHeaders) -> actor_pb2.Actor:
    """Say for the audit log who calls."""
    return actor_pb2.Actor(
        token_id=principal.token_id,
        token_name=principal.token_name,
        user_id=principal.user_id,
        address=headers.client_address,
        interface=_INTERFACE,
        user_agent=headers.user_agent[:_USER_AGENT_CHARACTERS],
    )


def presented(headers: RequestHeaders) -> str:
    """Give the token that a request presents, wherever it stands."""
    found = headers.gateway_token or headers.own_token
    if found:
        return found
    for name, value in headers.forwarded:
        if name == "authorization":
            return value.decode("utf-8", "replace").removeprefix("Bearer ").strip()
    return ""
