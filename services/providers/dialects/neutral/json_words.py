"""
Words about JSON: whether a conversation has any, without which some hosts refuse to be held to it, and those
that ask for it where nothing else can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.providers.dialects.neutral.conversation import TextPart, ToolResultPart
from services.providers.dialects.neutral.fields import dump_body

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import Conversation, ResponseFormat

__all__ = ["JSON_ONLY", "json_instruction", "speaks_of_json"]

JSON_ONLY: Final = "When you give your answer, give JSON and nothing else."


def speaks_of_json(conversation: Conversation) -> bool:
    """Tell whether any text of a conversation has the word."""
    parts = [part for message in conversation.messages for part in message.parts]
    parts += [inner for part in parts if isinstance(part, ToolResultPart) for inner in part.content]
    return any(isinstance(part, TextPart) and "json" in part.text.lower() for part in parts)


def json_instruction(wanted: ResponseFormat) -> str:
    """
    Write what the model is told about the shape of its answer.

    Raises:
        GatewayError: INVALID_REQUEST; the schema cannot be written.
    """
    if wanted.schema is None:
        return JSON_ONLY
    return f"{JSON_ONLY} It must fit this JSON schema: {dump_body(wanted.schema).decode()}"
