"""
A conversation as a request for a message.

What Anthropic cannot take is dropped, clamped or emulated, and said so in the notes; with strict notes it is
refused instead. What Anthropic would refuse is never sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.anthropic.answer_format import answer_format
from services.providers.dialects.anthropic.models import profile_for
from services.providers.dialects.anthropic.options import note_unknown, output_limit, write_options
from services.providers.dialects.anthropic.thinking import choose_thinking
from services.providers.dialects.anthropic.tools import tool_setting
from services.providers.dialects.anthropic.turns import read_turns
from services.providers.dialects.neutral.fields import dump_body
from services.providers.dialects.neutral.restore import Restore
from services.providers.dialects.neutral.sides import Written
from services.providers.dialects.neutral.tool_names import LETTERS_64, ToolNames, names_in

if TYPE_CHECKING:
    from services.providers.dialects.anthropic.answer_format import AnswerFormat
    from services.providers.dialects.anthropic.tools import ToolSetting
    from services.providers.dialects.anthropic.turns import Turns
    from services.providers.dialects.neutral.conversation import Conversation
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["DEFAULT_MAX_TOKENS", "merge_betas", "write_request"]

DEFAULT_MAX_TOKENS: Final = 4096
_BETA: Final = "anthropic-beta"


def write_request(
    conversation: Conversation,
    model: str,
    stream: bool,  # noqa: FBT001 - as `TargetSide` has it
    notes: Notes,
    *,
    default_max_tokens: int = DEFAULT_MAX_TOKENS,
    beta: str = "",
) -> Written:
    """
    Write a request.

    Args:
        conversation: What to ask.
        model: In the provider's naming.
        stream: Whether to ask for a stream.
        notes: Where changes are recorded.
        default_max_tokens: Longest answer, when neither the client nor the model's own limit says.
        beta: Values of the client's `anthropic-beta` headers, with commas between them.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the parameter.
    """
    note_unknown(conversation, notes)
    profile = profile_for(model)
    max_tokens = output_limit(conversation, profile, default_max_tokens, notes)
    names = ToolNames(names_in(conversation), LETTERS_64)
    turns = read_turns(conversation, names, notes)
    if turns.prefill and not profile.prefill:
        notes.refuse("messages", "must not end with an assistant message: this model takes no prefill")
    thinking = choose_thinking(conversation.reasoning, turns, profile, max_tokens, notes)
    # A call cannot be forced beside a thinking budget, and some families take no forced call at all.
    can_force = profile.forced_tools and not thinking.manual
    setting = tool_setting(conversation, names, notes, structured=profile.structured)
    if not can_force:
        setting.loosen(notes)
    wanted = answer_format(
        conversation.response_format, names, notes, structured=profile.structured, can_force=can_force
    )
    answer_tool = setting.add_answer_tool(wanted.tool) if wanted.tool is not None else ""
    members = _members(turns, setting, wanted, notes)
    options = write_options(conversation, profile, thinking, notes)
    request: dict[str, Any] = {"model": model, "max_tokens": max_tokens, **members, **options}
    if thinking.value is not None:
        request["thinking"] = thinking.value
    if thinking.effort:
        request["output_config"] = {**request.get("output_config", {}), "effort": thinking.effort}
    if stream:
        request["stream"] = True
    betas = merge_betas(beta)
    restore = Restore(tool_names=names.changed(), answer_tool=answer_tool, custom_tools=setting.custom)
    return Written(body=dump_body(request), headers={_BETA: betas} if betas else {}, restore=restore)


def merge_betas(*values: str) -> str:
    """Join values of `anthropic-beta` headers, each name once, in order."""
    names = (name.strip() for value in values for name in value.split(","))
    return ",".join(dict.fromkeys(name for name in names if name))


def _members(turns: Turns, setting: ToolSetting, wanted: AnswerFormat, notes: Notes) -> dict[str, Any]:
    """Write messages, tools and the shape of the answer; what is not needed is left out."""
    if not setting.tools and turns.called:
        setting.add_placeholders(turns.called)
        notes.emulated("tools")
    if wanted.instruction:
        turns.system.append({"type": "text", "text": wanted.instruction})
    members = {
        "system": turns.system_value(),
        "messages": turns.messages,
        "tools": setting.tools or None,
        "tool_choice": setting.choice,
        "output_config": {"format": wanted.native} if wanted.native is not None else None,
    }
    return {name: value for name, value in members.items() if value is not None}
