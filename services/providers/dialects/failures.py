"""
The classes of provider errors, and what tells which class an error is of.

Providers agree neither on statuses nor on wording. A caller that picks the next step needs one answer, so
the wordings live here, once, for every dialect.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

import orjson


class FailureClass(StrEnum):
    """Class of an error: the names of `headrace.provider.v1.FailureClass` without their prefix."""

    INVALID_REQUEST = "INVALID_REQUEST"
    AUTHENTICATION = "AUTHENTICATION"
    NOT_FOUND = "NOT_FOUND"
    CONTEXT_LENGTH = "CONTEXT_LENGTH"
    CONTENT_POLICY = "CONTENT_POLICY"
    RATE_LIMIT = "RATE_LIMIT"
    SERVER = "SERVER"
    CUT = "CUT"
    TIMEOUT = "TIMEOUT"
    MALFORMED = "MALFORMED"


# Words in an error's code or type that settle its class, whatever the status.
_CODES = {
    "context_length_exceeded": FailureClass.CONTEXT_LENGTH,
    "exceed_context_size_error": FailureClass.CONTEXT_LENGTH,
    "string_above_max_length": FailureClass.CONTEXT_LENGTH,
    "content_policy_violation": FailureClass.CONTENT_POLICY,
    "content_filter": FailureClass.CONTENT_POLICY,
    "responsibleaipolicyviolation": FailureClass.CONTENT_POLICY,
    "moderation_blocked": FailureClass.CONTENT_POLICY,
    "invalid_prompt": FailureClass.CONTENT_POLICY,
    "invalid_api_key": FailureClass.AUTHENTICATION,
    "authentication_error": FailureClass.AUTHENTICATION,
    "permission_error": FailureClass.AUTHENTICATION,
    "billing_error": FailureClass.AUTHENTICATION,
    "model_not_found": FailureClass.NOT_FOUND,
    "not_found_error": FailureClass.NOT_FOUND,
    "rate_limit_error": FailureClass.RATE_LIMIT,
    "rate_limit_exceeded": FailureClass.RATE_LIMIT,
    "insufficient_quota": FailureClass.RATE_LIMIT,
    "overloaded_error": FailureClass.SERVER,
    "api_error": FailureClass.SERVER,
    "server_error": FailureClass.SERVER,
    "timeout_error": FailureClass.SERVER,
}

_STATUSES = {
    401: FailureClass.AUTHENTICATION,
    402: FailureClass.AUTHENTICATION,
    403: FailureClass.AUTHENTICATION,
    404: FailureClass.NOT_FOUND,
    408: FailureClass.SERVER,
    409: FailureClass.SERVER,
    425: FailureClass.SERVER,
    429: FailureClass.RATE_LIMIT,
}

# Each wording is one that a provider or a serving program is known to use.
_CONTEXT_LENGTH = re.compile(
    r"maximum context length|context length exceeded|context_length_exceeded"
    r"|prompt is too long|input is too long|prompt too long|too many tokens"
    r"|exceeds? (?:the )?(?:model'?s? )?(?:available |maximum )?context (?:size|limit|window|length)"
    r"|exceeds? the maximum number of tokens|maximum prompt length|max(?:imum)? context"
    r"|reduce the length of the (?:messages|prompt|input)|input token count .* exceeds",
    re.IGNORECASE,
)
_CONTENT_POLICY = re.compile(
    r"content filtering policy|content management policy|content polic(?:y|ies)|safety system"
    r"|usage polic(?:y|ies)|flagged as potentially violating|violates? (?:our|the) .{0,40}polic(?:y|ies)",
    re.IGNORECASE,
)
_NO_CREDIT = re.compile(r"credit balance is too low|invalid x-api-key|incorrect api key", re.IGNORECASE)
# Long enough for every real message, short enough that a hostile one costs nothing to match or log.
_MAX_MESSAGE_CHARS = 4000


def classify(status: int, error_body: bytes) -> FailureClass:
    """Tell the class of an error answer, from its status and from what its body says."""
    return classify_error(status, find_error(error_body))


def classify_error(status: int, error: dict[str, Any]) -> FailureClass:
    """Tell the class of an error object, already unwrapped; `status` is 0 for an error within a stream."""
    message = text_of(error.get("message"))
    inner = error.get("innererror")
    words = (error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None)
    if status in {0, 400, 413, 422} or status >= 500:
        if _CONTEXT_LENGTH.search(message):
            return FailureClass.CONTEXT_LENGTH
        if _CONTENT_POLICY.search(message):
            return FailureClass.CONTENT_POLICY
        if status < 500 and _NO_CREDIT.search(message):
            return FailureClass.AUTHENTICATION
    for word in words:
        found = _CODES.get(word.lower()) if isinstance(word, str) else None
        if found is not None:
            return found
    if status in _STATUSES:
        return _STATUSES[status]
    return FailureClass.INVALID_REQUEST if 400 <= status < 500 else FailureClass.SERVER


def error_message(status: int, error_body: bytes) -> str:
    """Take the provider's own words, or say what came instead of them."""
    return message_of(find_error(error_body), status)


def message_of(error: dict[str, Any], status: int) -> str:
    """Take the message of an error object, already unwrapped, or make one from the status."""
    message = text_of(error.get("message"))
    if message:
        return message
    kind = text_of(error.get("type")) or text_of(error.get("code"))
    if kind:
        return f"The provider reported {kind}."
    return f"The provider answered with status {status} and no readable error."


def find_error(error_body: bytes) -> dict[str, Any]:
    """Unwrap an error body of any known shape to one object; empty when there is none."""
    try:
        document = orjson.loads(error_body)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(document, list) and document:
        document = document[0]
    return unwrap(document)


def unwrap(document: Any) -> dict[str, Any]:
    """Find the error object in a parsed document; empty when there is none."""
    if not isinstance(document, dict):
        return {}
    error = document.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str):
        return {**document, "message": error}
    return document if "message" in document or document.get("object") == "error" else {}


def text_of(value: Any) -> str:
    """Take a string, at a bounded length, and anything else as empty."""
    return value[:_MAX_MESSAGE_CHARS] if isinstance(value, str) else ""
