"""
The pieces that whole responses and streamed ones have in common: parts, candidates, usage.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final

import orjson

from services.providers.dialects.answer import text
from services.providers.dialects.gemini.signatures import carried, decode_base64
from services.providers.dialects.neutral.completion import Finish
from services.providers.dialects.usage import UsageCounts

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import ReasoningPart
    from services.providers.dialects.neutral.events import ReasoningClosed

__all__ = [
    "call_part",
    "candidate_end",
    "content_of",
    "dump",
    "grounding_member",
    "logprobs_member",
    "media_part",
    "read_arguments",
    "seal_of",
    "usage_member",
]

Json = dict[str, Any]

_REASONS: Final = {
    Finish.STOP: "STOP",
    Finish.TOOL_CALLS: "STOP",
    Finish.LENGTH: "MAX_TOKENS",
    Finish.CONTENT_FILTER: "SAFETY",
}


def dump(document: Json) -> bytes:
    """Write a document; halves of surrogate pairs, which no JSON in UTF-8 can hold, are replaced."""
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:
        return orjson.dumps(_cleaned(document))


def content_of(parts: list[Json]) -> Json:
    """Write the content of a candidate; where there is none, a part without text, as Google does."""
    return {"parts": parts or [{"text": ""}], "role": "model"}


def seal_of(part: ReasoningPart | ReasoningClosed) -> str:
    """Write a signature or seal as clients can give it back; empty: there is none."""
    return _as_bytes(carried(part))


def media_part(media_type: str, data: str, uri: str = "") -> Json:
    """Write media that the model made."""
    if uri and not data:
        return {"fileData": {"mimeType": media_type, "fileUri": uri}}
    return {"inlineData": {"mimeType": media_type, "data": data}}


def read_arguments(arguments: str, *, custom: bool) -> Json | None:
    """Read the arguments of a call; None when they are no object, so that there is no call to show."""
    if custom:
        return {"input": arguments}
    if not arguments.strip():
        return {}
    try:
        found = orjson.loads(arguments)
        orjson.dumps(found)  # what nests too deeply can be read but not written
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None
    return found if isinstance(found, dict) else None


def call_part(call_id: str, name: str, arguments: Json, signature: str) -> Json:
    """Write a call."""
    part: Json = {"functionCall": {"id": call_id, "name": name, "args": arguments}}
    if seal := _as_bytes(signature):
        part["thoughtSignature"] = seal
    return part


def _as_bytes(signature: str) -> str:
    """Write a signature as its bytes are written here, which Google's client is strict about; empty: none."""
    found = decode_base64(signature)
    return b64encode(found).decode() if found else ""


def candidate_end(finish: Finish, *, broken: bool) -> Json:
    """
    Write why a candidate stopped.

    Args:
        finish: What the provider says.
        broken: A call was left out since its arguments are no object. Where the answer met its limit of
            tokens that is why, and all that there is to say.
    """
    if broken and finish is not Finish.LENGTH:
        return {
            "finishReason": "MALFORMED_FUNCTION_CALL",
            "finishMessage": "The model called a function with arguments that are not a JSON object.",
        }
    return {"finishReason": _REASONS[finish]}


def usage_member(counts: UsageCounts | None) -> Json:
    """Write usage: thoughts beside the candidates' tokens, and cached ones within the prompt's."""
    counts = counts or UsageCounts()
    given, output = counts.input_tokens or 0, counts.output_tokens or 0
    thoughts = counts.reasoning_tokens
    usage: Json = {
        "promptTokenCount": given,
        "candidatesTokenCount": max(0, output - (thoughts or 0)),
        "totalTokenCount": given + output,
    }
    if thoughts is not None:
        usage["thoughtsTokenCount"] = min(thoughts, output)
    if counts.cache_read_tokens is not None:
        usage["cachedContentTokenCount"] = counts.cache_read_tokens
    if counts.input_audio_tokens is not None:
        usage["promptTokensDetails"] = _by_modality(given, counts.input_audio_tokens)
    if counts.output_audio_tokens is not None:
        usage["candidatesTokensDetails"] = _by_modality(
            usage["candidatesTokenCount"], counts.output_audio_tokens
        )
    return usage


def _by_modality(total: int, audio: int) -> list[Json]:
    counts = {"TEXT": max(0, total - audio), "AUDIO": audio}
    return [{"modality": name, "tokenCount": count} for name, count in counts.items() if count]


def grounding_member(citations: list[Json]) -> Json:
    """Write the sources of an answer on the web; empty: there are none."""
    chunks = []
    for citation in citations:
        inner = citation.get("url_citation")
        source = inner if isinstance(inner, dict) else citation
        if text(source.get("url")):
            chunks.append({"web": {"uri": source["url"], "title": text(source.get("title"))}})
    return {"groundingMetadata": {"groundingChunks": chunks}} if chunks else {}


def logprobs_member(entries: list[Json] | None) -> Json:
    """Write log probabilities; empty: there are none."""
    chosen: list[Json] = []
    tops: list[Json] = []
    for entry in entries or ():
        one = _logprob(entry)
        if one is not None:
            chosen.append(one)
            others = entry.get("top_logprobs")
            found = [_logprob(other) for other in (others if isinstance(others, list) else [])]
            tops.append({"candidates": [other for other in found if other is not None]})
    if not chosen:
        return {}
    return {"logprobsResult": {"chosenCandidates": chosen, "topCandidates": tops}}


def _logprob(entry: Any) -> Json | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("token"), str):
        return None
    value = entry.get("logprob")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return {"token": entry["token"], "logProbability": value}


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_cleaned(name): _cleaned(item) for name, item in value.items()}
    return [_cleaned(item) for item in value] if isinstance(value, list) else value
