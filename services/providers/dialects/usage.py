"""
Token counts as the providers report them, brought to one shape.

Mirrors `headrace.common.v1.Usage`: None means "not known", never zero, and totals include their parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# English prose and JSON run at about four bytes a token in every tokenizer in use.
BYTES_PER_TOKEN = 4
# The fields that counts are kept in have 64 bits, one of them for a sign.
_MOST = (1 << 63) - 1


@dataclass(slots=True, kw_only=True)  # made for each request; freezing would cost most of it
class UsageCounts:
    """
    What one answer used, in tokens.

    Attributes:
        input_tokens: Input, cached and cache-written tokens included.
        output_tokens: Output, reasoning included.
        cache_read_tokens: Part of the input that came from the provider's prompt cache.
        cache_write_tokens: Part of the input that was written to it, whatever the lifetime.
        cache_write_1h_tokens: Part of the written tokens with a one-hour lifetime.
        reasoning_tokens: Part of the output that was reasoning.
        input_audio_tokens: Part of the input that was audio.
        output_audio_tokens: Part of the output that was audio.
        input_image_tokens: Part of the input that was images.
        output_image_tokens: Part of the output that was images.
        estimated: Some count was estimated, since the provider did not report it.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None
    input_image_tokens: int | None = None
    output_image_tokens: int | None = None
    estimated: bool = False


def _count(source: Any, name: str) -> int | None:
    """Read one count; whatever is not a whole number of tokens is unknown."""
    if not isinstance(source, dict):
        return None
    value = source.get(name)
    # Not `isinstance`: true and false are whole numbers to Python.
    return value if type(value) is int and 0 <= value <= _MOST else None


def _bounded(value: int) -> int | None:
    return value if 0 <= value <= _MOST else None


def read_openai_usage(usage: Mapping[str, Any]) -> UsageCounts:
    """Read a `usage` object of chat completions, responses or embeddings."""
    if "prompt_tokens" in usage or "completion_tokens" in usage:
        input_name, output_name = "prompt_tokens", "completion_tokens"
    else:
        input_name, output_name = "input_tokens", "output_tokens"
    input_tokens = _count(usage, input_name)
    output_tokens = _count(usage, output_name)
    total = _count(usage, "total_tokens")
    if not output_tokens and total is not None and input_tokens is not None and total >= input_tokens:
        # Embeddings report a total and no output; some hosts leave the output out of chat answers as well, or
        # say that it was none, as Google's compatible API does of an answer that was thought alone.
        output_tokens = total - input_tokens
    inputs = usage.get(input_name + "_details")
    outputs = usage.get(output_name + "_details")
    thought = _count(outputs, "reasoning_tokens")
    if thought and total is not None and total == (input_tokens or 0) + (output_tokens or 0) + thought:
        # xAI counts thoughts beside the output, everybody else within it.
        output_tokens = (output_tokens or 0) + thought
    return UsageCounts(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=_count(inputs, "cached_tokens"),
        cache_write_tokens=_count(inputs, "cache_write_tokens"),
        reasoning_tokens=thought,
        input_audio_tokens=_count(inputs, "audio_tokens"),
        output_audio_tokens=_count(outputs, "audio_tokens"),
        input_image_tokens=_count(inputs, "image_tokens"),
        output_image_tokens=_count(outputs, "image_tokens"),
    )


def read_anthropic_usage(usage: Mapping[str, Any]) -> UsageCounts:
    """
    Read a `usage` object of Anthropic messages.

    Anthropic's `input_tokens` leaves cached tokens out, so they are added here.
    """
    plain = _count(usage, "input_tokens")
    read = _count(usage, "cache_read_input_tokens")
    creation = usage.get("cache_creation")
    one_hour = _count(creation, "ephemeral_1h_input_tokens")
    five_minutes = _count(creation, "ephemeral_5m_input_tokens")
    written = _count(usage, "cache_creation_input_tokens")
    if written is None and (one_hour is not None or five_minutes is not None):
        written = _bounded((one_hour or 0) + (five_minutes or 0))
    return UsageCounts(
        input_tokens=None if plain is None else _bounded(plain + (read or 0) + (written or 0)),
        output_tokens=_count(usage, "output_tokens"),
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=one_hour,
        reasoning_tokens=_count(usage.get("output_tokens_details"), "thinking_tokens"),
    )


