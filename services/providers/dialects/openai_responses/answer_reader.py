"""
Reads whole responses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kit.errors import GatewayError, Reason
from services.providers.dialects.answer import load_object, text
from services.providers.dialects.failures import FailureClass, classify_error, message_of
from services.providers.dialects.neutral.completion import Choice, Completion, Finish
from services.providers.dialects.neutral.conversation import (
    MediaPart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from services.providers.dialects.neutral.sides import InBandError
from services.providers.dialects.openai_chat.answer_words import made_up_id
from services.providers.dialects.openai_chat.same import in_band_failure
from services.providers.dialects.openai_responses.citations import flat_logprobs, nested_citation
from services.providers.dialects.openai_responses.item_reader import listed, reasoning_text
from services.providers.dialects.openai_responses.seals import OPENAI
from services.providers.dialects.usage import read_openai_usage

if TYPE_CHECKING:
    from services.providers.dialects.neutral.completion import AnswerPart
    from services.providers.dialects.usage import UsageCounts

__all__ = [
    "CALLS",
    "read_answer",
    "read_call",
    "read_citations",
    "read_failure",
    "read_finish",
    "read_image",
    "read_reasoning",
    "read_usage",
]

Json = dict[str, Any]
# Items that call the client's tools, with the member that holds what they call them with.
CALLS: Final = {"function_call": "arguments", "custom_tool_call": "input"}
_ENDED: Final = frozenset({"completed", "incomplete"})
_FAILED: Final = "The provider reported that its answer failed."
_CANCELLED: Final = "The provider cancelled its answer."


def read_answer(body: bytes) -> Completion:
    """
    Read an answer; see `TargetSide`.

    Raises:
        GatewayError: UPSTREAM_MALFORMED; it is none.
        InBandError: It is an error.
    """
    document = load_object(body)
    failure = in_band_failure(document, body, started=False)
    if failure is not None:
        raise InBandError(failure.failure_class, failure.message, failure.status)
    stated = document.get("status")
    status = text(stated)
    if status in {"failed", "cancelled"}:
        raise InBandError(*read_failure(document))
    output = document.get("output")
    if not isinstance(output, list) or (stated is not None and status not in _ENDED):
        raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's answer is not a whole response.")
    answer_id = text(document.get("id"))
    choice = Choice()
    logprobs: list[Json] = []
    for item in output:
        if isinstance(item, dict):
            _item(item, answer_id, choice.parts, logprobs)
    choice.finish = read_finish(document, called=any(isinstance(one, ToolCallPart) for one in choice.parts))
    choice.logprobs = logprobs or None
    return Completion(
        id=answer_id,
        model=text(document.get("model")),
        choices=[choice],
        usage=read_usage(document),
        service_tier=text(document.get("service_tier")),
    )


def read_failure(response: Json) -> tuple[FailureClass, str]:
    """Tell why a response failed: class and words."""
    error = response.get("error")
    if response.get("status") == "cancelled" and not error:
        return FailureClass.SERVER, _CANCELLED
    if not isinstance(error, dict) or not error:
        return FailureClass.SERVER, text(error) or _FAILED
    return classify_error(0, error), message_of(error, 200)


def read_finish(response: Json, *, called: bool) -> Finish:
    """Tell why the model stopped."""
    if response.get("status") == "incomplete":
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        return Finish.CONTENT_FILTER if reason == "content_filter" else Finish.LENGTH
    return Finish.TOOL_CALLS if called else Finish.STOP


def read_usage(response: Json) -> UsageCounts | None:
    """Read what was used."""
    usage = response.get("usage")
    return read_openai_usage(usage) if isinstance(usage, dict) else None


def read_reasoning(item: Json) -> ReasoningPart:
    """Read a reasoning item. Its id means something together with its seal only."""
    sealed = text(item.get("encrypted_content"))
    return ReasoningPart(
        text=reasoning_text(item),
        sealed=sealed,
        origin=OPENAI if sealed else "",
        item_id=text(item.get("id")) if sealed else "",
    )


def read_call(item: Json, answer_id: str, index: int) -> ToolCallPart:
    """Read an item that calls one of the client's tools."""
    kind = text(item.get("type"))
    return ToolCallPart(
        id=text(item.get("call_id")) or text(item.get("id")) or made_up_id(answer_id, 0, index),
        name=text(item.get("name")),
        arguments=text(item.get(CALLS[kind])),
        custom=kind == "custom_tool_call",
    )


def read_image(item: Json) -> MediaPart | None:
    """Read an item with an image of the model's; None: it has none."""
    data = text(item.get("result"))
    form = text(item.get("output_format")) or "png"
    media_type = "image/svg+xml" if form == "svg" else f"image/{form}"
    return MediaPart(kind="image", media_type=media_type, data=data) if data else None


def read_citations(part: Json) -> list[Json]:
    """Read the annotations of a text."""
    return [nested_citation(one) for one in listed(part.get("annotations")) if isinstance(one, dict)]


def _item(item: Json, answer_id: str, parts: list[AnswerPart], logprobs: list[Json]) -> None:
    match item.get("type"):
        case "message":
            for part in listed(item.get("content")):
                if isinstance(part, dict):
                    _spoken(part, parts, logprobs)
        case "reasoning":
            thought = read_reasoning(item)
            if thought.text or thought.sealed:
                parts.append(thought)
        case "function_call" | "custom_tool_call" if text(item.get("name")):
            calls = sum(isinstance(part, ToolCallPart) for part in parts)
            parts.append(read_call(item, answer_id, calls))
        case "image_generation_call":
            image = read_image(item)
            if image is not None:
                parts.append(image)
        case _:
            pass  # of tools that the provider ran itself; the model's words about them are in messages


def _spoken(part: Json, parts: list[AnswerPart], logprobs: list[Json]) -> None:
    refusal = text(part.get("refusal"))
    if part.get("type") == "refusal" and refusal:
        parts.append(RefusalPart(text=refusal))
    elif part.get("type") == "output_text":
        citations = read_citations(part)
        if text(part.get("text")) or citations:
            parts.append(TextPart(text=text(part.get("text")), citations=citations))
        logprobs += flat_logprobs(listed(part.get("logprobs")))
