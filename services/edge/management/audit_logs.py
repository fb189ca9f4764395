"""
The audit log on the management API: who changed what.

Each service that keeps configuration keeps the log of its own changes; here they are one, in order of time.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from headrace.audit.v1 import audit_service_pb2 as pb
from headrace.auth.v1 import token_pb2
from kit.errors import GatewayError, Reason
from services.edge.management.models.audit import AuditLog, AuditQuery
from services.edge.management.models.forms import Listed
from services.edge.management.operation import Operation
from services.edge.wire import audit_entry as wire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from datetime import datetime

    from headrace.audit.v1.audit_service_pb2_grpc import AuditServiceAsyncStub
    from services.edge.management.operation import Call
    from services.edge.management.peers import Peers

__all__ = ["AuditLogs"]

_READ: Final = token_pb2.PERMISSION_AI_GATEWAY_READ
# Entries that one answer may look at: a page is counted from one end, and some filters are applied here.
_MOST: Final = 100_000
_PAGE: Final = 1000


class AuditLogs:
    """
    Lists changes.

    Args:
        peers: The services behind.
        most: How many entries one answer may look at.
    """

    def __init__(self, peers: Peers, *, most: int = _MOST) -> None:
        self._peers = peers
        self._most = most

    def operations(self) -> tuple[Operation, ...]:
        """Give the rows."""
        return (
            Operation(
                id="audit-logs-get-account-audit-logs", method="GET",
                path="/accounts/{account_id}/audit_logs", tag="Audit log",
                summary="List who changed what of an account's configuration.", permission=_READ,
                handler=self._list, query=AuditQuery, result=list[AuditLog], shape="list",
            ),
        )  # fmt: skip

    async def _list(self, call: Call) -> Listed[Any]:
        query: AuditQuery = call.query
        wanted = _request(call.account_id, query)
        matches = _matcher(query)
        if query.id or matches is not None:
            found = self._one(wanted, query.id) if query.id else self._newest_first(wanted)
            there = [entry async for entry in found if matches is None or matches(entry)]
            in_order = there if query.direction == "desc" else there[::-1]
            page = in_order[query.offset : query.offset + query.per_page]
            return Listed(items=[wire.shown(each) for each in page], total=len(there))
        total = sum([await self._count(stub, wanted) for stub in self._peers.audits])
        start, end = query.offset, min(total, query.offset + query.per_page)
        if query.direction == "asc":
            start, end = max(0, total - end), total - start
        slice_ = [] if start >= end else await self._slice(wanted, start, end)
        if query.direction == "asc":
            slice_.reverse()
        return Listed(items=[wire.shown(each) for each in slice_], total=total)

    async def _slice(self, wanted: pb.ListAuditEntriesRequest, start: int, end: int) -> list[pb.AuditEntry]:
        found, at = [], 0
        async with aclosing(self._newest_first(wanted, page_size=min(_PAGE, end))) as entries:
            async for entry in entries:
                if at >= start:
                    found.append(entry)
                at += 1
                if at == end:
                    break
        return found

    async def _newest_first(
        self, wanted: pb.ListAuditEntriesRequest, *, page_size: int = _PAGE
    ) -> AsyncGenerator[pb.AuditEntry, None]:
        """
        Give what all services have, newest first.

        Raises:
            GatewayError: INVALID_REQUEST; that would be more entries than an answer may look at.
        """
        logs = [_Log(stub, wanted, page_size, self._peers.timeout_s) for stub in self._peers.audits]
        for _ in range(self._most):
            for log in logs:
                await log.fill()
            there = [log for log in logs if log.entries]
            if not there:
                return
            yield max(there, key=lambda log: log.entries[0].id).entries.popleft()
        raise GatewayError(
            Reason.INVALID_REQUEST,
            f"More than {self._most} entries would have to be looked at; narrow since and before.",
            param="query.since",
        )

    async def _count(self, stub: AuditServiceAsyncStub, wanted: pb.ListAuditEntriesRequest) -> int:
        request = pb.ListAuditEntriesRequest()
        request.CopyFrom(wanted)
        request.page_size = 1
        answer = await stub.ListAuditEntries(request, timeout=self._peers.timeout_s)
        return answer.total_count

    async def _one(
        self, wanted: pb.ListAuditEntriesRequest, text: str
    ) -> AsyncGenerator[pb.AuditEntry, None]:
        """Give the entry of an id: the first of those before the id that follows it."""
        try:
            number = uuid.UUID(text).int
        except ValueError:
            return
        request = pb.ListAuditEntriesRequest()
        request.CopyFrom(wanted)
        request.page_size = 1
        request.before_id = str(uuid.UUID(int=min(number + 1, 2**128 - 1)))
        for stub in self._peers.audits:
            answer = await stub.ListAuditEntries(request, timeout=self._peers.timeout_s)
            for entry in answer.entries:
                if entry.id == str(uuid.UUID(int=number)):
                    yield entry


class _Log:
    """
    The log of one service, read page by page.

    Attributes:
        entries: What was read and is not taken yet, newest first.
    """

    def __init__(
        self,
        stub: AuditServiceAsyncStub,
        wanted: pb.ListAuditEntriesRequest,
        page_size: int,
        timeout_s: float,
    ) -> None:
        self.entries: deque[pb.AuditEntry] = deque()
        self._stub = stub
        self._timeout_s = timeout_s
        self._request = pb.ListAuditEntriesRequest()
        self._request.CopyFrom(wanted)
        self._request.page_size = page_size
        self._more = True

    async def fill(self) -> None:
        """Read the next page where none is left of the last and there is one."""
        if self.entries or not self._more:
            return
        answer = await self._stub.ListAuditEntries(self._request, timeout=self._timeout_s)
        self.entries.extend(answer.entries)
        self._more = len(answer.entries) == self._request.page_size
        if self._more:
            self._request.before_id = answer.entries[-1].id


def _request(account_id: str, query: AuditQuery) -> pb.ListAuditEntriesRequest:
    request = pb.ListAuditEntriesRequest(
        account_id=account_id,
        action=query.action_type,
        resource_type=query.resource_type,
        resource_id=query.resource_id,
    )
    if query.since is not None:
        request.start_time.CopyFrom(_stamp(query.since))
    if query.before is not None:
        request.end_time.CopyFrom(_stamp(query.before))
    return request


def _matcher(query: AuditQuery) -> Callable[[pb.AuditEntry], bool] | None:
    """Give what decides about entries by what services do not filter by; None where nothing is asked."""
    tests: list[Callable[[pb.AuditEntry], bool]] = []
    if query.actor_email:
        tests.append(lambda entry: entry.actor.user_id == query.actor_email)
    if query.actor_id:
        tests.append(lambda entry: query.actor_id in (entry.actor.user_id, entry.actor.token_id))
    if query.actor_ip:
        try:
            network = ipaddress.ip_network(query.actor_ip, strict=False)
        except ValueError:
            raise GatewayError(
                Reason.INVALID_REQUEST, "Input should be an address or a network.", param="query.actor.ip"
            ) from None
        tests.append(lambda entry: _lies_in(entry.actor.address, network))
    return (lambda entry: all(test(entry) for test in tests)) if tests else None


def _lies_in(address: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(address) in network
    except ValueError:
        return False


def _stamp(when: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(when)
    return stamp
