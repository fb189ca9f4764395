"""
The log on the management plane: list, detail, bodies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from headrace.auth.v1 import auth_service_pb2
from headrace.ledger.v1 import ledger_service_pb2, ledger_service_pb2_grpc
from kit.errors import GatewayError, Reason
from services.edge.handlers.log_query import list_request
from services.edge.wire import log_entry

if TYPE_CHECKING:
    from headrace.ledger.v1 import log_entry_pb2
    from kit.service import Runtime
    from services.edge.headers import RequestHeaders
    from services.edge.pipeline.access import Access
    from services.edge.routes import Route

__all__ = ["Logs"]

_TIMEOUT_S = 10.0


class Logs:
    """Reads the ledger for people and scripts."""

    def __init__(self, runtime: Runtime, access: Access) -> None:
        self._ledger = ledger_service_pb2_grpc.LedgerServiceStub(runtime.channel("ledger"))
        self._access = access

    async def answer(self, request: web.BaseRequest, route: Route, headers: RequestHeaders) -> web.Response:
        """List entries, newest first."""
        await self._admit(route, headers)
        query = list_request(route.account_id, route.gateway_id, request.query)
        answer = await self._ledger.List(query, timeout=_TIMEOUT_S)
        return _v4(
            [log_entry.summary(entry) for entry in answer.entries],
            result_info={
                "count": len(answer.entries),
                "page": query.offset // query.page_size + 1,
                "per_page": query.page_size,
                "total_count": answer.total_count,
            },
        )

    async def detail(self, _: web.BaseRequest, route: Route, headers: RequestHeaders) -> web.Response:
        """Show one entry with all that is known of it."""
        await self._admit(route, headers)
        request = ledger_service_pb2.GetRequest(
            account_id=route.account_id, gateway_id=route.gateway_id, id=route.rest
        )
        answer = await self._ledger.Get(request, timeout=_TIMEOUT_S)
        try:
            payload = await self._payload(route)
        except GatewayError as error:
            if error.reason != Reason.NOT_FOUND:
                raise
            payload = None
        return _v4(log_entry.detail(answer.entry, payload))

    async def request_body(self, _: web.BaseRequest, route: Route, headers: RequestHeaders) -> web.Response:
        """Give the body that the client sent, as it was."""
        await self._admit(route, headers)
        return _raw((await self._payload(route)).request)

    async def response_body(self, _: web.BaseRequest, route: Route, headers: RequestHeaders) -> web.Response:
        """Give the body that the client got, as it was."""
        await self._admit(route, headers)
        return _raw((await self._payload(route)).response)

    async def _admit(self, route: Route, headers: RequestHeaders) -> None:
        token = headers.gateway_token or headers.own_token or _bearer(headers)
        principal = await self._access.require(
            route.account_id, token, auth_service_pb2.PERMISSION_AI_GATEWAY_READ
        )
        allowed = principal.restrictions.gateway_ids
        if allowed and route.gateway_id not in allowed:
            raise GatewayError(
                Reason.PERMISSION_DENIED,
                f"This token may not use the gateway {route.gateway_id!r}.",
                gateway=route.gateway_id,
            )

    async def _payload(self, route: Route) -> log_entry_pb2.Payload:
        request = ledger_service_pb2.GetPayloadRequest(
            account_id=route.account_id, gateway_id=route.gateway_id, id=route.rest
        )
        return (await self._ledger.GetPayload(request, timeout=_TIMEOUT_S)).payload


def _bearer(headers: RequestHeaders) -> str:
    for name, value in headers.forwarded:
        if name == "authorization":
            return value.decode("utf-8", "replace").removeprefix("Bearer ").strip()
    return ""


def _v4(result: Any, *, result_info: dict[str, Any] | None = None) -> web.Response:
    envelope: dict[str, Any] = {"success": True, "errors": [], "messages": [], "result": result}
    if result_info is not None:
        envelope["result_info"] = result_info
    return web.Response(body=orjson.dumps(envelope), content_type="application/json")


def _raw(body: bytes) -> web.Response:
    # Logged bodies are shown as data, never run: whoever could log a page must not get it rendered here.
    headers = {"content-type": "application/octet-stream", "x-content-type-options": "nosniff"}
    if body[:1] in (b"{", b"["):
        headers["content-type"] = "application/json"
    return web.Response(body=body, headers=headers)
