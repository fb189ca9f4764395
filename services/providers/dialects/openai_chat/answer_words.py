"""
What hosts of chat completions say in answers, brought to the words of the model in the middle: why a model
stopped, what was used, sources, sound and images.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from services.providers.dialects.answer import text
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.neutral.completion import Finish
from services.providers.dialects.neutral.conversation import MediaPart
from services.providers.dialects.usage import read_openai_usage

if TYPE_CHECKING:
    from services.providers.dialects.usage import UsageCounts

__all__ = [
    "BROKEN",
    "FINISHES",
    "arguments_text",
    "broken",
    "made_up_id",
    "read_annotations",
    "read_image",
    "read_logprobs",
    "read_sources",
    "read_usage",
    "usable_id",
]

Json = dict[str, Any]
# In lower case: hosts do not agree on that either.
FINISHES: Final = {
    "stop": Finish.STOP,
    "eos": Finish.STOP,
    "eos_token": Finish.STOP,
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP,
    "pause_turn": Finish.STOP,
    "complete": Finish.STOP,
    "completed": Finish.STOP,
    "done": Finish.STOP,
    "length": Finish.LENGTH,
    "max_tokens": Finish.LENGTH,
    "model_length": Finish.LENGTH,
    "max_output_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
    "tool_calls": Finish.TOOL_CALLS,
    "tool_call": Finish.TOOL_CALLS,
    "tool_use": Finish.TOOL_CALLS,
    "function_call": Finish.TOOL_CALLS,
    "content_filter": Finish.CONTENT_FILTER,
    "safety": Finish.CONTENT_FILTER,
    "refusal": Finish.CONTENT_FILTER,
    "recitation": Finish.CONTENT_FILTER,
    "prohibited_content": Finish.CONTENT_FILTER,
}
# Ends that are none: the answer is not whole.
BROKEN: Final = {
    "error": FailureClass.SERVER,
    "insufficient_system_resource": FailureClass.SERVER,
    "abort": FailureClass.SERVER,
    "cancelled": FailureClass.SERVER,
    "timeout": FailureClass.TIMEOUT,
}
# What hosts write where a call has no id.
_NO_IDS: Final = ("", "null", "None")


def broken(word: str) -> str:
    """Say why an answer is not whole."""
    return f"The provider ended its answer with {word}."


def read_usage(document: Json) -> UsageCounts | None:
    """Read what was used, wherever a host reports it."""
    usage = document.get("usage")
    if not isinstance(usage, dict):
        groq = document.get("x_groq")
        usage = groq.get("usage") if isinstance(groq, dict) else None
    if not isinstance(usage, dict):
        return None
    counts = read_openai_usage(usage)
    if counts.cache_read_tokens is None:
        for name in ("prompt_cache_hit_tokens", "cached_tokens"):
            if (cached := _count(usage.get(name))) is not None:
                counts = replace(counts, cache_read_tokens=cached)
                break
    if counts.reasoning_tokens is None and (thought := _count(usage.get("reasoning_tokens"))) is not None:
        counts = replace(counts, reasoning_tokens=thought)
    return counts


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < 1 << 63 else None


def usable_id(value: Any) -> str:
    """Take the id of a call; empty when it has none worth the name."""
    given = text(value)
    return "" if given in _NO_IDS else given


def made_up_id(answer_id: str, choice: int, index: int) -> str:
    """Make an id for a call that has none: the same however the answer is split, another in every answer."""
    digest = hashlib.sha256(f"{answer_id}/{choice}/{index}".encode("utf-8", "surrogatepass"))
    return f"call_{digest.hexdigest()[:24]}"


def arguments_text(value: Any) -> str:
    """Take arguments as text; some hosts give the object itself."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return ""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return ""


def read_annotations(value: Any) -> list[Json]:
    """Take the entries of `annotations`."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def read_sources(document: Json) -> list[Json]:
    """Read the sources that Perplexity and xAI name beside the choices, as entries of `annotations`."""
    for name in ("search_results", "citations"):
        listed = document.get(name)
        if not isinstance(listed, list):
            continue
        found = [source for entry in listed if (source := _source(entry)) is not None]
        if found:
            return found
    return []


def _source(entry: Any) -> Json | None:
    url = text(entry.get("url")) if isinstance(entry, dict) else text(entry)
    if not url:
        return None
    title = text(entry.get("title")) if isinstance(entry, dict) else ""
    cited = {"start_index": 0, "end_index": 0, "url": url, "title": title}
    return {"type": "url_citation", "url_citation": cited}


def read_logprobs(value: Any) -> list[Json] | None:
    """Read `logprobs` of a choice; None: there are none."""
    entries = value.get("content") if isinstance(value, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else None


def read_image(entry: Any) -> MediaPart | None:
    """Read an entry of `images`."""
    source = entry.get("image_url") if isinstance(entry, dict) else None
    url = text(source.get("url")) if isinstance(source, dict) else text(source)
    if not url:
        return None
    if url[:5].lower() != "data:":
        return MediaPart(kind="image", url=url)
    head, _, data = url[5:].partition(",")
    return MediaPart(kind="image", media_type=head.partition(";")[0], data=data) if data else None
