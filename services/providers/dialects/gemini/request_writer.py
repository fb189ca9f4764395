"""
A conversation as the body of `generateContent`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from services.providers.dialects.gemini.models import profile_for
from services.providers.dialects.gemini.option_writer import write_config
from services.providers.dialects.gemini.tool_writer import NAMES, write_tools
from services.providers.dialects.gemini.turn_writer import Turns
from services.providers.dialects.neutral.losses import note_citations, note_marks
from services.providers.dialects.neutral.notes import invalid
from services.providers.dialects.neutral.restore import Restore
from services.providers.dialects.neutral.sides import Written
from services.providers.dialects.neutral.tool_names import ToolNames, custom_names, names_in

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import Conversation
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["write_request"]

# Members of the body that clients of this dialect give, and others by way of extensions.
_PASSED: Final = {
    "safetySettings": "safetySettings",
    "safety_settings": "safetySettings",
    "cachedContent": "cachedContent",
    "cached_content": "cachedContent",
}
_PASSED_BY_VERTEX: Final = {**_PASSED, "labels": "labels"}
_TIERS: Final = frozenset({"flex", "priority"})


def write_request(
    conversation: Conversation,
    model: str,
    stream: bool,  # noqa: FBT001 - as `TargetSide` has it
    notes: Notes,
    *,
    vertex: bool = False,
) -> Written:
    """
    Write a request; `stream` is in the URL.

    Args:
        conversation: What is asked.
        model: Decides what may be asked.
        stream: The answer is to be streamed.
        notes: What was dropped, clamped or emulated.
        vertex: For Vertex AI, which differs a little from AI Studio.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED.
    """
    del stream
    note_marks(conversation, notes)
    note_citations(conversation, notes)
    profile = profile_for(model)
    names = ToolNames(names_in(conversation), NAMES)
    system, contents = Turns(profile, names, notes, vertex=vertex).write(conversation)
    body: dict[str, Any] = {}
    if system:
        body["systemInstruction"] = {"parts": system}
    body["contents"] = contents
    tools, tool_config = write_tools(conversation, profile, names, notes)
    if tools:
        body["tools"] = tools
    if tool_config:
        body["toolConfig"] = tool_config
    config = write_config(conversation, profile, notes, tools=bool(tools))
    if config:
        body["generationConfig"] = config
    for given, name in (_PASSED_BY_VERTEX if vertex else _PASSED).items():
        if given in conversation.extra:
            body[name] = conversation.extra.pop(given)
    _rest(conversation, body, notes, vertex=vertex)
    try:
        written = orjson.dumps(body)
    except orjson.JSONEncodeError:
        invalid("body", "holds text or a number that is not valid")
    restore = Restore(tool_names=names.changed(), custom_tools=custom_names(conversation, names))
    return Written(body=written, restore=restore)


def _rest(conversation: Conversation, body: dict[str, Any], notes: Notes, *, vertex: bool) -> None:
    """Report what there is no place for."""
    tier = conversation.service_tier
    if tier in _TIERS and not vertex:
        body["serviceTier"] = tier
    elif tier not in ("", "auto", "default", "standard"):
        notes.dropped("service_tier")
    for member in ("logit_bias", "user", "metadata", "verbosity"):
        if getattr(conversation, member):
            notes.dropped(member)
