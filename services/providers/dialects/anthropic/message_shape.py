"""
The pieces that whole messages and streamed ones have in common: usage, reason to stop, thoughts, images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from services.providers.dialects.anthropic.carried import carry_seal
from services.providers.dialects.neutral.completion import Finish
from services.providers.dialects.neutral.free_text import dump_free_text
from services.providers.dialects.usage import UsageCounts

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import ReasoningPart

__all__ = [
    "ID_PREFIX",
    "delta_usage_member",
    "image_text",
    "message_head",
    "read_input",
    "reasoning_blocks",
    "stop_reason",
    "usage_member",
]

ID_PREFIX: Final = "msg_"

Json = dict[str, Any]

_REASONS: Final = {
    Finish.STOP: "end_turn",
    Finish.LENGTH: "max_tokens",
    Finish.TOOL_CALLS: "tool_use",
    Finish.CONTENT_FILTER: "refusal",
}
# Names of tiers that others have for Anthropic's; what it has no word for is left out.
_TIERS: Final = {"default": "standard", "standard": "standard", "priority": "priority", "batch": "batch"}


def message_head(message_id: str, model: str) -> Json:
    """Write the members that a message has from its beginning."""
    return {"id": message_id, "type": "message", "role": "assistant", "model": model}


def delta_usage_member(counts: UsageCounts | None) -> Json:
    """Write usage as the end of a stream tells it: input without what came from the cache or went into it."""
    counts = counts or UsageCounts()
    read, written = counts.cache_read_tokens or 0, counts.cache_write_tokens or 0
    usage: Json = {
        "input_tokens": max(0, (counts.input_tokens or 0) - read - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": counts.output_tokens or 0,
    }
    if counts.reasoning_tokens is not None:
        usage["output_tokens_details"] = {"thinking_tokens": counts.reasoning_tokens}
    return usage


def usage_member(counts: UsageCounts | None, service_tier: str) -> Json:
    """Write usage of a message: every number there, none of them null."""
    usage = delta_usage_member(counts)
    written = usage["cache_creation_input_tokens"]
    one_hour = min(written, (counts.cache_write_1h_tokens if counts else None) or 0)
    usage["cache_creation"] = {
        "ephemeral_5m_input_tokens": written - one_hour,
        "ephemeral_1h_input_tokens": one_hour,
    }
    if service_tier in _TIERS:
        usage["service_tier"] = _TIERS[service_tier]
    return usage


def stop_reason(finish: Finish, *, called: bool, refused: bool, stop_sequence: str) -> str:
    """
    Name why a message stopped.

    Clients run tools when, and only when, they read `tool_use`, so that what was called counts for more than
    what the provider says of it.

    Args:
        finish: What the provider says.
        called: The message holds a call.
        refused: The message holds words of refusal.
        stop_sequence: The one that was met.
    """
    if finish in {Finish.STOP, Finish.TOOL_CALLS}:
        if called:
            return "tool_use"
        if refused:
            return "refusal"
        return "stop_sequence" if stop_sequence else "end_turn"
    return _REASONS[finish]


def reasoning_blocks(part: ReasoningPart) -> list[Json]:
    """Write thoughts: as a block that can be read, with their signature, or as a sealed one."""
    signed = bool(part.signature or part.sealed)
    if part.sealed and not part.text and not part.signature:
        return [{"type": "redacted_thinking", "data": carry_seal(part)}]
    if not part.text and not signed:
        return []
    return [{"type": "thinking", "thinking": part.text, "signature": carry_seal(part) if signed else ""}]


def image_text(media_type: str, data: str, url: str = "") -> str:
    """Write an image, for which messages have no block in answers, as Markdown. Empty: it is none."""
    if media_type.partition("/")[0] not in {"", "image"}:
        return ""
    url = url or f"data:{media_type or 'image/png'};base64,{data}"
    return f"![image]({url})"


def read_input(arguments: str, *, custom: bool) -> Json:
    """Read a call's arguments; what is no object becomes an empty one: the tool will say what it misses."""
    if custom:
        arguments = dump_free_text(arguments)
    try:
        found = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        found = None
    return found if isinstance(found, dict) else {}
