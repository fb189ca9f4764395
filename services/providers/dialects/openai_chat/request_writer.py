"""
Writes a conversation as a request of chat completions. Messages, tools and options have modules of their own.

Members come in one order whatever the client's was, so that the same request gives the same bytes and
providers' prompt caches hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.providers.dialects.neutral.fields import dump_body
from services.providers.dialects.neutral.losses import note_citations
from services.providers.dialects.neutral.restore import Restore
from services.providers.dialects.neutral.sides import Written
from services.providers.dialects.neutral.tool_names import LETTERS_64, ToolNames, names_in
from services.providers.dialects.openai_chat.message_writer import MessageWriter
from services.providers.dialects.openai_chat.models import family_of
from services.providers.dialects.openai_chat.option_writer import write_options
from services.providers.dialects.openai_chat.tool_writer import tool_setting

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import Conversation
    from services.providers.dialects.neutral.notes import Notes
    from services.providers.dialects.openai_chat.quirks import ChatQuirks

__all__ = ["write_request"]


def write_request(
    quirks: ChatQuirks,
    conversation: Conversation,
    model: str,
    stream: bool,  # noqa: FBT001
    notes: Notes,
) -> Written:
    """
    Write a request; see `TargetSide`.

    Args:
        quirks: What the host takes.
        conversation: To be written. What is taken from its `extra` is taken out.
        model: In the host's naming.
        stream: Whether to stream.
        notes: What is dropped, clamped or emulated.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the parameter.
    """
    names = ToolNames(names_in(conversation), LETTERS_64)
    note_citations(conversation, notes)
    setting = tool_setting(conversation, quirks, names, notes)
    messages = MessageWriter(quirks, names, notes).write(conversation.messages)
    if setting.instruction:
        # First, where every host takes it.
        messages.insert(0, {"role": "system", "content": setting.instruction})
    body: dict[str, Any] = {"model": model, "messages": messages, **setting.members}
    if stream:
        body["stream"] = True
        if quirks.stream_usage:
            body["stream_options"] = {"include_usage": True}
    family = family_of(model) if quirks.openai_models else None
    write_options(conversation, body, quirks, family, notes)
    for name in sorted(quirks.takes & conversation.extra.keys()):
        body[name] = conversation.extra.pop(name)
    if family is not None and not body.get("store") and body.pop("metadata", None):
        # OpenAI refuses labels for what it does not keep.
        notes.dropped("metadata")
    return Written(
        body=dump_body(body), restore=Restore(tool_names=names.changed(), custom_tools=setting.custom)
    )
