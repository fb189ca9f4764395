"""
Errors of AWS: named by an exception, in a header, in a member, or in the headers of a frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from services.providers.dialects.failures import (
    CLASS_STATUSES,
    FailureClass,
    classify_error,
    find_error,
    message_of,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.providers.dialects.converse.frames import Frame

__all__ = ["read_error", "read_exception"]

_TYPE_HEADER: Final = "x-amzn-errortype"
# Statuses of exceptions that come within a stream, where they have none.
_STATUSES: Final = {
    "internalserverexception": 500,
    "modelstreamerrorexception": 424,
    "modeltimeoutexception": 408,
    "serviceunavailableexception": 503,
    "throttlingexception": 429,
    "validationexception": 400,
}
_UNKNOWN_MODEL: Final = "model identifier is invalid"


def read_error(status: int, body: bytes, headers: Mapping[str, str]) -> tuple[FailureClass, str]:
    """
    Read an error answer.

    Args:
        status: HTTP status.
        body: As it came; AWS's own has a `message` and, of some services, a `__type`.
        headers: Names in lower case.

    Returns:
        Its class, and what it says.
    """
    error = _object(body)
    name = exception_name(headers.get(_TYPE_HEADER, "") or text_of(error.get("__type")))
    if name:
        error = {"type": name, **error}
    return classify_exception(name, status, error), message_of(error, status)


def read_exception(frame: Frame) -> tuple[FailureClass, str, int]:
    """Read a frame that tells of an error: class, message, and the status that fits."""
    name = exception_name(frame.header(":exception-type") or frame.header(":error-code"))
    error = _object(frame.payload)
    if not text_of(error.get("message")):
        error = {**error, "message": frame.header(":error-message")}
    error = {"type": name, **error}
    status = _STATUSES.get(name.lower(), 0)
    failure_class = classify_exception(name, status, error)
    status = status or CLASS_STATUSES[failure_class]
    return failure_class, message_of(error, status), status


def exception_name(value: str) -> str:
    """Take the name of an exception out of what AWS puts around it: a namespace before, a URL behind."""
    return value.partition(":")[0].rpartition("#")[2].strip()[:80]


def classify_exception(name: str, status: int, error: dict[str, Any]) -> FailureClass:
    """Tell the class of an error with the name of an exception."""
    if name.lower() == "validationexception" and _UNKNOWN_MODEL in text_of(error.get("message")):
        return FailureClass.NOT_FOUND
    return classify_error(status, error)


def _object(body: bytes) -> dict[str, Any]:
    error = find_error(body)
    if error:
        return error
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(document, dict):
        return {}
    return {**document, "message": text_of(document.get("Message"))}
