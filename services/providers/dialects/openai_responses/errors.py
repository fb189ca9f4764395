"""
Errors, which look as in all of OpenAI's API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.providers.dialects.failures import FailureClass
from services.providers.dialects.openai_error import openai_error

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["response_error", "write_error"]

# The few codes that a response's own `error` may have.
_CODES: Mapping[FailureClass, str] = {
    FailureClass.RATE_LIMIT: "rate_limit_exceeded",
    FailureClass.CONTENT_POLICY: "invalid_prompt",
    FailureClass.INVALID_REQUEST: "invalid_prompt",
    FailureClass.CONTEXT_LENGTH: "invalid_prompt",
}


def write_error(status: int, failure_class: FailureClass, message: str) -> bytes:
    """Write an error as a body."""
    return openai_error(status, failure_class, message)


def response_error(failure_class: FailureClass, message: str) -> dict[str, Any]:
    """Make the `error` member of a failed response."""
    return {"code": _CODES.get(failure_class, "server_error"), "message": message}
