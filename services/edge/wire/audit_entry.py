"""
Entries of the audit log as the management API's JSON.

Source of the member names: the public product's audit log, version 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from services.edge.wire.moment import iso

if TYPE_CHECKING:
    from headrace.audit.v1 import audit_service_pb2

__all__ = ["shown"]


def shown(entry: audit_service_pb2.AuditEntry) -> dict[str, Any]:
    """Give an entry as JSON."""
    actor = entry.actor
    further = {
        "gateway_id": entry.gateway_id,
        "token_id": actor.token_id,
        "token_name": actor.token_name,
        "user_agent": actor.user_agent,
    }
    return {
        "id": entry.id,
        "action": {"type": entry.action, "result": True},
        "actor": {
            "id": actor.user_id or actor.token_id or None,
            "email": actor.user_id if "@" in actor.user_id else None,
            "ip": actor.address or None,
            "type": "user" if actor.token_id else "admin",
        },
        "interface": actor.interface.upper(),
        "metadata": {name: value for name, value in further.items() if value},
        "newValue": entry.new_json,
        "newValueJson": _document(entry.new_json),
        "oldValue": entry.old_json,
        "oldValueJson": _document(entry.old_json),
        "owner": {"id": entry.account_id},
        "resource": {"id": entry.resource_id, "type": entry.resource_type},
        "when": iso(entry.create_time),
    }


def _document(text: str) -> Any:
    return orjson.loads(text) if text else None
