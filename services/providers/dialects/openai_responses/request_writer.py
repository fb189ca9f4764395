"""
Writes a conversation as a responses request. Messages, tools and options have modules of their own.

Members come in one order whatever the client's was, so that the same request gives the same bytes and
providers' prompt caches hold. The provider is never to keep an answer: the client could not get at it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.neutral.fields import dump_body
from services.providers.dialects.neutral.json_words import speaks_of_json
from services.providers.dialects.neutral.notes import invalid
from services.providers.dialects.neutral.restore import Restore
from services.providers.dialects.neutral.sides import Written
from services.providers.dialects.neutral.tool_names import LETTERS_64, ToolNames, names_in
from services.providers.dialects.openai_chat.models import family_of
from services.providers.dialects.openai_responses.message_writer import MessageWriter
from services.providers.dialects.openai_responses.option_writer import takes_marks, write_options
from services.providers.dialects.openai_responses.tool_writer import write_format, write_tools

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import Conversation
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["write_request"]

_IN_JSON: Final = "Give your answer in JSON."


def write_request(
    openai_models: bool,  # noqa: FBT001
    conversation: Conversation,
    model: str,
    stream: bool,  # noqa: FBT001
    notes: Notes,
) -> Written:
    """
    Write a request; see `TargetSide`.

    Args:
        openai_models: The host serves OpenAI's own models, with OpenAI's rules for each family.
        conversation: To be written. What is taken from its `extra` is taken out.
        model: In the host's naming.
        stream: Whether to stream.
        notes: What is dropped, clamped or emulated.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the parameter.
    """
    names = ToolNames(names_in(conversation), LETTERS_64)
    family = family_of(model if openai_models else "")
    marks = openai_models and takes_marks(model)
    items = MessageWriter(names, notes, marks=marks, thinks=bool(family.efforts)).write(conversation.messages)
    if not items:
        invalid(notes.name("messages"), "must say something")
    body: dict[str, Any] = {"model": model, "input": items, "store": False}
    if stream:
        body["stream"] = True
    body.update(write_tools(conversation, names, notes))
    form = write_format(conversation.response_format)
    if form is not None:
        body["text"] = {"format": form}
        if form["type"] == "json_object" and not speaks_of_json(conversation):
            # Refused otherwise. It stands first, where it changes least.
            notes.emulated("response_format")
            items.insert(0, {"type": "message", "role": "developer", "content": _IN_JSON})
    write_options(conversation, body, family, notes)
    return Written(body=dump_body(body), restore=Restore(tool_names=names.changed()))