def read_converse_usage(usage: Mapping[str, Any]) -> UsageCounts:
    """
    Read a `usage` object of Bedrock's Converse.

    Its `inputTokens` leave cached tokens out, so they are added here.
    """
    plain = _count(usage, "inputTokens")
    read = _count(usage, "cacheReadInputTokens")
    written = _count(usage, "cacheWriteInputTokens")
    details = usage.get("cacheDetails")
    one_hour = [
        tokens
        for entry in (details if isinstance(details, list) else [])
        if isinstance(entry, dict) and entry.get("ttl") == "1h"
        if (tokens := _count(entry, "inputTokens")) is not None
    ]
    return UsageCounts(
        input_tokens=None if plain is None else _bounded(plain + (read or 0) + (written or 0)),
        output_tokens=_count(usage, "outputTokens"),
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=_bounded(sum(one_hour)) if one_hour else None,
    )


def read_gemini_usage(usage: Mapping[str, Any]) -> UsageCounts:
    """
    Read a `usageMetadata` object of Gemini.

    Its prompt includes what came from the cache and leaves out what tools that Google runs added; its output
    leaves out thoughts, but for some models, whose total tells.
    """
    prompt, tools = _count(usage, "promptTokenCount"), _count(usage, "toolUsePromptTokenCount")
    thoughts, total = _count(usage, "thoughtsTokenCount"), _count(usage, "totalTokenCount")
    output = _count(usage, "candidatesTokenCount")
    given = None if prompt is None else _bounded(prompt + (tools or 0))
    if output is not None and not (given is not None and total == given + output):
        output = _bounded(output + (thoughts or 0))
    elif output is None and total is not None and given is not None and total >= given:
        output = total - given
    elif output is None:
        output = thoughts
    return UsageCounts(
        input_tokens=given,
        output_tokens=output,
        cache_read_tokens=_count(usage, "cachedContentTokenCount"),
        reasoning_tokens=thoughts,
        input_audio_tokens=_of_kind(usage.get("promptTokensDetails"), "AUDIO") or None,
        output_audio_tokens=_of_kind(usage.get("candidatesTokensDetails"), "AUDIO") or None,
        input_image_tokens=_of_kind(usage.get("promptTokensDetails"), "IMAGE") or None,
        # None at all is worth knowing: what is not said may be dear.
        output_image_tokens=_of_kind(usage.get("candidatesTokensDetails"), "IMAGE"),
    )


def _of_kind(details: Any, modality: str) -> int | None:
    """Read how many of Gemini's tokens were of a kind; None: it does not tell kinds apart."""
    counts = [
        tokens if entry.get("modality") == modality else 0
        for entry in (details if isinstance(details, list) else [])
        if isinstance(entry, dict) and (tokens := _count(entry, "tokenCount")) is not None
    ]
    return _bounded(sum(counts)) if counts else None


def merge_report(earlier: dict[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """
    Lay a later usage report over an earlier one of the same answer.

    Reports are cumulative: a later number replaces the earlier one, and a number that the later report does
    not give stays as it was.
    """
    return {**earlier, **{name: value for name, value in later.items() if value is not None}}


def estimate(known: UsageCounts | None, *, request_bytes: int, content_events: int) -> UsageCounts:
    """
    Fill in what a stream that was cut did not report.

    Args:
        known: What the provider did report before the cut.
        request_bytes: Length of the request body, a stand-in for the input.
        content_events: Events with content that arrived; providers send about one token in each.
    """
    known = known or UsageCounts()
    input_tokens, output_tokens = known.input_tokens, known.output_tokens
    if input_tokens is None:
        input_tokens = -(-request_bytes // BYTES_PER_TOKEN)
    # A count from before the cut is a floor: Anthropic reports a first output count with the start.
    if output_tokens is None or output_tokens < content_events:
        output_tokens = content_events
    return UsageCounts(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=known.cache_read_tokens,
        cache_write_tokens=known.cache_write_tokens,
        cache_write_1h_tokens=known.cache_write_1h_tokens,
        reasoning_tokens=known.reasoning_tokens,
        input_audio_tokens=known.input_audio_tokens,
        output_audio_tokens=known.output_audio_tokens,
        input_image_tokens=known.input_image_tokens,
        output_image_tokens=known.output_image_tokens,
        estimated=True,
    )
