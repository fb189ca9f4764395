"""
Claude at Vertex AI: Anthropic's messages, with the model in the path and the version in the body.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from kit.errors import GatewayError, Reason
from services.providers.adapters.google import read_google_error
from services.providers.call import Reading
from services.providers.dialects.answer import Answer
from services.providers.dialects.anthropic import same
from services.providers.dialects.anthropic.errors import write_error
from services.providers.dialects.anthropic.same import MessagesStream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.providers.call import ErrorAnswer

__all__ = ["COUNT_TOKENS", "claude_reading", "raw_body"]

COUNT_TOKENS: Final = "count_tokens"
_VERSION: Final = "vertex-2023-10-16"


def raw_body(body: bytes, *, model: str = "") -> bytes:
    """
    Write the body of `rawPredict` from one of messages, members in their order.

    Args:
        body: Of messages.
        model: For calls whose path names none; empty: the path does.

    Raises:
        GatewayError: INVALID_REQUEST; it is no JSON object.
    """
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise GatewayError(Reason.INVALID_REQUEST, "The body must be a JSON object.", param="body")
    if model:
        document["model"] = model
    else:
        document.pop("model", None)
    document.setdefault("anthropic_version", _VERSION)
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:
        text = "The body nests too deeply."
        raise GatewayError(Reason.INVALID_REQUEST, text, param="body") from None


def claude_reading(size: int, max_event_bytes: int, *, counted: bool) -> Reading:
    """Make what reads the answer to a call in Anthropic's own dialect; `counted`: one that counts tokens."""
    return Reading(
        stream=lambda: MessagesStream(request_bytes=size, max_event_bytes=max_event_bytes),
        whole=(lambda body: Answer(body=body)) if counted else same.read_answer,
        error=_read_error,
    )


def _read_error(status: int, body: bytes, headers: Mapping[str, str]) -> ErrorAnswer:
    """Read an error, which is Anthropic's when the model's, and Google's when the platform's."""
    found = read_google_error(status, body, headers)
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if isinstance(document, dict) and document.get("type") == "error":
        return found
    return replace(found, body=write_error(status, found.failure_class, found.message))
