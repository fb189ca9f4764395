"""Errors in OpenAI's shape, as a body and as an event of a stream."""

from __future__ import annotations

from typing import Any

import orjson

from services.providers.dialects.failures import FailureClass

__all__ = ["error_code", "error_type", "openai_error", "openai_error_event"]

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}

_CODES = {
    FailureClass.AUTHENTICATION: "invalid_api_key",
    FailureClass.CONTEXT_LENGTH: "context_length_exceeded",
    FailureClass.CONTENT_POLICY: "content_policy_violation",
    FailureClass.CUT: "upstream_cut",
    FailureClass.MALFORMED: "upstream_malformed",
    FailureClass.NOT_FOUND: "model_not_found",
    FailureClass.RATE_LIMIT: "rate_limit_exceeded",
    FailureClass.TIMEOUT: "upstream_timeout",
}


def error_type(status: int) -> str:
    """Return the `type` that errors of a status have."""
    return _TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")


def error_code(status: int, failure_class: FailureClass) -> str:
    """Return the `code` of an error; where its class has none, the type stands for it."""
    return _CODES.get(failure_class) or error_type(status)


def openai_error(status: int, failure_class: FailureClass, message: str) -> bytes:
    """Write an error as the JSON body that OpenAI's clients read."""
    error: dict[str, Any] = {
        "message": message,
        "type": error_type(status),
        "param": None,
        "code": _CODES.get(failure_class),
    }
    return orjson.dumps({"error": error})


def openai_error_event(body: bytes) -> bytes:
    """Write an error body as an event of a chat completions stream."""
    return b"data: " + body + b"\n\n"
