"""
What an error looks like to an HTTP client.

`HTTP` is total: a test compares it with `Reason`. Codes are the public product's where it has one for the
case. Every body has the shape that its client parses, with the gateway's own members beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from headrace.common.v1 import http_pb2
from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HTTP", "HttpError", "body", "stream_event"]


@dataclass(frozen=True, slots=True)
class HttpError:
    """
    How a reason is told over HTTP.

    Attributes:
        status: HTTP status.
        code: The gateway's `internalCode`.
        kind: Type of the error in OpenAI's and Anthropic's words.
    """

    status: int
    code: int
    kind: str


_INVALID = "invalid_request_error"
_AUTHENTICATION = "authentication_error"
_PERMISSION = "permission_error"
_NOT_FOUND = "not_found_error"
_RATE = "rate_limit_error"
_API = "api_error"
_OVERLOADED = "overloaded_error"

# Google's own words, `google.rpc.Code`, by HTTP status.
_GOOGLE_STATUS: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ALREADY_EXISTS",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

HTTP: Mapping[Reason, HttpError] = {
    Reason.INTERNAL: HttpError(500, 7000, _API),
    Reason.INVALID_REQUEST: HttpError(400, 7001, _INVALID),
    Reason.BAD_CHAT_FORMAT: HttpError(400, 2019, _INVALID),
    Reason.TOO_LARGE: HttpError(413, 7001, "request_too_large"),
    Reason.UNAUTHENTICATED: HttpError(401, 2009, _AUTHENTICATION),
    Reason.PERMISSION_DENIED: HttpError(403, 2009, _PERMISSION),
    Reason.GATEWAY_NOT_FOUND: HttpError(400, 2001, _INVALID),
    Reason.INVALID_PROVIDER: HttpError(400, 2008, _INVALID),
    Reason.NOT_FOUND: HttpError(404, 7002, _NOT_FOUND),
    Reason.CONFLICT: HttpError(409, 7001, _INVALID),
    Reason.UNSUPPORTED: HttpError(400, 7001, _INVALID),
    Reason.CREDENTIAL_MISSING: HttpError(400, 2009, _AUTHENTICATION),
    Reason.ALIAS_NOT_FOUND: HttpError(400, 2040, _INVALID),
    Reason.RATE_LIMITED: HttpError(429, 2003, _RATE),
    Reason.SPEND_LIMITED: HttpError(429, 2041, _RATE),
    Reason.ALL_STEPS_FAILED: HttpError(400, 2005, _INVALID),
    Reason.UPSTREAM_UNREACHABLE: HttpError(502, 2005, _API),
    Reason.UPSTREAM_TIMEOUT: HttpError(504, 2005, _API),
    Reason.UPSTREAM_MALFORMED: HttpError(502, 2002, _API),
    Reason.UPSTREAM_CUT: HttpError(502, 2005, _API),
    Reason.UPSTREAM_ERROR: HttpError(502, 2005, _API),
    Reason.SERVICE_UNAVAILABLE: HttpError(503, 7000, _API),
    Reason.DEADLINE_EXCEEDED: HttpError(504, 7000, _API),
    Reason.CANCELLED: HttpError(499, 7000, _API),
    Reason.OVERLOADED: HttpError(503, 7000, _OVERLOADED),
    Reason.METHOD_NOT_ALLOWED: HttpError(405, 7001, _INVALID),
    Reason.CALLER_NOT_ALLOWED: HttpError(403, 7000, _PERMISSION),
}


def body(error: GatewayError, dialect: http_pb2.Dialect.ValueType, *, status: int | None = None) -> bytes:
    """
    Give the body of an error answer on the data plane, in the client's dialect.

    Args:
        error: What happened.
        dialect: The client's.
        status: HTTP status of the answer, where it is not the reason's.
    """
    envelope = _envelope(error, status)
    if dialect == http_pb2.DIALECT_ANTHROPIC_MESSAGES:
        return orjson.dumps({**_anthropic(error), **_without_error(envelope)})
    if dialect == http_pb2.DIALECT_GEMINI:
        return orjson.dumps({**_google(error, status), **_without_error(envelope)})
    if dialect != http_pb2.DIALECT_NATIVE:
        envelope["error"] = _openai(error)
    return orjson.dumps(envelope)


def stream_event(error: GatewayError, dialect: http_pb2.Dialect.ValueType) -> bytes | None:
    """
    Give the server-sent event that tells a client that its stream broke off; None when there is none.

    In OpenAI's chat stream and in Gemini's an `error` object in place of a chunk makes SDKs raise, where
    Google's looks at how the event begins; in Anthropic's and in that of OpenAI's responses it is the event
    `error`. None is followed by the dialect's normal end.
    """
    if dialect == http_pb2.DIALECT_ANTHROPIC_MESSAGES:
        return b"event: error\ndata: " + orjson.dumps(_anthropic(error)) + b"\n\n"
    if dialect == http_pb2.DIALECT_GEMINI:
        return b"data: " + orjson.dumps(_google(error)) + b"\n\n"
    if dialect in (http_pb2.DIALECT_OPENAI_CHAT, http_pb2.DIALECT_OPENAI_OTHER):
        return b"data: " + orjson.dumps({"error": _openai(error)}) + b"\n\n"
    if dialect == http_pb2.DIALECT_OPENAI_RESPONSES:
        told = {"type": "error", **_openai(error), "error": _openai(error)}
        return b"event: error\ndata: " + orjson.dumps({**told, "type": "error"}) + b"\n\n"
    return None


def _openai(error: GatewayError) -> dict[str, Any]:
    return {
        "message": error.message,
        "type": HTTP[error.reason].kind,
        "param": error.metadata.get("param"),
        "code": error.reason.lower(),
    }


def _anthropic(error: GatewayError) -> dict[str, Any]:
    return {"type": "error", "error": {"type": HTTP[error.reason].kind, "message": error.message}}


def _google(error: GatewayError, status: int | None = None) -> dict[str, Any]:
    code = status or HTTP[error.reason].status
    reason = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": error.reason,
        "domain": "headrace",
        "metadata": {"param": error.metadata["param"]} if "param" in error.metadata else {},
    }
    told = {"code": code, "message": error.message, "status": _GOOGLE_STATUS.get(code, "UNKNOWN")}
    return {"error": {**told, "details": [reason]}}


def _without_error(envelope: dict[str, Any]) -> dict[str, Any]:
    """Give what can stand beside another dialect's `error`."""
    del envelope["error"]
    return envelope


def _envelope(error: GatewayError, status: int | None) -> dict[str, Any]:
    http = HTTP[error.reason]
    return {
        "success": False,
        "result": [],
        "messages": [],
        "error": [{"code": http.code, "message": error.message}],
        "name": "AiGatewayError",
        "httpCode": status or http.status,
        "internalCode": http.code,
        "message": error.message,
        "description": error.message,
    }
