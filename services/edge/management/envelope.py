"""
The v4 envelope of the management API, for results and for errors.

Source: the public product's API; all four members always stand in it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from pydantic import BaseModel

from kit.errors import Reason
from services.edge.management.models.forms import Listed
from services.edge.management.operation import Answer, RawAnswer
from services.edge.wire.errors import HTTP

if TYPE_CHECKING:
    from kit.errors import GatewayError
    from services.edge.management.models.forms import PageQuery
    from services.edge.management.operation import Operation

__all__ = ["answer", "failure", "failure_body"]

_JSON = "application/json"
_AUTHENTICATION = 10000
# What the public product says where the reason alone does not tell: custom providers have codes of their own.
_CODES = {
    (Reason.CONFLICT, "custom_provider"): 1003,
    (Reason.NOT_FOUND, "custom_provider"): 1004,
}
_BASE_URL = 1002
_GATEWAY_STATUS = 404
# A place in an array. Names of members are the client's, and may be digits that are no number, or too many.
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)


def answer(operation: Operation, query: Any, given: Any) -> web.Response:
    """Wrap what a handler gave."""
    if isinstance(given, RawAnswer):
        # Shown as data, never run: whoever could have a page logged must not get it rendered here.
        headers = {"x-content-type-options": "nosniff", "content-type": given.content_type}
        return web.Response(body=given.body, headers=headers)
    wrapped = given if isinstance(given, Answer) else Answer(result=given)
    envelope: dict[str, Any] = {
        "success": True,
        "errors": [],
        "messages": [{"code": each.code, "message": each.text} for each in wrapped.messages],
        "result": wrapped.result,
        **wrapped.extra,
    }
    if isinstance(wrapped.result, Listed):
        envelope["result"] = wrapped.result.items
        envelope["result_info"] = _result_info(wrapped.result, query)
    if operation.shape == "data":
        envelope["data"] = envelope["result"]
    return web.Response(body=orjson.dumps(envelope, default=_plain), content_type=_JSON)


def failure(error: GatewayError, *, status: int | None = None) -> web.Response:
    """Tell an error."""
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    return web.Response(
        status=status or status_of(error), body=failure_body(error), content_type=_JSON, headers=headers
    )


def failure_body(error: GatewayError) -> bytes:
    """Give the body that tells an error."""
    entry: dict[str, Any] = {"code": _code(error), "message": error.message}
    if param := error.metadata.get("param"):
        entry["path"] = [int(part) if _INDEX.fullmatch(part) else part for part in param.split(".")]
    return orjson.dumps({"success": False, "errors": [entry], "messages": [], "result": None})


def status_of(error: GatewayError) -> int:
    """Give the HTTP status of an error on the management plane."""
    if error.reason is Reason.GATEWAY_NOT_FOUND:
        return _GATEWAY_STATUS
    return HTTP[error.reason].status


def _code(error: GatewayError) -> int:
    if error.reason in (Reason.UNAUTHENTICATED, Reason.PERMISSION_DENIED):
        return _AUTHENTICATION
    if error.reason is Reason.GATEWAY_NOT_FOUND:
        return HTTP[Reason.NOT_FOUND].code
    resource = error.metadata.get("resource", "")
    if error.metadata.get("param", "").endswith("base_url"):
        return _BASE_URL
    return _CODES.get((error.reason, resource), HTTP[error.reason].code)


def _result_info(listed: Listed[Any], query: PageQuery) -> dict[str, Any]:
    return {
        "count": len(listed.items),
        "page": query.page,
        "per_page": query.per_page,
        "total_count": listed.total,
        "total_pages": -(-listed.total // query.per_page),
        **listed.info,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    raise TypeError(type(value).__name__)
