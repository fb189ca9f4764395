"""
Failures as OpenAI's clients read them: our own, and llama.cpp's in OpenAI's words. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from kit.errors import Reason

if TYPE_CHECKING:
    from kit.errors import GatewayError

__all__ = ["error_body", "from_gateway", "from_llama"]

_TOO_LONG: Final = "context_length_exceeded"
_EMBEDDING_TOO_LONG: Final = "is too large to process"
_INVALID: Final = "invalid_request_error"


def error_body(
    message: str, *, kind: str = _INVALID, code: str | None = None, param: str | None = None
) -> bytes:
    """Write an error in OpenAI's shape."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def from_gateway(error: GatewayError) -> tuple[int, bytes]:
    """Return the status and body for one of our own failures."""
    if error.reason is Reason.NOT_FOUND:
        return 404, error_body(error.message, code="model_not_found", param="model")
    if error.reason is Reason.INVALID_REQUEST:
        return 400, error_body(error.message)
    return 503, error_body(error.message, kind="server_error", code=error.reason.lower())


def from_llama(status: int, body: bytes) -> tuple[int, bytes]:
    """Return the status and body for an error answer of llama.cpp."""
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return status, error_body(f"llama.cpp answered with status {status}.", kind="server_error")
    message = str(error.get("message", ""))
    kind = str(error.get("type", "server_error"))
    if kind == "exceed_context_size_error" or (status == 500 and _EMBEDDING_TOO_LONG in message):
        # llama.cpp calls the second a failure of the server; it is one of the text to embed.
        return 400, error_body(message, code=_TOO_LONG, param="messages" if status == 400 else "input")
    return status, error_body(message, kind=kind)
