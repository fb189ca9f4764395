"""
Errors in Google's shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from services.providers.dialects.failures import FailureClass

__all__ = ["write_error"]

# https://cloud.google.com/apis/design/errors
_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}


def write_error(status: int, failure_class: FailureClass, message: str) -> bytes:
    """Write an error as the JSON body that Google's clients read, who go by status and word alone."""
    del failure_class
    word = _STATUSES.get(status) or ("INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    # A message may end within a pair of surrogates, which no JSON in UTF-8 can hold.
    message = message.encode("utf-8", "replace").decode()
    return orjson.dumps({"error": {"code": status, "message": message, "status": word}})
