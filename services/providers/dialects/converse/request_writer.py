"""A conversation as a request of Converse or ConverseStream, which have the same body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.anthropic.models import profile_for
from services.providers.dialects.converse.answer_format import AnswerFormat, answer_format
from services.providers.dialects.converse.families import family_for
from services.providers.dialects.converse.options import (
    inference_config,
    note_unknown,
    own_fields,
    request_members,
)
from services.providers.dialects.converse.reasoning import choose_thinking
from services.providers.dialects.converse.tools import ToolSetting, tool_setting
from services.providers.dialects.converse.turns import read_turns
from services.providers.dialects.neutral.fields import dump_body
from services.providers.dialects.neutral.losses import note_citations, note_signatures
from services.providers.dialects.neutral.restore import Restore
from services.providers.dialects.neutral.sides import Written
from services.providers.dialects.neutral.tool_names import LETTERS_64, ToolNames, names_in

if TYPE_CHECKING:
    from services.providers.dialects.converse.families import Family
    from services.providers.dialects.neutral.conversation import Conversation
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["write_count_request", "write_request"]

# What CountTokens takes of a request.
_COUNTED: Final = ("messages", "system", "toolConfig", "additionalModelRequestFields")


def write_request(conversation: Conversation, model: str, stream: bool, notes: Notes) -> Written:  # noqa: FBT001
    """
    Write a request. The model and whether to stream are in the path, so nothing here says them.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the parameter.
    """
    del stream
    request, restore = _request(conversation, model, notes)
    return Written(body=dump_body(request), restore=restore)


def write_count_request(conversation: Conversation, model: str, stream: bool, notes: Notes) -> Written:  # noqa: FBT001
    """
    Write a request that only counts the tokens of what would be sent.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the parameter.
    """
    del stream
    request, _ = _request(conversation, model, notes)
    counted = {name: request[name] for name in _COUNTED if name in request}
    return Written(body=dump_body({"input": {"converse": counted}}))


def _request(conversation: Conversation, model: str, notes: Notes) -> tuple[dict[str, Any], Restore]:
    note_unknown(conversation, notes)
    note_citations(conversation, notes)
    note_signatures(conversation, notes)
    family = family_for(model)
    names = ToolNames(names_in(conversation), LETTERS_64)
    turns = read_turns(conversation, family, names, notes)
    prefill = turns.messages[-1]["role"] == "assistant"
    if prefill and family.claude and not profile_for(model).prefill:
        notes.refuse("messages", "must not end with an assistant message: this model takes no prefill")
    thinking = choose_thinking(conversation, turns.messages, model, family, notes)
    structured = profile_for(model).structured if family.claude else family.structured
    can_force = not thinking.manual and (not family.claude or profile_for(model).forced_tools)
    setting = tool_setting(conversation, family, names, notes, can_force=can_force, structured=structured)
    wanted = answer_format(
        conversation.response_format,
        names,
        notes,
        structured=structured,
        can_force=can_force and family.forces != "none",
    )
    answer_tool = _apply(wanted, setting, family)
    if not setting.tools and turns.calls:
        notes.emulated("tools")
        setting.add_placeholders(conversation, names)
    system = [*turns.system, {"text": wanted.instruction}] if wanted.instruction else turns.system
    config, fields = inference_config(conversation, model, family, thinking, notes)
    output = {"textFormat": wanted.native, "effort": thinking.effort}
    members = {
        "messages": turns.messages,
        "system": system,
        "inferenceConfig": config,
        "toolConfig": setting.value(),
        "additionalModelRequestFields": own_fields(conversation, {**thinking.fields, **fields}),
        "outputConfig": {name: value for name, value in output.items() if value},
        **request_members(conversation, family, notes),
    }
    request = {name: value for name, value in members.items() if value}
    restore = Restore(
        tool_names=names.changed(), answer_tool=answer_tool, custom_tools=frozenset(setting.custom)
    )
    return request, restore


def _apply(wanted: AnswerFormat, setting: ToolSetting, family: Family) -> str:
    """Add the tool that gives the answer, if there is one; returns its name."""
    # Who must call one tool cannot be made to call another.
    if wanted.tool is None or (setting.choice is not None and "tool" in setting.choice):
        return ""
    setting.add_answer_tool(wanted.tool, family)
    return str(wanted.tool["name"])
