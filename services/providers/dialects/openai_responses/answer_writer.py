"""
Writes a whole answer as a response.
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
from services.providers.dialects.openai_responses.citations import flat_citation, flat_logprobs
from services.providers.dialects.openai_responses.response_object import (
    CAN_BE_CUT,
    ResponseMaker,
    custom_input,
    incomplete_reason,
)
from services.providers.dialects.openai_responses.seals import Seal

if TYPE_CHECKING:
    from services.providers.dialects.neutral.completion import Choice, Completion
    from services.providers.dialects.neutral.sides import AnswerContext

__all__ = ["write_answer"]


def write_answer(completion: Completion, context: AnswerContext) -> bytes:
    """
    Write a whole answer. A response has one choice only, so others are not shown.

    Raises:
        GatewayError: UPSTREAM_MALFORMED when it holds what no JSON can.
    """
    maker = ResponseMaker(context, upstream_id=completion.id, model=completion.model)
    choice = completion.choices[0] if completion.choices else None
    incomplete = ""
    if choice is not None:
        refused = any(isinstance(part, RefusalPart) for part in choice.parts)
        incomplete = incomplete_reason(choice.finish, refused=refused)
    status = "incomplete" if incomplete else "completed"
    response = maker.response(
        status,
        _output(choice, maker, status) if choice is not None else [],
        usage=completion.usage,
        service_tier=completion.service_tier,
        incomplete=incomplete,
    )
    try:
        return orjson.dumps(response)
    except orjson.JSONEncodeError:
        raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's answer cannot be written.") from None


def _output(choice: Choice, maker: ResponseMaker, status: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    logprobs = flat_logprobs(choice.logprobs)
    for part in choice.parts:
        match part:
            case TextPart() if part.text or part.citations:
                _content(items, maker).append(_text(part, logprobs))
                logprobs = []
            case RefusalPart() if part.text:
                _content(items, maker).append({"type": "refusal", "refusal": part.text})
            case ReasoningPart() if part.text or part.signature or part.sealed:
                seal = Seal(signature=part.signature, sealed=part.sealed, origin=part.origin)
                items.append(maker.reasoning(maker.reasoning_id(part.item_id), part.text, seal))
            case ToolCallPart():
                _call(items, maker, part)
            case MediaPart(kind="image", data=data) if data:
                items.append(maker.image(maker.item_id("ig"), part.media_type, data))
            case _:
                pass  # a response has no place for other media
    if items and items[-1]["type"] in CAN_BE_CUT:
        items[-1]["status"] = status
    return items


def _content(items: list[dict[str, Any]], maker: ResponseMaker) -> list[dict[str, Any]]:
    """Return the content of the message that the last item is, or of a new one."""
    if not items or items[-1]["type"] != "message":
        items.append(maker.message(maker.item_id("msg"), [], "completed"))
    content: list[dict[str, Any]] = items[-1]["content"]
    return content


def _text(part: TextPart, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    annotations = [flat for citation in part.citations if (flat := flat_citation(citation)) is not None]
    return {"type": "output_text", "text": part.text, "annotations": annotations, "logprobs": logprobs}


def _call(items: list[dict[str, Any]], maker: ResponseMaker, part: ToolCallPart) -> None:
    if part.signature:
        seal = Seal(signature=part.signature, origin="gemini", call_id=part.id)
        items.append(maker.reasoning(maker.item_id("rs"), "", seal))
    if part.custom or maker.is_custom(part.name):
        given = part.arguments if part.custom else custom_input(part.arguments)
        items.append(maker.custom_call(maker.item_id("ctc"), part.id, part.name, given, "completed"))
    else:
        arguments = part.arguments or "{}"
        items.append(maker.call(maker.item_id("fc"), part.id, part.name, arguments, "completed"))
