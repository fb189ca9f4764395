"""
Tokens between messages and the management API's JSON.

Source of the member names: the public product's token object.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from headrace.auth.v1 import token_pb2 as pb
from kit.errors import GatewayError, Reason
from services.edge.wire import permission_group
from services.edge.wire.moment import iso, iso_or_none

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

__all__ = ["in_the_words_of_the_body", "shown", "spec", "status", "verified"]

_PREFIX: Final = f"{permission_group.SCOPE}."
# Where in a body stands what the service calls otherwise.
_MEMBERS: Final = {
    "name": "name",
    "grants": "policies",
    "not_before_time": "not_before",
    "expire_time": "expires_on",
    "restrictions.gateway_ids": "restrictions.gateways",
    "restrictions.providers": "restrictions.providers",
    "restrictions.models": "restrictions.models",
    "restrictions.addresses": "condition.request_ip.in",
    "restrictions.forbidden_addresses": "condition.request_ip.not_in",
}


def spec(body: Any, *, account_id: str = "", kept: pb.Token | None = None) -> pb.TokenSpec:
    """
    Write what a token is to be from the body of a request, a `TokenBody`.

    Args:
        body: The body.
        account_id: Account that owns the token; empty for a user's.
        kept: The token as it was, whose own members stay where the body leaves them out.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    disabled = kept is not None and kept.disabled
    message = pb.TokenSpec(
        name=body.name,
        grants=_grants(body.policies, account_id),
        restrictions=_restrictions(body, kept),
        disabled=disabled if body.status is None else body.status == "disabled",
    )
    if body.not_before is not None:
        message.not_before_time.CopyFrom(_stamp(body.not_before))
    if body.expires_on is not None:
        message.expire_time.CopyFrom(_stamp(body.expires_on))
    return message


def shown(token: pb.Token, now: datetime) -> dict[str, Any]:
    """Give a token as JSON."""
    narrowed = token.restrictions
    given: dict[str, Any] = {
        "id": token.id,
        "name": token.name,
        "status": status(token, now),
        "issued_on": iso(token.create_time),
        "modified_on": iso(token.update_time),
        "last_used_on": iso_or_none(token.last_use_time),
        "not_before": iso_or_none(token.not_before_time),
        "expires_on": iso_or_none(token.expire_time),
        "policies": [_policy(token.id, grant) for grant in token.grants],
        "restrictions": {
            "gateways": list(narrowed.gateway_ids),
            "providers": list(narrowed.providers),
            "models": list(narrowed.models),
        },
    }
    addresses = {"in": list(narrowed.addresses), "not_in": list(narrowed.forbidden_addresses)}
    if any(addresses.values()):
        given["condition"] = {"request_ip": {name: found for name, found in addresses.items() if found}}
    return given


def verified(token_id: str, token: pb.Token | None) -> dict[str, Any]:
    """
    Give what a token that works is told about itself.

    Args:
        token_id: Its id.
        token: More about it, where it is known.
    """
    given = {"id": token_id, "status": "active"}
    if token is not None:
        times = {"not_before": token.not_before_time, "expires_on": token.expire_time}
        given |= {name: text for name, stamp in times.items() if (text := iso_or_none(stamp))}
    return given


def status(token: pb.Token, now: datetime) -> str:
    """Say in one word whether a token works."""
    if token.disabled or token.HasField("revoke_time"):
        return "disabled"
    expired = token.HasField("expire_time") and _is_over(token.expire_time, now)
    return "expired" if expired else "active"


def in_the_words_of_the_body(error: GatewayError) -> GatewayError:
    """Give an error of the service with the path to what is wrong as the client wrote it."""
    member = _MEMBERS.get(error.metadata.get("param", ""))
    if member is None:
        return error
    metadata = {**error.metadata, "param": f"body.{member}"}
    return GatewayError(error.reason, error.message, retry_after_s=error.retry_after_s, **metadata)


def _grants(policies: Sequence[Any], account_id: str) -> list[pb.Grant]:
    """Merge policies, each of which allows some things on some accounts, into what is allowed on each."""
    found: dict[str, set[pb.Permission.ValueType]] = {}
    for at, policy in enumerate(policies):
        where = f"body.policies.{at}"
        permissions = {
            _permission(group, f"{where}.permission_groups.{number}")
            for number, group in enumerate(policy.permission_groups)
        }
        for resource in policy.resources:
            account = resource.removeprefix(_PREFIX)
            if account_id and account != account_id:
                raise _invalid(
                    f"{where}.resources", f"An account's token is for its own account only, {account_id!r}."
                )
            found.setdefault(account, set()).update(permissions)
    return [pb.Grant(account_id=account, permissions=sorted(given)) for account, given in found.items()]


def _permission(named: Any, where: str) -> pb.Permission.ValueType:
    group = permission_group.find(group_id=named.id, name=named.name)
    if group is None:
        raise _invalid(where, "There is no such permission group; `…/tokens/permission_groups` lists them.")
    return group.permission


def _restrictions(body: Any, kept: pb.Token | None) -> pb.Restrictions:
    message = pb.Restrictions()
    chosen = body.restrictions
    if "restrictions" not in body.model_fields_set and kept is not None:
        message.gateway_ids.extend(kept.restrictions.gateway_ids)
        message.providers.extend(kept.restrictions.providers)
        message.models.extend(kept.restrictions.models)
    elif chosen is not None:
        message.gateway_ids.extend(chosen.gateways)
        message.providers.extend(chosen.providers)
        message.models.extend(chosen.models)
    request_ip = body.condition.request_ip if body.condition is not None else None
    if request_ip is not None:
        message.addresses.extend(request_ip.in_)
        message.forbidden_addresses.extend(request_ip.not_in)
    return message


def _policy(token_id: str, grant: pb.Grant) -> dict[str, Any]:
    groups = [found for each in grant.permissions if (found := permission_group.by_permission(each))]
    return {
        # The same each time that it is shown, as clients compare what they see with what they know.
        "id": hashlib.sha256(f"{token_id} {grant.account_id}".encode()).hexdigest()[:32],
        "effect": "allow",
        "permission_groups": [
            {"id": group.id, "name": group.name, "meta": {"label": group.label}} for group in groups
        ],
        "resources": {f"{_PREFIX}{grant.account_id}": "*"},
    }


def _stamp(when: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(when)
    return stamp


def _is_over(stamp: Timestamp, now: datetime) -> bool:
    return (stamp.seconds, stamp.nanos) <= (int(now.timestamp()), now.microsecond * 1000)


def _invalid(param: str, message: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, message, param=param)
