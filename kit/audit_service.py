"""
Serves a service's audit trail over gRPC, and reads who asks for a change from a message.

Every service that keeps configuration binds an `AuditServicer` to its own database.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from google.protobuf.timestamp_pb2 import Timestamp

from headrace.audit.v1 import audit_service_pb2, audit_service_pb2_grpc
from headrace.common.v1 import actor_pb2
from kit.audit import TEXT_MAX, Actor, AuditQuery
from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    import grpc.aio

    from kit.audit import AuditEntry, AuditTrail
    from kit.database import Database

__all__ = ["AUDIT_CALLERS", "AuditServicer", "actor_of"]

AUDIT_CALLERS: Final = frozenset({"cli", "edge"})
"""Who may read the audit log."""

_PAGE_SIZE: Final = 100
_PAGE_SIZE_MAX: Final = 1000
_ID_MAX: Final = 64


def actor_of(message: actor_pb2.Actor) -> Actor:
    """
    Return who asks, from a message.

    What is longer than an entry can hold is cut off, and characters that no line of text has are left out: a
    client says what its user agent is, and must not be able to make a change impossible by it.
    """
    return Actor(
        token_id=_clean(message.token_id, 64),
        token_name=_clean(message.token_name, TEXT_MAX),
        user_id=_clean(message.user_id, 64),
        address=_clean(message.address, 64),
        interface=_clean(message.interface, 16),
        user_agent=_clean(message.user_agent, TEXT_MAX),
    )


class AuditServicer(audit_service_pb2_grpc.AuditServiceServicer):
    """
    Lists entries of one service.

    Args:
        database: Holds them.
        trail: Their table.
    """

    def __init__(self, *, database: Database, trail: AuditTrail) -> None:
        self._database = database
        self._trail = trail

    async def ListAuditEntries(
        self,
        request: audit_service_pb2.ListAuditEntriesRequest,
        context: grpc.aio.ServicerContext[  # noqa: ARG002 - gRPC gives it
            audit_service_pb2.ListAuditEntriesRequest, audit_service_pb2.ListAuditEntriesResponse
        ],
    ) -> audit_service_pb2.ListAuditEntriesResponse:
        """List entries of an account, newest first."""
        query = _query(request)
        async with self._database.read() as connection:
            entries = await self._trail.page(connection, query)
            total = await self._trail.count(connection, query)
        return audit_service_pb2.ListAuditEntriesResponse(
            entries=[_encode(entry) for entry in entries], total_count=total
        )


def _query(request: audit_service_pb2.ListAuditEntriesRequest) -> AuditQuery:
    if not request.account_id:
        raise _invalid("account_id", "An account is needed.")
    if not 0 <= request.page_size <= _PAGE_SIZE_MAX:
        raise _invalid("page_size", f"A page has 1 to {_PAGE_SIZE_MAX} entries.")
    for name in ("account_id", "before_id", "action", "resource_type", "token_id"):
        _check_text(name, getattr(request, name), _ID_MAX)
    _check_text("resource_id", request.resource_id, TEXT_MAX)
    return AuditQuery(
        account_id=request.account_id,
        size=request.page_size or _PAGE_SIZE,
        before_id=request.before_id,
        start=_moment(request, "start_time"),
        end=_moment(request, "end_time"),
        action=request.action,
        resource_type=request.resource_type,
        resource_id=request.resource_id,
        token_id=request.token_id,
    )


def _check_text(name: str, value: str, longest: int) -> None:
    if len(value) > longest or not (value == "" or value.isprintable()):
        raise _invalid(name, f"At most {longest} printable characters are possible.")


def _moment(request: audit_service_pb2.ListAuditEntriesRequest, name: str) -> datetime | None:
    if not request.HasField(name):  # type: ignore[arg-type]  # a name of a field, out of two
        return None
    try:
        return getattr(request, name).ToDatetime(tzinfo=UTC)  # type: ignore[no-any-return]
    except (ValueError, OverflowError):
        raise _invalid(name, "This is not a point in time.") from None


def _invalid(param: str, message: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, message, param=param)


def _clean(text: str, longest: int) -> str:
    return "".join(each for each in text if each.isprintable())[:longest]


def _encode(entry: AuditEntry) -> audit_service_pb2.AuditEntry:
    created = Timestamp()
    created.FromDatetime(entry.created_at)
    actor = entry.actor
    return audit_service_pb2.AuditEntry(
        id=entry.id,
        account_id=entry.account_id,
        create_time=created,
        actor=actor_pb2.Actor(
            token_id=actor.token_id,
            token_name=actor.token_name,
            user_id=actor.user_id,
            address=actor.address,
            interface=actor.interface,
            user_agent=actor.user_agent,
        ),
        action=entry.action,
        resource_type=entry.resource_type,
        resource_id=entry.resource_id,
        gateway_id=entry.gateway_id,
        old_json=entry.old_json,
        new_json=entry.new_json,
    )
