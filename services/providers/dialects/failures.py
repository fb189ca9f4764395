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


# What an error within a stream would have been as a status, had it come in time.
CLASS_STATUSES = {
    FailureClass.INVALID_REQUEST: 400,
    FailureClass.AUTHENTICATION: 401,
    FailureClass.NOT_FOUND: 404,
    FailureClass.CONTEXT_LENGTH: 400,
    FailureClass.CONTENT_POLICY: 400,
    FailureClass.RATE_LIMIT: 429,
    FailureClass.SERVER: 500,
    FailureClass.CUT: 502,
    FailureClass.TIMEOUT: 504,
    FailureClass.MALFORMED: 502,
}

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
    # AWS's exceptions.
    "accessdeniedexception": FailureClass.AUTHENTICATION,
    "expiredtokenexception": FailureClass.AUTHENTICATION,
    "incompletesignatureexception": FailureClass.AUTHENTICATION,
    "invalidsignatureexception": FailureClass.AUTHENTICATION,
    "missingauthenticationtokenexception": FailureClass.AUTHENTICATION,
    "unrecognizedclientexception": FailureClass.AUTHENTICATION,
    "resourcenotfoundexception": FailureClass.NOT_FOUND,
    "modelnotreadyexception": FailureClass.RATE_LIMIT,
    "servicequotaexceededexception": FailureClass.RATE_LIMIT,
    "throttlingexception": FailureClass.RATE_LIMIT,
    "internalserverexception": FailureClass.SERVER,
    "modelerrorexception": FailureClass.SERVER,
    "modelstreamerrorexception": FailureClass.SERVER,
    "modeltimeoutexception": FailureClass.SERVER,
    "serviceunavailableexception": FailureClass.SERVER,
    "validationexception": FailureClass.INVALID_REQUEST,
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
    # OpenAI and most that are like it, vLLM, SGLang, Mistral, OpenRouter, Cerebras, Workers AI
    r"maximum context length|context[_ ]length[_ ]exceeded|max(?:imum)? context"
    r"|exceed(?:s|ed)? (?:(?:the|this|your) )?(?:model(?:'?s)? )?(?:(?:available|maximum|max|allowed) )*"
    r"context (?:size|limit|window|length)"
    r"|maximum (?:model|input) length|maximum allowed input length"
    r"|reduce the length of the (?:messages|prompt|input)"
    # Anthropic, Fireworks, Ollama
    r"|prompt is too long|prompt too long"
    # xAI
    r"|maximum prompt length"
    # Bedrock and its models
    r"|input is too long|input tokens? exceed|too many input tokens|expected maxlength: \d+, actual"
    # Cohere; with the same words it speaks of too long an output, and Bedrock of too many calls
    r"|too many tokens(?!: max tokens must|,? please wait| per \w+, please wait)"
    # Gemini and Vertex
    r"|input token count .{0,40}(?:exceeds|but model only supports)|exceeds? the maximum number of tokens"
    # Hugging Face's server and Together
    r"|inputs?`? tokens \+ `?max_new_tokens|`?inputs`? must have less than \d+ tokens"
    r"|longer than the (?:model'?s |maximum )(?:context|model) length"
    # llama.cpp, LM Studio
    r"|input is too large to process|greater than the context length"
    # Moonshot, MiniMax, Qwen, GitHub
    r"|exceeded model token limit|context window exceeds limit|range of input length should be"
    r"|prompt token count of \d+ exceeds",
    re.IGNORECASE,
)
_CONTENT_POLICY = re.compile(
    # OpenAI, Azure, Anthropic
    r"content filtering policy|content management policy|content polic(?:y|ies)|safety system"
    r"|usage polic(?:y|ies)|flagged as potentially violating|violates? (?:our|the) .{0,40}polic(?:y|ies)"
    # xAI, DeepSeek, OpenRouter, Workers AI, Bedrock
    r"|violates usage guidelines|content exists risk|input was flagged|contains? nsfw content"
    r"|blocked by (?:our |the )?content filter",
    re.IGNORECASE,
)
_NO_CREDIT = re.compile(r"credit balance is too low|invalid x-api-key|incorrect api key", re.IGNORECASE)
_FORBIDDEN = 403
# Long enough for every real message, short enough that a hostile one costs nothing to match or log.
_MAX_MESSAGE_CHARS = 4000


def classify(status: int, error_body: bytes) -> FailureClass:
    """Tell the class of an error answer, from its status and from what its body says."""
    return classify_error(status, find_error(error_body))


def classify_error(status: int, error: dict[str, Any]) -> FailureClass:
    """Tell the class of an error object, already unwrapped; `status` is 0 for an error within a stream."""
    found = _by_wording(status, _all_words(error))
    if found is not None:
        return found
    inner = error.get("innererror")
    words = (error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None)
    for word in words:
        found = _CODES.get(word.lower()) if isinstance(word, str) else None
        if found is not None:
            return found
    if status in _STATUSES:
        return _STATUSES[status]
    return FailureClass.INVALID_REQUEST if 400 <= status < 500 else FailureClass.SERVER


def _by_wording(status: int, message: str) -> FailureClass | None:
    """Tell the class that only the words of a message tell, where the status lets them."""
    malformed = status in {0, 400, 413, 422}
    if (malformed or status >= 500) and _CONTEXT_LENGTH.search(message):
        return FailureClass.CONTEXT_LENGTH
    # Some refuse with "forbidden" what others find malformed.
    if (malformed or status >= 500 or status == _FORBIDDEN) and _CONTENT_POLICY.search(message):
        return FailureClass.CONTENT_POLICY
    return FailureClass.AUTHENTICATION if malformed and _NO_CREDIT.search(message) else None


def _all_words(error: dict[str, Any]) -> str:
    """Take the message, and what an aggregator (OpenRouter) was told by the provider behind it."""
    metadata = error.get("metadata")
    raw = text_of(metadata.get("raw")) if isinstance(metadata, dict) else ""
    message = text_of(error.get("message"))
    return f"{message}\n{raw}" if raw else message


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
    if "message" in document or document.get("object") == "error":
        return document
    return _listed(document.get("errors")) or _detailed(document.get("detail"))


def _listed(errors: Any) -> dict[str, Any]:
    """Take the first of Cloudflare's `errors`."""
    return errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}


def _detailed(detail: Any) -> dict[str, Any]:
    """Take the `detail` of APIs that are written in FastAPI: words, an object, or a list with places."""
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        place, words = detail[0].get("loc"), text_of(detail[0].get("msg"))
        where = ".".join(str(step) for step in place) if isinstance(place, list) else ""
        return {"message": f"{where}: {words}" if where else words} if words else {}
    if isinstance(detail, str) and detail:
        return {"message": detail}
    return detail if isinstance(detail, dict) and "message" in detail else {}


def text_of(value: Any) -> str:
    """Take a string, at a bounded length, and anything else as empty."""
    return value[:_MAX_MESSAGE_CHARS] if isinstance(value, str) else ""
