"""
Writes whole answers as responses of generateContent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.providers.dialects.gemini.response_shape import (
    call_part,
    candidate_end,
    content_of,
    dump,
    grounding_member,
    logprobs_member,
    media_part,
    read_arguments,
    seal_of,
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

Json = dict[str, Any]


def write_answer(completion: Completion, context: AnswerContext) -> bytes:
    """Write a whole answer."""
    document = {
        "candidates": [_candidate(choice, context) for choice in completion.choices or [Choice()]],
        "usageMetadata": usage_member(completion.usage),
        "modelVersion": completion.model or context.model,
        "responseId": completion.id or context.answer_id,
    }
    return dump(document)


def _candidate(choice: Choice, context: AnswerContext) -> Json:
    parts: list[Json] = []
    broken = False
    for number, part in enumerate(choice.parts):
        if isinstance(part, ToolCallPart):
            arguments = read_arguments(part.arguments, custom=part.custom)
            broken = broken or arguments is None
            if arguments is not None:
                call_id = part.id or f"call_{context.answer_id}{number}"
                parts.append(call_part(call_id, part.name, arguments, part.signature))
        else:
            parts += _plain(part)
    citations = [entry for part in choice.parts if isinstance(part, TextPart) for entry in part.citations]
    return {
        "content": content_of(parts),
        **candidate_end(choice.finish, broken=broken),
        "index": choice.index,
        **grounding_member(citations),
        **logprobs_member(choice.logprobs),
    }


def _plain(part: AnswerPart) -> list[Json]:
    match part:
        case TextPart() | RefusalPart():
            return [{"text": part.text}] if part.text else []
        case ReasoningPart():
            seal = seal_of(part)
            thought = {"text": part.text, "thought": True}
            if seal:
                return [{**thought, "thoughtSignature": seal}]
            return [thought] if part.text else []
        case MediaPart():
            if part.data or part.url:
                return [media_part(part.media_type or f"{part.kind}/*", part.data, part.url)]
            return [{"text": part.text}] if part.text else []
        case _:
            return []
