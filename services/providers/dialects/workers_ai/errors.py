"""
Errors of Workers AI: its own codes, in the envelope of Cloudflare's API or in OpenAI's shape.
"""

from __future__ import annotations

import re
from typing import Any, Final

from services.providers.dialects.failures import FailureClass, classify_error, find_error

__all__ = ["classify", "classify_found"]

_CLASSES: Final = {
    3003: FailureClass.INVALID_REQUEST,
    3006: FailureClass.INVALID_REQUEST,
    3007: FailureClass.SERVER,
    3008: FailureClass.SERVER,
    3023: FailureClass.AUTHENTICATION,
    3036: FailureClass.RATE_LIMIT,
    3040: FailureClass.RATE_LIMIT,
    3041: FailureClass.AUTHENTICATION,
    3042: FailureClass.NOT_FOUND,
    5007: FailureClass.NOT_FOUND,
    5016: FailureClass.AUTHENTICATION,
    5018: FailureClass.AUTHENTICATION,
    10000: FailureClass.AUTHENTICATION,
}
# Some codes come as the beginning of the message.
_CODE: Final = re.compile(r"(?:^|[\s:])(\d{4,5}): ")


def classify(status: int, body: bytes) -> FailureClass:
    """Tell the class of an error answer."""
    return classify_found(status, find_error(body))


def classify_found(status: int, error: dict[str, Any]) -> FailureClass:
    """Tell the class of an error object, already unwrapped; `status` is 0 for one in a success."""
    told = classify_error(status, error)
    if told in {FailureClass.CONTEXT_LENGTH, FailureClass.CONTENT_POLICY}:
        return told
    return _CLASSES.get(_code(error), told)


def _code(error: dict[str, Any]) -> int:
    for name in ("code", "internalCode", "internal_code"):
        value = error.get(name)
        if isinstance(value, int) and value in _CLASSES:
            return value
    message = error.get("message")
    found = _CODE.search(message[:200]) if isinstance(message, str) else None
    return int(found[1]) if found else 0
