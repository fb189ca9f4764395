"""
What a target has no place for among messages and tools, reported in one go.

For what goes by the side of a text, a call or a result and is left out by simply not being written. What a
writer takes apart or rebuilds it reports itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.providers.dialects.neutral.conversation import (
    FunctionTool,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.providers.dialects.neutral.conversation import Conversation, MediaPart, Part
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["note_citations", "note_marks", "note_signatures"]


def note_marks(conversation: Conversation, notes: Notes) -> None:
    """
    Report cache marks: for a target that takes none anywhere.

    Raises:
        GatewayError: UNSUPPORTED, in strict mode.
    """
    tools = [tool for tool in conversation.tools if isinstance(tool, FunctionTool)]
    if any(getattr(marked, "cache", None) is not None for marked in (*_parts(conversation), *tools)):
        notes.dropped("cache_control")


def note_citations(conversation: Conversation, notes: Notes) -> None:
    """
    Report the sources of earlier answers: for a target that takes none back.

    Raises:
        GatewayError: UNSUPPORTED, in strict mode.
    """
    if any(isinstance(part, TextPart) and part.citations for part in _parts(conversation)):
        notes.dropped("messages.citations")


def note_signatures(conversation: Conversation, notes: Notes) -> None:
    """
    Report the signatures of calls, which are Gemini's: for a target that takes none back.

    Raises:
        GatewayError: UNSUPPORTED, in strict mode.
    """
    if any(isinstance(part, ToolCallPart) and part.signature for part in _parts(conversation)):
        notes.dropped("messages.tool_calls.signature")


def _parts(conversation: Conversation) -> Iterator[Part | MediaPart]:
    """Give every part, and what results of tools hold."""
    for message in conversation.messages:
        for part in message.parts:
            yield part
            if isinstance(part, ToolResultPart):
                yield from part.content
