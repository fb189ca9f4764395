"""
What whole and streamed answers have in common: why a candidate stopped, and the entries beside its parts.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import orjson

from services.providers.dialects.answer import text
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.neutral.completion import Finish

__all__ = [
    "FINISHES",
    "broken_finish",
    "call_id",
    "candidates_of",
    "citations_of",
    "finish_of",
    "index_of",
    "is_blocked",
    "logprobs_of",
    "parts_of",
    "read_call",
    "reason_of",
]

Json = dict[str, Any]

FINISHES: Final = {
    "STOP": Finish.STOP,
    "MAX_TOKENS": Finish.LENGTH,
    "TOO_MANY_TOOL_CALLS": Finish.LENGTH,
    "SAFETY": Finish.CONTENT_FILTER,
    "RECITATION": Finish.CONTENT_FILTER,
    "LANGUAGE": Finish.CONTENT_FILTER,
    "BLOCKLIST": Finish.CONTENT_FILTER,
    "PROHIBITED_CONTENT": Finish.CONTENT_FILTER,
    "SPII": Finish.CONTENT_FILTER,
    "MODEL_ARMOR": Finish.CONTENT_FILTER,
    "ESCALATION": Finish.CONTENT_FILTER,
    "IMAGE_SAFETY": Finish.CONTENT_FILTER,
    "IMAGE_PROHIBITED_CONTENT": Finish.CONTENT_FILTER,
    "IMAGE_RECITATION": Finish.CONTENT_FILTER,
}
# Not an end of the answer but the lack of one.
_BROKEN: Final = {
    "MALFORMED_FUNCTION_CALL": (FailureClass.SERVER, "The model's tool call cannot be read."),
    "MALFORMED_RESPONSE": (FailureClass.SERVER, "The model's answer cannot be read."),
    "UNEXPECTED_TOOL_CALL": (FailureClass.SERVER, "The model called a tool that it was not given."),
    "MISSING_THOUGHT_SIGNATURE": (
        FailureClass.INVALID_REQUEST,
        "A tool call in the conversation lacks the signature of the thoughts that led to it.",
    ),
    "PUP_LIMITED_DISABLED": (FailureClass.AUTHENTICATION, "The provider has limited this account."),
}
_UNSPECIFIED: Final = "FINISH_REASON_UNSPECIFIED"
_ID_DIGITS: Final = 24


def candidates_of(document: Json) -> list[Json]:
    """Return the candidates that are any."""
    candidates = document.get("candidates")
    return [one for one in candidates if isinstance(one, dict)] if isinstance(candidates, list) else []


def parts_of(candidate: Json) -> list[Json]:
    """Return the parts of a candidate, which may have no content at all."""
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def index_of(candidate: Json) -> int:
    """Return which of the answers a candidate is; the first one's index is left out."""
    index = candidate.get("index")
    return index if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < 1 << 16 else 0


def is_blocked(document: Json) -> bool:
    """Tell whether the prompt was refused, so that there are no candidates."""
    feedback = document.get("promptFeedback")
    return isinstance(feedback, dict) and bool(text(feedback.get("blockReason")))


def reason_of(candidate: Json) -> str:
    """Return the word for why a candidate stopped; empty: it has not."""
    reason = text(candidate.get("finishReason"))
    return "" if reason == _UNSPECIFIED else reason


def broken_finish(candidate: Json) -> tuple[FailureClass, str] | None:
    """Return class and message when a candidate stopped in a way that leaves no answer."""
    found = _BROKEN.get(text(candidate.get("finishReason")))
    if found is None:
        return None
    failure_class, message = found
    return failure_class, text(candidate.get("finishMessage"))[:1000] or message


def finish_of(reason: str, warnings: list[str], *, calls: bool) -> Finish:
    """
    Read why a candidate stopped.

    Args:
        reason: Google's word; empty: it did not say.
        warnings: Of a word that is not known, which counts as a normal end.
        calls: It calls tools, which Google has no word for.
    """
    finish = FINISHES.get(reason)
    if finish is None:
        warnings.append(f"finish reason {reason[:40]!r} is not known")
        finish = Finish.STOP
    return Finish.TOOL_CALLS if calls and finish is Finish.STOP else finish


def read_call(call: Json) -> tuple[str, str] | None:
    """Return the name and, as JSON, the arguments of a call; None when no client could follow it."""
    name, arguments = text(call.get("name")), call.get("args")
    if not name:
        return None
    try:
        return name, orjson.dumps(arguments).decode() if isinstance(arguments, dict) else "{}"
    except orjson.JSONEncodeError:  # nested deeper than can be written
        return None


def call_id(call: Json, response_id: str, choice: int, index: int) -> str:
    """Return a call's id, or one made up: the same for the same answer, and another for each call."""
    given = text(call.get("id"))
    if given:
        return given
    name, arguments = read_call(call) or ("", "")
    seed = "\0".join((response_id, str(choice), str(index), name, arguments))
    return f"call_{hashlib.sha256(seed.encode()).hexdigest()[:_ID_DIGITS]}"


def citations_of(candidate: Json) -> list[Json]:
    """Return the sources of a candidate on the web, each once, in the shape of OpenAI's annotations."""
    if "groundingMetadata" not in candidate and "citationMetadata" not in candidate:
        return []
    found: dict[str, Json] = {}
    for source in _sources(candidate):
        url = text(source.get("uri"))
        if url and url not in found:
            cited = {"url": url, "title": text(source.get("title"))}
            found[url] = {"type": "url_citation", "url_citation": cited}
    return list(found.values())


def _sources(candidate: Json) -> list[Json]:
    grounding, cited = candidate.get("groundingMetadata"), candidate.get("citationMetadata")
    sources: list[Any] = []
    if isinstance(grounding, dict) and isinstance(grounding.get("groundingChunks"), list):
        sources += [chunk.get("web") for chunk in grounding["groundingChunks"] if isinstance(chunk, dict)]
    if isinstance(cited, dict):
        for name in ("citationSources", "citations"):  # AI Studio's name, Vertex AI's
            entries = cited.get(name)
            sources += entries if isinstance(entries, list) else []
    return [source for source in sources if isinstance(source, dict)]


def logprobs_of(candidate: Json) -> list[Json] | None:
    """Return the probabilities of a candidate's tokens as entries of OpenAI's `logprobs.content`."""
    result = candidate.get("logprobsResult")
    chosen = result.get("chosenCandidates") if isinstance(result, dict) else None
    if not isinstance(result, dict) or not isinstance(chosen, list) or not chosen:
        return None
    tops = result.get("topCandidates")
    tops = tops if isinstance(tops, list) else []
    entries: list[Json] = []
    for index, token in enumerate(chosen):
        entry = _logprob(token)
        if entry is not None:
            top = (
                tops[index].get("candidates") if index < len(tops) and isinstance(tops[index], dict) else None
            )
            others = [_logprob(other) for other in (top if isinstance(top, list) else [])]
            entries.append({**entry, "top_logprobs": [other for other in others if other is not None]})
    return entries or None


def _logprob(token: Any) -> Json | None:
    if not isinstance(token, dict) or not isinstance(token.get("token"), str):
        return None
    value = token.get("logProbability")
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else -9999.0
    return {"token": token["token"], "logprob": number, "bytes": list(token["token"].encode())}
