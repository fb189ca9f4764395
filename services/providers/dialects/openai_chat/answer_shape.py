"""
The pieces that whole answers and streamed ones have in common: usage, tool calls, thoughts, media.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.usage import UsageCounts

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import ReasoningPart

__all__ = ["ID_PREFIX", "image_entry", "logprobs_member", "thinking_block", "usage_member"]

ID_PREFIX: Final = "chatcmpl-"


def usage_member(counts: UsageCounts | None) -> dict[str, Any]:
    """Write usage as OpenAI's clients read it: every number there, none of them null."""
    counts = counts or UsageCounts()
    prompt, completion = counts.input_tokens or 0, counts.output_tokens or 0
    inputs = {
        "cached_tokens": counts.cache_read_tokens or 0,
        "cache_write_tokens": counts.cache_write_tokens or 0,
    }
    outputs = {"reasoning_tokens": counts.reasoning_tokens or 0}
    if counts.input_audio_tokens is not None:
        inputs["audio_tokens"] = counts.input_audio_tokens
    if counts.output_audio_tokens is not None:
        outputs["audio_tokens"] = counts.output_audio_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": inputs,
        "completion_tokens_details": outputs,
    }


def logprobs_member(entries: list[dict[str, Any]] | None) -> dict[str, Any] | None:
    """Write `logprobs` of a choice."""
    return None if entries is None else {"content": entries, "refusal": None}


def thinking_block(part: ReasoningPart) -> dict[str, str]:
    """Write an entry of `thinking_blocks`, as the request side takes it back."""
    if part.text or part.signature or not part.sealed:
        block = {"type": "thinking", "thinking": part.text, "signature": part.signature}
        if part.sealed:
            block["data"] = part.sealed
    else:
        block = {"type": "redacted_thinking", "data": part.sealed}
    if part.item_id:
        block["id"] = part.item_id
    if part.origin not in {"", "anthropic"}:
        block["origin"] = part.origin
    return block


def image_entry(url: str) -> dict[str, Any]:
    """Write an entry of a message's `images`, as OpenRouter has them."""
    return {"type": "image_url", "image_url": {"url": url}}
