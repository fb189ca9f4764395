"""
Errors in Anthropic's shape.
"""

from __future__ import annotations

import orjson

from services.providers.dialects.failures import FailureClass

__all__ = ["error_event", "write_error"]

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
# Anthropic's own words for a prompt beyond the context window; its clients go by them to shorten a prompt.
_TOO_LONG = "prompt is too long"


def write_error(status: int, failure_class: FailureClass, message: str) -> bytes:
    """Write an error as the JSON body that Anthropic's clients read."""
    kind = _TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")
    if failure_class is FailureClass.CONTEXT_LENGTH and _TOO_LONG not in message.lower():
        message = f"{_TOO_LONG}: {message}"
    # A message may end within a pair of surrogates, which no JSON in UTF-8 can hold.
    message = message.encode("utf-8", "replace").decode()
    return orjson.dumps({"type": "error", "error": {"type": kind, "message": message}})


def error_event(body: bytes) -> bytes:
    """Write an error body as an event of a stream."""
    return b"event: error\ndata: " + body + b"\n\n"
