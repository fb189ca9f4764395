"""
Accounts and tokens as the audit log keeps them: JSON in the shape of the management API, without secrets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.auth.core.token import Permission

if TYPE_CHECKING:
    from datetime import datetime

    from services.auth.core.account import Account
    from services.auth.core.token import Grant, Token

__all__ = ["shown_account", "shown_token"]

_GROUPS = {
    Permission.AI_GATEWAY_RUN: "AI Gateway Run",
    Permission.AI_GATEWAY_READ: "AI Gateway Read",
    Permission.AI_GATEWAY_EDIT: "AI Gateway Write",
    Permission.WORKERS_AI_READ: "Workers AI Read",
    Permission.OPERATOR: "Headrace Operator",
}
_RESOURCE = "com.cloudflare.api.account."


def shown_account(account: Account) -> dict[str, Any]:
    """Return an account as JSON."""
    return {
        "id": account.id,
        "name": account.spec.name or account.id,
        "created_on": _iso(account.created_at),
        "unified": account.spec.unified,
    }


def shown_token(token: Token, account_id: str) -> dict[str, Any]:
    """
    Return a token as JSON, as far as it concerns one account: what it does elsewhere is none of that one's.

    Args:
        token: The token.
        account_id: Whose log it is for.
    """
    spec, narrowed = token.spec, token.spec.restrictions
    return {
        "id": token.id,
        "name": spec.name,
        "user_id": token.owner.user_id,
        "status": "disabled" if spec.disabled or token.revoked_at is not None else "active",
        "issued_on": _iso(token.created_at),
        "modified_on": _iso(token.updated_at),
        "not_before": _iso(spec.not_before),
        "expires_on": _iso(spec.expires_at),
        "revoked_on": _iso(token.revoked_at),
        "policies": [_policy(grant) for grant in spec.grants if grant.account_id == account_id],
        "restrictions": {
            "gateways": list(narrowed.gateway_ids),
            "providers": list(narrowed.providers),
            "models": list(narrowed.models),
        },
        "condition": {
            "request_ip": {"in": list(narrowed.addresses), "not_in": list(narrowed.forbidden_addresses)}
        },
    }


def _policy(grant: Grant) -> dict[str, Any]:
    return {
        "effect": "allow",
        "permission_groups": [{"name": _GROUPS[permission]} for permission in grant.permissions],
        "resources": {f"{_RESOURCE}{grant.account_id}": "*"},
    }


def _iso(when: datetime | None) -> str | None:
    return None if when is None else f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z"
