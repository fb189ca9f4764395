"""
Accounts between messages and the management API's JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.edge.wire.moment import iso

if TYPE_CHECKING:
    from headrace.auth.v1 import account_pb2

__all__ = ["shown"]


def shown(account: account_pb2.Account) -> dict[str, Any]:
    """Give an account as JSON."""
    deleted = {"deleted_at": iso(account.delete_time)} if account.HasField("delete_time") else {}
    return {
        "id": account.id,
        "name": account.spec.name or account.id,
        "type": "standard",
        "created_on": iso(account.create_time),
        "unified": account.spec.unified,
        "reference_kinds": list(account.reference_kinds),
        **deleted,
    }
