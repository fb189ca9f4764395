"""
Reads whole answers of `run`, in the envelope of Cloudflare's API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kit.errors import GatewayError, Reason
from services.providers.dialects.answer import load_object, text
from services.providers.dialects.failures import FailureClass, message_of, unwrap
from services.providers.dialects.neutral.completion import Choice, Completion, Finish
from services.providers.dialects.neutral.conversation import (
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from services.providers.dialects.neutral.sides import InBandError
from services.providers.dialects.workers_ai.answer_shape import (
    FINISHES,
    first_choice,
    found_usage,
    plain,
    read_call,
    thoughts,
)
from services.providers.dialects.workers_ai.errors import classify_found

if TYPE_CHECKING:
    from services.providers.dialects.neutral.completion import AnswerPart

__all__ = ["read_answer"]


def read_answer(body: bytes) -> Completion:
    """
    Read an answer; see `TargetSide`.

    Raises:
        GatewayError: UPSTREAM_MALFORMED; it is none.
        InBandError: It is an error.
    """
    document = load_object(body)
    result = document.get("result", document)
    if document.get("success") is False or document.get("errors") or not isinstance(result, dict):
        _refuse(document)
    choice = first_choice(result)
    message = choice.get("message") if choice else None
    if choice is None and "response" not in result and "tool_calls" not in result:
        _refuse(document)
    parts = _native(result) if choice is None else _message(message if isinstance(message, dict) else {})
    word = text((result if choice is None else choice).get("finish_reason"))
    if word == "error":
        raise InBandError(FailureClass.SERVER, "The provider ended its answer with an error.")
    called = any(isinstance(part, ToolCallPart) for part in parts)
    finish = FINISHES.get(word, Finish.STOP)
    return Completion(
        id=text(result.get("id")),
        model=text(result.get("model")),
        choices=[
            Choice(
                parts=parts,
                finish=Finish.TOOL_CALLS if called and finish is Finish.STOP else finish,
                logprobs=_logprobs(choice),
            )
        ],
        usage=found_usage(result),
        warnings=(f"finish_reason={word[:40]}",) if word and word not in FINISHES else (),
    )


def _refuse(document: dict[str, Any]) -> None:
    """Say what is wrong with what holds no answer."""
    error = unwrap(document)
    if error:
        raise InBandError(classify_found(0, error), message_of(error, 200))
    raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's answer holds no result.")


def _native(result: dict[str, Any]) -> list[AnswerPart]:
    parts: list[AnswerPart] = []
    if said := plain(result.get("response")):
        parts.append(TextPart(text=said))
    return parts + _calls(result.get("tool_calls"))


def _message(message: dict[str, Any]) -> list[AnswerPart]:
    parts: list[AnswerPart] = []
    if thought := thoughts(message):
        parts.append(ReasoningPart(text=thought))
    if said := plain(message.get("content")):
        parts.append(TextPart(text=said))
    if refusal := text(message.get("refusal")):
        parts.append(RefusalPart(text=refusal))
    return parts + _calls(message.get("tool_calls"))


def _calls(calls: Any) -> list[AnswerPart]:
    found: list[AnswerPart] = []
    for call in calls if isinstance(calls, list) else []:
        identity, name, arguments = read_call(call)
        if name:
            identity = identity or f"call_{name}_{len(found)}"
            found.append(ToolCallPart(id=identity, name=name, arguments=arguments))
    return found


def _logprobs(choice: dict[str, Any] | None) -> list[dict[str, Any]] | None:
    held = choice.get("logprobs") if choice else None
    content = held.get("content") if isinstance(held, dict) else None
    if not isinstance(content, list):
        return None
    return [entry for entry in content if isinstance(entry, dict)]
