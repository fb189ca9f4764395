"""
Writes whole answers as messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from kit.errors import GatewayError, Reason
from services.providers.dialects.anthropic.carried import carry_call
from services.providers.dialects.anthropic.citations import citation_of
from services.providers.dialects.anthropic.message_shape import (
    ID_PREFIX,
    image_text,
    message_head,
    read_input,
    reasoning_blocks,
    stop_reason,
    usage_member,
)
from services.providers.dialects.neutral.completion import Choice
from services.providers.dialects.neutral.conversation import (
    MediaPart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)

if TYPE_CHECKING:
    from services.providers.dialects.neutral.completion import AnswerPart, Completion
    from services.providers.dialects.neutral.sides import AnswerContext

__all__ = ["write_answer"]


def write_answer(completion: Completion, context: AnswerContext) -> bytes:
    """
    Write a whole answer. A message has one choice only, so others are not shown.

    Raises:
        GatewayError: UPSTREAM_MALFORMED when it holds what no JSON can.
    """
    choice = completion.choices[0] if completion.choices else Choice()
    document = message_head(completion.id or ID_PREFIX + context.answer_id, completion.model or context.model)
    document["content"] = [
        block for index, part in enumerate(choice.parts) for block in _blocks(part, index, context)
    ]
    reason = stop_reason(
        choice.finish,
        called=any(isinstance(part, ToolCallPart) for part in choice.parts),
        refused=any(isinstance(part, RefusalPart) for part in choice.parts),
        stop_sequence=choice.stop_sequence,
    )
    document["stop_reason"] = reason
    document["stop_sequence"] = choice.stop_sequence if reason == "stop_sequence" else None
    document["usage"] = usage_member(completion.usage, completion.service_tier)
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:
        raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's answer cannot be written.") from None


def _blocks(part: AnswerPart, index: int, context: AnswerContext) -> list[dict[str, Any]]:
    match part:
        case ReasoningPart():
            return reasoning_blocks(part)
        case TextPart():
            return _text(part.text, part.citations)
        case RefusalPart():
            return _text(part.text, [])
        case ToolCallPart():
            return [_tool_use(part, index, context)]
        case MediaPart():
            kind = part.media_type or f"{part.kind}/*"
            return _text(part.text or image_text(kind.replace("image/*", ""), part.data, part.url), [])


def _text(text: str, citations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = [citation for entry in citations if (citation := citation_of(entry)) is not None]
    return [{"type": "text", "text": text, "citations": found or None}] if text or found else []


def _tool_use(call: ToolCallPart, index: int, context: AnswerContext) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": carry_call(call.id or f"toolu_{context.answer_id}{index}", call.signature),
        "name": call.name,
        "input": read_input(call.arguments, custom=call.custom),
    }
