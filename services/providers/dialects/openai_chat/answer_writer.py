"""
Writes whole answers as chat completions.

Thoughts go into `reasoning_content`, and with their signatures into `thinking_blocks`, which the request side
takes back when the client replays the message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from kit.errors import GatewayError, Reason
from services.providers.dialects.neutral.conversation import (
    MediaPart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from services.providers.dialects.openai_chat.answer_shape import (
    ID_PREFIX,
    image_entry,
    logprobs_member,
    thinking_block,
    usage_member,
)

if TYPE_CHECKING:
    from services.providers.dialects.neutral.completion import AnswerPart, Choice, Completion
    from services.providers.dialects.neutral.sides import AnswerContext

__all__ = ["write_answer"]


def write_answer(completion: Completion, context: AnswerContext) -> bytes:
    """
    Write a whole answer.

    Raises:
        GatewayError: UPSTREAM_MALFORMED when it holds what no JSON can.
    """
    document: dict[str, Any] = {
        "id": completion.id or ID_PREFIX + context.answer_id,
        "object": "chat.completion",
        "created": context.created_s,
        "model": completion.model or context.model,
        "system_fingerprint": None,
        "choices": [_choice(choice, context) for choice in completion.choices],
        "usage": usage_member(completion.usage),
    }
    if completion.service_tier:
        document["service_tier"] = completion.service_tier
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:
        raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's answer cannot be written.") from None


def _choice(choice: Choice, context: AnswerContext) -> dict[str, Any]:
    return {
        "index": choice.index,
        "message": _message(choice.parts, context),
        "logprobs": logprobs_member(choice.logprobs),
        "finish_reason": choice.finish.value,
    }


def _message(parts: list[AnswerPart], context: AnswerContext) -> dict[str, Any]:
    text = "".join(part.text for part in parts if isinstance(part, TextPart))
    refusal = "".join(part.text for part in parts if isinstance(part, RefusalPart))
    calls = [part for part in parts if isinstance(part, ToolCallPart)]
    message: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": refusal or None}
    if not text and not calls and not refusal:
        message["content"] = ""
    message.update(_reasoning([part for part in parts if isinstance(part, ReasoningPart)]))
    citations = [entry for part in parts if isinstance(part, TextPart) for entry in part.citations]
    if citations:
        message["annotations"] = citations
    message.update(_media([part for part in parts if isinstance(part, MediaPart)], context))
    if calls:
        message["tool_calls"] = [_tool_call(call, index, context) for index, call in enumerate(calls)]
    return message


def _reasoning(parts: list[ReasoningPart]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    text = "".join(part.text for part in parts)
    if text:
        found["reasoning_content"] = text
    blocks = [thinking_block(part) for part in parts if part.signature or part.sealed]
    if blocks:
        found["thinking_blocks"] = blocks
    return found


def _media(parts: list[MediaPart], context: AnswerContext) -> dict[str, Any]:
    """Write images as OpenRouter does, and sound as OpenAI does."""
    found: dict[str, Any] = {}
    images = [
        image_entry(part.url or f"data:{part.media_type or 'image/png'};base64,{part.data}")
        for part in parts
        if part.kind == "image"
    ]
    sounds = [part for part in parts if part.kind == "audio" and part.data]
    if images:
        found["images"] = images
    if sounds:
        found["audio"] = {
            "id": f"audio_{context.answer_id}",
            "data": sounds[0].data,
            "expires_at": context.created_s,
            "transcript": sounds[0].text,
        }
    return found


def _tool_call(call: ToolCallPart, index: int, context: AnswerContext) -> dict[str, Any]:
    written: dict[str, Any] = {"id": call.id or f"call_{context.answer_id}{index}"}
    if call.custom:
        written |= {"type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    else:
        function = {"name": call.name, "arguments": call.arguments or "{}"}
        written |= {"type": "function", "function": function}
    if call.signature:
        written["extra_content"] = {"google": {"thought_signature": call.signature}}
    return written
