"""
What the adapters of AI Studio and Vertex AI have in common: Gemini's own dialect, and Google's errors.
"""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from kit.errors import GatewayError, Reason
from kit.json_edit import replace_member
from services.providers.adapters.translated import stream_type
from services.providers.call import ARRAY_STREAM, ErrorAnswer, Reading
from services.providers.dialects.gemini import same
from services.providers.dialects.gemini.array_stream import ArrayStream
from services.providers.dialects.gemini.errors import write_error
from services.providers.dialects.gemini.failures import read_error, retry_delay
from services.providers.dialects.gemini.same import GeminiStream
from services.providers.dialects.openai_error import openai_error
from services.providers.dialects.retry_after import parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.providers.call import Call

__all__ = [
    "EMBEDDING_CALLS",
    "MODEL_NAME",
    "bad_model",
    "gemini_body",
    "gemini_method",
    "gemini_reading",
    "read_embeddings_error",
    "read_gemini_error",
    "read_google_error",
]

# Goes into a path as it is.
MODEL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")
EMBEDDING_CALLS: Final = frozenset({"embedContent", "batchEmbedContents"})
_STREAM: Final = "streamGenerateContent"
_EVENTS: Final = "alt=sse"


def bad_model(provider: str) -> GatewayError:
    """Say that there can be no such model."""
    return GatewayError(
        Reason.INVALID_REQUEST, f"That cannot be the name of a model of {provider}.", param="model"
    )


def gemini_method(call: Call) -> tuple[str, str]:
    """Return the word after the model's name for a call, and the query."""
    # Where a client wants an array, the provider is asked for events all the same.
    if call.operation in {"", _STREAM, ARRAY_STREAM}:
        return (_STREAM, _EVENTS) if call.stream else ("generateContent", "")
    return call.operation, ""


def gemini_body(call: Call, model: str) -> bytes:
    """
    Return the body of a call in Gemini's dialect: the client's, but for the names of models in it.

    Args:
        call: In that dialect.
        model: As the provider wants it within a body.

    Raises:
        GatewayError: INVALID_REQUEST; the body is no JSON object.
    """
    try:
        document = orjson.loads(call.body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise GatewayError(Reason.INVALID_REQUEST, "The body must be a JSON object.", param="body")
    body = call.body
    if "model" in document:
        body = replace_member(body, document, "model", orjson.dumps(model))
    if call.operation == "batchEmbedContents" and isinstance(document.get("requests"), list):
        requests = [
            {**entry, "model": model} if isinstance(entry, dict) else entry for entry in document["requests"]
        ]
        body = replace_member(body, document, "requests", _dump(requests))
    inner = document.get("generateContentRequest")
    if call.operation == "countTokens" and isinstance(inner, dict) and "model" in inner:
        body = replace_member(body, document, "generateContentRequest", _dump({**inner, "model": model}))
    return body


def gemini_reading(call: Call, body: bytes, max_event_bytes: int) -> Reading:
    """Make what reads the answer to a call in Gemini's own dialect."""

    def stream() -> GeminiStream | ArrayStream:
        events = GeminiStream(request_bytes=len(body), max_event_bytes=max_event_bytes)
        return ArrayStream(events) if call.operation == ARRAY_STREAM else events

    return Reading(
        stream=stream, whole=same.read_answer, error=read_gemini_error, stream_type=stream_type(call)
    )


def read_google_error(status: int, body: bytes, headers: Mapping[str, str]) -> ErrorAnswer:
    """Read an error of Google's, whose bytes stay as they are."""
    failure_class, message = read_error(status, body)
    wait = parse_retry_after(headers, now_s=time.time())
    return ErrorAnswer(
        status=status,
        body=body,
        failure_class=failure_class,
        message=message,
        retry_after_s=retry_delay(body) if wait is None else wait,
    )


def read_gemini_error(status: int, body: bytes, headers: Mapping[str, str]) -> ErrorAnswer:
    """Read an error for a client of Gemini's dialect: one in a list is taken out, others are replaced."""
    found = read_google_error(status, body, headers)
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if isinstance(document, dict) and isinstance(document.get("error"), dict):
        return found
    if isinstance(document, list) and document and isinstance(document[0], dict) and "error" in document[0]:
        return replace(found, body=orjson.dumps(document[0]))
    return replace(found, body=write_error(status, found.failure_class, found.message))


def read_embeddings_error(status: int, body: bytes, headers: Mapping[str, str]) -> ErrorAnswer:
    """Read an error for a client of OpenAI's embeddings."""
    found = read_google_error(status, body, headers)
    return replace(found, body=openai_error(status, found.failure_class, found.message))


def _dump(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        text = "The body nests too deeply."
        raise GatewayError(Reason.INVALID_REQUEST, text, param="body") from None
