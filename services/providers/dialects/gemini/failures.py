"""
Errors of Google's APIs: an object or an array of one, a status word, and how long to wait among the details.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.answer import text
from services.providers.dialects.failures import (
    CLASS_STATUSES,
    FailureClass,
    classify_error,
    find_error,
    message_of,
)
from services.providers.dialects.retry_after import parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GoogleError", "read_error", "read_in_band", "retry_delay"]

GoogleError = tuple[FailureClass, str, int]

# https://cloud.google.com/apis/design/errors
_WORDS: Final = {
    "INVALID_ARGUMENT": FailureClass.INVALID_REQUEST,
    "OUT_OF_RANGE": FailureClass.INVALID_REQUEST,
    "UNIMPLEMENTED": FailureClass.INVALID_REQUEST,
    # Of this API it says that the account's country or billing does not allow the call.
    "FAILED_PRECONDITION": FailureClass.AUTHENTICATION,
    "UNAUTHENTICATED": FailureClass.AUTHENTICATION,
    "PERMISSION_DENIED": FailureClass.AUTHENTICATION,
    "NOT_FOUND": FailureClass.NOT_FOUND,
    "RESOURCE_EXHAUSTED": FailureClass.RATE_LIMIT,
    "ABORTED": FailureClass.SERVER,
    "CANCELLED": FailureClass.SERVER,
    "DATA_LOSS": FailureClass.SERVER,
    "DEADLINE_EXCEEDED": FailureClass.SERVER,
    "INTERNAL": FailureClass.SERVER,
    "UNAVAILABLE": FailureClass.SERVER,
    "UNKNOWN": FailureClass.SERVER,
}
# A key that is none is an invalid argument to AI Studio.
_BAD_KEY: Final = frozenset({"API_KEY_INVALID", "API_KEY_SERVICE_BLOCKED", "CREDENTIALS_MISSING"})
_WORDINGS: Final = frozenset({FailureClass.CONTEXT_LENGTH, FailureClass.CONTENT_POLICY})
_RETRY_INFO: Final = "google.rpc.RetryInfo"
_MOST_DETAILS: Final = 32


def read_error(status: int, body: bytes) -> tuple[FailureClass, str]:
    """Read an error answer: its class, and what it says."""
    error = find_error(body)
    return _classify(status, error), message_of(error, status)


def read_in_band(error: dict[str, Any]) -> GoogleError:
    """Read an error object that came with a success: its class, what it says, and the status that fits."""
    code = error.get("code")
    status = code if isinstance(code, int) and 400 <= code <= 599 else 0
    failure_class = _classify(status, error)
    status = status or CLASS_STATUSES[failure_class]
    return failure_class, message_of(error, status), status


def retry_delay(body: bytes) -> float | None:
    """Return how many seconds an error's details ask to wait; None: they do not say."""
    for detail in _details(find_error(body)):
        if text(detail.get("@type")).endswith(_RETRY_INFO):
            delay = detail.get("retryDelay")
            # Protobuf's durations are text in JSON; some proxies give the message's members instead.
            if isinstance(delay, dict):
                seconds = delay.get("seconds")
                delay = str(seconds) if isinstance(seconds, int | str) else ""
            found = parse_duration(text(delay)[:40])
            if found is not None:
                return found
    return None


def _classify(status: int, error: dict[str, Any]) -> FailureClass:
    found = classify_error(status, error)
    if found in _WORDINGS:
        return found
    if any(text(detail.get("reason")) in _BAD_KEY for detail in _details(error)):
        return FailureClass.AUTHENTICATION
    return _WORDS.get(text(error.get("status")), found)


def _details(error: dict[str, Any]) -> Iterator[dict[str, Any]]:
    details = error.get("details")
    if isinstance(details, list):
        yield from (detail for detail in details[:_MOST_DETAILS] if isinstance(detail, dict))
