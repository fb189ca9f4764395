"""
Reads whole answers of Cohere's chat API.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from kit.errors import GatewayError, Reason
from services.providers.dialects.answer import load_object, text
from services.providers.dialects.cohere.usage import read_billed, read_usage
from services.providers.dialects.failures import FailureClass, classify_error, message_of, unwrap
from services.providers.dialects.neutral.completion import Choice, Completion, Finish
from services.providers.dialects.neutral.conversation import ReasoningPart, TextPart, ToolCallPart
from services.providers.dialects.neutral.sides import InBandError

if TYPE_CHECKING:
    from services.providers.dialects.neutral.completion import AnswerPart

__all__ = ["BROKEN", "FINISHES", "broken", "read_answer", "read_citation", "read_logprobs"]

FINISHES: Final = {
    "COMPLETE": Finish.STOP,
    "STOP_SEQUENCE": Finish.STOP,
    "MAX_TOKENS": Finish.LENGTH,
    "ERROR_LIMIT": Finish.LENGTH,
    "TOOL_CALL": Finish.TOOL_CALLS,
    "ERROR_TOXIC": Finish.CONTENT_FILTER,
}
# Ends that are none: the answer is not whole.
BROKEN: Final = {
    "ERROR": FailureClass.SERVER,
    "USER_CANCEL": FailureClass.SERVER,
    "TIMEOUT": FailureClass.TIMEOUT,
}


def read_answer(body: bytes) -> Completion:
    """
    Read an answer; see `TargetSide`.

    Raises:
        GatewayError: UPSTREAM_MALFORMED; it is none.
        InBandError: It is an error.
    """
    document = load_object(body)
    message = document.get("message")
    word = text(document.get("finish_reason"))
    if word in BROKEN:
        raise InBandError(BROKEN[word], broken(word, document.get("error")))
    if not isinstance(message, dict):
        error = unwrap(document)
        if error:
            raise InBandError(classify_error(0, error), message_of(error, 200))
        raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's answer holds no message.")
    parts = _parts(message)
    called = any(isinstance(part, ToolCallPart) for part in parts)
    finish = FINISHES.get(word, Finish.STOP)
    known = word in FINISHES or not word
    return Completion(
        id=text(document.get("id")),
        choices=[
            Choice(
                parts=parts,
                finish=Finish.TOOL_CALLS if called and finish is Finish.STOP else finish,
                logprobs=_all_logprobs(document.get("logprobs")),
            )
        ],
        usage=read_usage(document.get("usage")),
        billed=read_billed(document.get("usage")),
        warnings=() if known else (f"finish_reason={word[:40]}",),
    )


def broken(word: str, told: Any) -> str:
    """Say why an answer is not whole."""
    return text(told)[:4000] or f"The provider ended its answer with {word}."


def _parts(message: dict[str, Any]) -> list[AnswerPart]:
    parts: list[AnswerPart] = []
    if plan := text(message.get("tool_plan")):
        parts.append(ReasoningPart(text=plan))
    texts: dict[int, TextPart] = {}
    content = message.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    for index, block in enumerate(content if isinstance(content, list) else []):
        if not isinstance(block, dict):
            continue
        if thought := text(block.get("thinking")):
            parts.append(ReasoningPart(text=thought))
        elif said := text(block.get("text")):
            texts[index] = TextPart(text=said)
            parts.append(texts[index])
    citations = message.get("citations")
    for citation in citations if isinstance(citations, list) else []:
        _cite(citation, texts)
    calls = message.get("tool_calls")
    for number, call in enumerate(calls if isinstance(calls, list) else []):
        if (part := _call(call, number)) is not None:
            parts.append(part)
    return parts


def _call(call: Any, number: int) -> ToolCallPart | None:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(call, dict) or not isinstance(function, dict):
        return None
    name = text(function.get("name"))
    if not name:
        return None
    return ToolCallPart(
        id=text(call.get("id")) or f"{name}_{number}", name=name, arguments=text(function.get("arguments"))
    )


def _cite(citation: Any, texts: dict[int, TextPart]) -> None:
    found = read_citation(citation)
    if not found or not texts:
        return
    index = citation.get("content_index")
    part = texts.get(index) if isinstance(index, int) else None
    (part or next(iter(texts.values()))).citations.extend(found)


def read_citation(citation: Any) -> list[dict[str, Any]]:
    """
    Read a citation as entries of OpenAI's `annotations`, one for each source that has an address.

    OpenAI's shape has no place for sources that are documents of the request, or a tool's output.
    """
    if not isinstance(citation, dict) or text(citation.get("type")) not in {"", "TEXT_CONTENT"}:
        return []
    start, end, sources = citation.get("start"), citation.get("end"), citation.get("sources")
    if not isinstance(start, int) or not isinstance(end, int) or not isinstance(sources, list):
        return []
    found = []
    for source in sources:
        if not isinstance(source, dict):
            continue
        held = source.get("document" if source.get("type") == "document" else "tool_output")
        if isinstance(held, dict) and (url := text(held.get("url"))):
            cited = {"start_index": start, "end_index": end, "url": url, "title": text(held.get("title"))}
            found.append({"type": "url_citation", "url_citation": cited})
    return found


def _all_logprobs(items: Any) -> list[dict[str, Any]] | None:
    if not isinstance(items, list):
        return None
    return [entry for item in items for entry in read_logprobs(item)]


def read_logprobs(item: Any) -> list[dict[str, Any]]:
    """Read the probability of a piece of text, which may be several tokens, as an entry of OpenAI's."""
    if not isinstance(item, dict):
        return []
    piece, values = item.get("text"), item.get("logprobs")
    if not isinstance(piece, str) or not isinstance(values, list) or not values:
        return []
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return []
    total = math.fsum(values)
    return [{"token": piece, "logprob": total, "bytes": list(piece.encode()), "top_logprobs": []}]
