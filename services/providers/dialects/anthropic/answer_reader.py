"""
A whole answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from kit.errors import GatewayError, Reason
from services.providers.dialects.answer import load_object, text
from services.providers.dialects.anthropic.citations import annotation_of
from services.providers.dialects.anthropic.same import FINISH_REASONS, in_band_error
from services.providers.dialects.anthropic.turns import ORIGIN
from services.providers.dialects.neutral.completion import Choice, Completion, Finish
from services.providers.dialects.neutral.conversation import (
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from services.providers.dialects.neutral.sides import InBandError
from services.providers.dialects.usage import read_anthropic_usage

if TYPE_CHECKING:
    from services.providers.dialects.neutral.completion import AnswerPart

__all__ = ["arguments_text", "explanation_of", "finish_of", "read_answer", "tier_of"]

# What other dialects call the tier that nobody has to ask for.
_TIERS: Final = {"standard": "default"}


def read_answer(body: bytes) -> Completion:
    """
    Read an answer.

    Raises:
        GatewayError: UPSTREAM_MALFORMED; it is no message.
        InBandError: It is an error that came as a success.
    """
    document = load_object(body)
    if document.get("type") == "error":
        failure = in_band_error(document, b"", started=False)
        raise InBandError(failure.failure_class, failure.message, failure.status)
    content = document.get("content")
    if not isinstance(content, list):
        raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's answer is not a message.")
    parts = _parts(content)
    called = any(isinstance(part, ToolCallPart) for part in parts)
    finish, warnings = finish_of(text(document.get("stop_reason")), called=called)
    explanation = explanation_of(document)
    if explanation:
        parts.append(RefusalPart(text=explanation))
    usage = document.get("usage")
    return Completion(
        id=text(document.get("id")),
        model=text(document.get("model")),
        choices=[
            Choice(parts=parts, finish=finish, stop_sequence=text(document.get("stop_sequence"))),
        ],
        usage=read_anthropic_usage(usage) if isinstance(usage, dict) else None,
        service_tier=tier_of(usage),
        warnings=warnings,
    )


def finish_of(stop_reason: str, *, called: bool) -> tuple[Finish, tuple[str, ...]]:
    """
    Read a stop reason. One that is not known counts as a normal end, with a warning.

    Args:
        stop_reason: Anthropic's word.
        called: A tool of the client's was called; the provider's own tools end in no call.
    """
    found = FINISH_REASONS.get(stop_reason)
    if found is None:
        return Finish.STOP, (f"unknown stop reason {stop_reason[:40]!r}",)
    if found == Finish.TOOL_CALLS and not called:
        return Finish.STOP, ()
    return Finish(found), ()


def explanation_of(document: dict[str, Any]) -> str:
    """Return the words in which a refusal is explained; empty when it is none, or goes without."""
    details = document.get("stop_details")
    if document.get("stop_reason") != "refusal" or not isinstance(details, dict):
        return ""
    return text(details.get("explanation"))


def tier_of(usage: Any) -> str:
    """Read the tier that answered, in the words of the other dialects where they have one."""
    tier = text(usage.get("service_tier")) if isinstance(usage, dict) else ""
    return _TIERS.get(tier, tier)


def arguments_text(value: Any) -> str:
    """
    Write the input of a call as JSON in text form; empty when there is none.

    Raises:
        GatewayError: UPSTREAM_MALFORMED; it nests too deeply to be written.
    """
    if not isinstance(value, dict):
        return text(value)
    try:
        return orjson.dumps(value).decode() if value else ""
    except orjson.JSONEncodeError:
        raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's tool call nests too deeply.") from None


def _parts(content: list[Any]) -> list[AnswerPart]:
    parts: list[AnswerPart] = []
    chars = 0
    for block in content:
        part = _part(block, chars) if isinstance(block, dict) else None
        if part is not None:
            parts.append(part)
        if isinstance(part, TextPart):
            chars += len(part.text)
    return parts


def _part(block: dict[str, Any], start: int) -> AnswerPart | None:
    """Read a block; None for one of the provider's own tools, of which only the outcome matters here."""
    match block.get("type"):
        case "text":
            return _text(block, start)
        case "thinking":
            signature = text(block.get("signature"))
            thought = text(block.get("thinking"))
            if not thought and not signature:
                return None
            return ReasoningPart(text=thought, signature=signature, origin=ORIGIN if signature else "")
        case "redacted_thinking":
            sealed = text(block.get("data"))
            return ReasoningPart(sealed=sealed, origin=ORIGIN) if sealed else None
        case "tool_use":
            return ToolCallPart(
                id=text(block.get("id")),
                name=text(block.get("name")),
                arguments=arguments_text(block.get("input")),
            )
        case _:
            return None


def _text(block: dict[str, Any], start: int) -> TextPart:
    value = text(block.get("text"))
    given = block.get("citations")
    found = [
        annotation_of(citation, start, start + len(value))
        for citation in (given if isinstance(given, list) else [])
    ]
    return TextPart(text=value, citations=[citation for citation in found if citation is not None])
