"""A whole answer of generateContent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from kit.errors import GatewayError, Reason
from services.providers.dialects.answer import text
from services.providers.dialects.failures import unwrap
from services.providers.dialects.gemini.answer_format import (
    broken_finish,
    call_id,
    candidates_of,
    citations_of,
    finish_of,
    index_of,
    is_blocked,
    logprobs_of,
    parts_of,
    read_call,
    reason_of,
)
from services.providers.dialects.gemini.failures import read_in_band
from services.providers.dialects.gemini.signatures import ORIGIN
from services.providers.dialects.neutral.completion import Choice, Completion, Finish
from services.providers.dialects.neutral.conversation import (
    MediaPart,
    ReasoningPart,
    TextPart,
    ToolCallPart,
)
from services.providers.dialects.neutral.remote import kind_of_type
from services.providers.dialects.neutral.sides import InBandError
from services.providers.dialects.usage import read_gemini_usage

if TYPE_CHECKING:
    from services.providers.dialects.neutral.completion import AnswerPart

__all__ = ["read_answer"]

Json = dict[str, Any]


def read_answer(body: bytes) -> Completion:
    """
    Read an answer.

    Raises:
        GatewayError: UPSTREAM_MALFORMED; it is none.
        InBandError: It holds an error, or the model failed to give an answer.
    """
    document = _load(body)
    if "error" in document:
        raise InBandError(*read_in_band(unwrap(document)))
    candidates = candidates_of(document)
    for candidate in candidates:
        broken = broken_finish(candidate)
        if broken is not None:
            raise InBandError(*broken)
    if not candidates and not is_blocked(document):
        raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's answer holds no candidate.")
    warnings: list[str] = []
    response_id = text(document.get("responseId"))
    choices = [_choice(candidate, response_id, warnings) for candidate in candidates]
    usage = document.get("usageMetadata")
    return Completion(
        id=response_id,
        model=text(document.get("modelVersion")),
        # A prompt that was refused is answered, by nothing.
        choices=choices or [Choice(finish=Finish.CONTENT_FILTER)],
        usage=read_gemini_usage(usage) if isinstance(usage, dict) else None,
        warnings=tuple(warnings),
    )


def _load(body: bytes) -> Json:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if isinstance(document, list) and len(document) == 1:
        # Google wraps errors so where a stream was asked for.
        document = document[0]
    if not isinstance(document, dict):
        raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's answer is not a JSON object.")
    return document


def _choice(candidate: Json, response_id: str, warnings: list[str]) -> Choice:
    index = index_of(candidate)
    parts: list[AnswerPart] = []
    calls = 0
    for part in parts_of(candidate):
        call = part.get("functionCall")
        if isinstance(call, dict):
            parts.append(_call(part, call, call_id(call, response_id, index, calls)))
            calls += 1
        else:
            _plain(part, parts, warnings)
    _cite(parts, citations_of(candidate))
    return Choice(
        index=index,
        parts=parts,
        finish=finish_of(reason_of(candidate), warnings, calls=bool(calls)),
        logprobs=logprobs_of(candidate),
    )


def _call(part: Json, call: Json, made_id: str) -> ToolCallPart:
    found = read_call(call)
    if found is None:
        raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's answer holds a tool call that is none.")
    name, arguments = found
    return ToolCallPart(
        id=made_id, name=name, arguments=arguments, signature=text(part.get("thoughtSignature"))
    )


def _plain(part: Json, parts: list[AnswerPart], warnings: list[str]) -> None:
    words, media = text(part.get("text")), part.get("inlineData")
    if part.get("thought") is True:
        # A picture among the thoughts is a draft of one that follows.
        if words:
            parts.append(ReasoningPart(text=words))
    elif words:
        parts.append(TextPart(text=words))
    elif isinstance(media, dict):
        media_type = text(media.get("mimeType")) or "image/png"
        data = text(media.get("data"))
        if data:
            parts.append(MediaPart(kind=kind_of_type(media_type), media_type=media_type, data=data))
    elif "text" not in part and "thoughtSignature" not in part:
        warnings.append(f"part {next(iter(part), '')[:40]!r} was left out")
    signature = text(part.get("thoughtSignature"))
    if signature:
        _sign(parts, signature)


def _sign(parts: list[AnswerPart], signature: str) -> None:
    """Put a signature to the thoughts that it is of, or by itself where they are not shown."""
    thoughts = [part for part in parts if isinstance(part, ReasoningPart)]
    if thoughts and not thoughts[-1].signature:
        thoughts[-1].signature, thoughts[-1].origin = signature, ORIGIN
    else:
        parts.append(ReasoningPart(signature=signature, origin=ORIGIN))


def _cite(parts: list[AnswerPart], citations: list[Json]) -> None:
    texts = [part for part in parts if isinstance(part, TextPart)]
    if texts:
        texts[-1].citations = citations
