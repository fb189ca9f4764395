"""
The log on the management API: what happened, what people say of it, and its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
from google.protobuf.timestamp_pb2 import Timestamp

from headrace.auth.v1 import token_pb2
from headrace.ledger.v1 import ledger_service_pb2 as pb
from kit.errors import GatewayError, Reason
from services.edge.management.models.forms import Listed
from services.edge.management.models.log import ChangeLog, Log, LogDetail, LogQuery, LogsQuery
from services.edge.management.operation import Operation, RawAnswer
from services.edge.wire import log_entry as wire
from services.edge.wire.log_query import filters, flat_filters, info

if TYPE_CHECKING:
    from datetime import datetime

    from headrace.ledger.v1 import log_entry_pb2
    from services.edge.management.operation import Call
    from services.edge.management.peers import Peers

__all__ = ["Logs"]

_TAG: Final = "Logs"
_BASE: Final = "/accounts/{account_id}/ai-gateway/gateways/{gateway_id}/logs"
_ONE: Final = f"{_BASE}/{{id}}"
_READ: Final = token_pb2.PERMISSION_AI_GATEWAY_READ
_EDIT: Final = token_pb2.PERMISSION_AI_GATEWAY_EDIT


class Logs:
    """
    Reads and changes the log.

    Args:
        peers: The services behind.
    """

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def operations(self) -> tuple[Operation, ...]:
        """Give the rows."""
        return (
            Operation(
                id="aig-config-list-gateway-logs", method="GET", path=_BASE, tag=_TAG,
                summary="List log entries of a gateway.", permission=_READ, handler=self._list,
                query=LogQuery, result=list[Log], shape="list", failures=(404,),
            ),
            Operation(
                id="aig-config-delete-gateway-logs", method="DELETE", path=_BASE, tag=_TAG,
                summary="Delete log entries of a gateway.", permission=_EDIT, handler=self._delete,
                query=LogsQuery, failures=(404,),
            ),
            Operation(
                id="aig-config-get-gateway-log-detail", method="GET", path=_ONE, tag=_TAG,
                summary="Show a log entry.", permission=_READ, handler=self._get, result=LogDetail,
                failures=(404,),
            ),
            Operation(
                id="aig-config-patch-gateway-log", method="PATCH", path=_ONE, tag=_TAG,
                summary="Say something of a log entry.", permission=_EDIT, handler=self._change,
                body=ChangeLog, failures=(404,),
            ),
            Operation(
                id="aig-config-get-gateway-log-request", method="GET", path=f"{_ONE}/request", tag=_TAG,
                summary="Give the body that the client sent, as it was.", permission=_READ,
                handler=self._request, shape="raw", failures=(404,),
            ),
            Operation(
                id="aig-config-get-gateway-log-response", method="GET", path=f"{_ONE}/response", tag=_TAG,
                summary="Give the body that the client got, as it was.", permission=_READ,
                handler=self._response, shape="raw", failures=(404,),
            ),
        )  # fmt: skip

    async def _list(self, call: Call) -> Listed[Any]:
        query: LogQuery = call.query
        request = pb.ListRequest(
            account_id=call.account_id,
            gateway_id=call.gateway_id,
            page_size=query.per_page,
            offset=query.offset,
            start_time=_stamp(query.start_date),
            end_time=_stamp(query.end_date),
            after_id=query.after_id,
            # The order of recording has no name.
            order_by="" if query.after_id else query.order_by,
            ascending=query.ascending,
            search=query.search,
            filters=[*filters(query.filters), *flat_filters(query)],
            show_ranges=query.meta_info,
        )
        answer = await self._peers.ledger.List(request, timeout=self._peers.timeout_s)
        return Listed(
            items=[wire.summary(entry) for entry in answer.entries],
            total=answer.total_count,
            info=info(answer.ranges) if query.meta_info else {},
        )

    async def _delete(self, call: Call) -> dict[str, Any]:
        query: LogsQuery = call.query
        request = pb.DeleteEntriesRequest(
            account_id=call.account_id,
            gateway_id=call.gateway_id,
            filters=filters(query.filters),
            limit=query.limit,
            order_by=query.order_by,
            descending=query.order_by_direction == "desc",
        )
        await self._peers.ledger.DeleteEntries(request, timeout=self._peers.timeout_s)
        return {}

    async def _get(self, call: Call) -> dict[str, Any]:
        answer = await self._peers.ledger.Get(pb.GetRequest(**_one(call)), timeout=self._peers.timeout_s)
        try:
            payload = await self._payload(call)
        except GatewayError as error:
            if error.reason is not Reason.NOT_FOUND:
                raise
            payload = None
        return wire.detail(answer.entry, payload)

    async def _change(self, call: Call) -> dict[str, Any]:
        body: ChangeLog = call.body
        request = pb.UpdateEntryRequest(
            **_one(call),
            feedback=body.feedback,
            score=body.score,
            metadata={key: _text(value) for key, value in (body.metadata or {}).items()},
        )
        request.update_mask.paths.extend(sorted(body.model_fields_set))
        await self._peers.ledger.UpdateEntry(request, timeout=self._peers.timeout_s)
        return {}

    async def _request(self, call: Call) -> RawAnswer:
        return _raw((await self._payload(call)).request)

    async def _response(self, call: Call) -> RawAnswer:
        return _raw((await self._payload(call)).response)

    async def _payload(self, call: Call) -> log_entry_pb2.Payload:
        request = pb.GetPayloadRequest(**_one(call))
        return (await self._peers.ledger.GetPayload(request, timeout=self._peers.timeout_s)).payload


def _one(call: Call) -> dict[str, Any]:
    return {"account_id": call.account_id, "gateway_id": call.gateway_id, "id": call.path["id"]}


def _stamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _raw(body: bytes) -> RawAnswer:
    json = body[:1] in (b"{", b"[")
    return RawAnswer(body=body, content_type="application/json" if json else "application/octet-stream")
