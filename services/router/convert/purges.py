"""Purges of kept answers, which router only writes down, as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kit.account import check_account_id
from kit.audit import Change
from services.router.convert.fields import invalid
from services.router.core.audit_view import purge_view
from services.router.core.gateway import is_gateway_id

if TYPE_CHECKING:
    from headrace.router.v1 import gateway_service_pb2

__all__ = ["purge"]

_LONGEST_PROVIDER: Final = 64
_DIGEST_BYTES: Final = 32


def purge(request: gateway_service_pb2.RecordPurgeRequest) -> Change:
    """
    Return what the audit log is to say.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    account_id = check_account_id(request.account_id)
    gateway_id, provider, digest = request.gateway_id, request.provider, request.key_digest
    if gateway_id and not is_gateway_id(gateway_id):
        raise invalid("gateway_id", "No gateway has such an id.")
    if len(provider) > _LONGEST_PROVIDER or not provider.isprintable():
        raise invalid("provider", f"A provider has at most {_LONGEST_PROVIDER} printable characters.")
    if digest and len(digest) != _DIGEST_BYTES:
        raise invalid("key_digest", f"A digest has {_DIGEST_BYTES} bytes.")
    if digest and not gateway_id:
        raise invalid("gateway_id", "A key is one of a gateway.")
    return Change(
        account_id=account_id,
        action="purge",
        resource_type="cache",
        resource_id=gateway_id or account_id,
        gateway_id=gateway_id,
        old=purge_view(gateway_id=gateway_id, provider=provider, key_digest=digest),
    )
