"""
Writes thoughts back into messages, in the forms in which hosts take them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import ReasoningPart
    from services.providers.dialects.openai_chat.quirks import ChatQuirks

__all__ = ["FORMATS", "replay", "thinking_parts"]

Json = dict[str, Any]
# OpenRouter's `format` of a detail, by the dialect whose provider sealed it.
FORMATS: Final = {
    "anthropic": "anthropic-claude-v1",
    "gemini": "google-gemini-v1",
    "openai": "openai-responses-v1",
}


def replay(thoughts: list[ReasoningPart], quirks: ChatQuirks) -> tuple[Json, bool]:
    """
    Write thoughts as members of a message.

    Returns:
        The members, and whether something was lost.
    """
    if not thoughts:
        return {}, False
    text = "".join(part.text for part in thoughts)
    match quirks.replay:
        case "reasoning_details":
            return _details(thoughts)
        case "reasoning_content" | "reasoning" as member:
            # A seal means nothing to a host that gives none.
            lost = any(not part.text for part in thoughts)
            return ({member: text} if text else {}), lost
        case "content":
            return {}, any(not part.text for part in thoughts)
    return {}, True


def thinking_parts(thoughts: list[ReasoningPart], quirks: ChatQuirks) -> list[Json]:
    """Write thoughts as Mistral's content parts."""
    if quirks.replay != "content":
        return []
    return [
        {"type": "thinking", "thinking": [{"type": "text", "text": part.text}]}
        for part in thoughts
        if part.text
    ]


def _details(thoughts: list[ReasoningPart]) -> tuple[Json, bool]:
    """Write thoughts as OpenRouter's details, which say whose seal it is."""
    details: list[Json] = []
    lost = False
    for part in thoughts:
        form = FORMATS.get(part.origin, "unknown")
        if (part.signature or part.sealed) and part.origin not in FORMATS:
            lost = True
            continue
        common: Json = {"format": form} | ({"id": part.item_id} if part.item_id else {})
        if part.sealed and part.text:
            details.append({"type": "reasoning.summary", "summary": part.text, **common})
        elif part.text or part.signature:
            signed = {"signature": part.signature} if part.signature else {}
            details.append({"type": "reasoning.text", "text": part.text, **signed, **common})
        if part.sealed:
            details.append({"type": "reasoning.encrypted", "data": part.sealed, **common})
    for index, detail in enumerate(details):
        detail["index"] = index
    return ({"reasoning_details": details} if details else {}), lost
