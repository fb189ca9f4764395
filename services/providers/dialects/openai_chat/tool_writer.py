"""
Writes tools, the choice among them and the shape of the answer as chat completions have them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.neutral.conversation import FunctionTool, ServerTool
from services.providers.dialects.neutral.fields import dump_body
from services.providers.dialects.neutral.free_text import FREE_TEXT, describe
from services.providers.dialects.neutral.json_words import speaks_of_json
from services.providers.dialects.neutral.notes import invalid

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import Conversation, ResponseFormat, ToolChoice
    from services.providers.dialects.neutral.notes import Notes
    from services.providers.dialects.neutral.tool_names import ToolNames
    from services.providers.dialects.openai_chat.quirks import ChatQuirks

__all__ = ["ToolSetting", "tool_setting"]

Json = dict[str, Any]
_JSON_ONLY: Final = "Answer with JSON and nothing else."
_FORMAT_NAME: Final = "answer"


@dataclass(slots=True)
class ToolSetting:
    """
    What goes into a request beside its messages.

    Attributes:
        members: `tools`, `tool_choice`, `parallel_tool_calls`, `response_format`.
        instruction: To be added to what the system says; empty: nothing.
        custom: Names, as sent, of tools that take free text in an object.
    """

    members: Json = field(default_factory=dict)
    instruction: str = ""
    custom: frozenset[str] = frozenset()


def tool_setting(
    conversation: Conversation, quirks: ChatQuirks, names: ToolNames, notes: Notes
) -> ToolSetting:
    """
    Write tools, choice and the shape of the answer.

    Raises:
        GatewayError: INVALID_REQUEST for a choice of a tool that is not there.
    """
    setting = ToolSetting()
    tools = _functions(conversation, quirks, notes)
    choice = conversation.tool_choice
    if choice is not None and choice.allowed and not quirks.allowed_tools:
        # To leave the others out comes to the same.
        tools = [tool for tool in tools if tool.name in choice.allowed]
    if tools:
        members = setting.members
        members["tools"] = [_tool(tool, quirks, names, notes) for tool in tools]
        if not quirks.custom_tools:
            setting.custom = frozenset(names.sent(tool.name) for tool in tools if tool.custom)
        if choice is not None:
            members["tool_choice"] = _choice(choice, tools, quirks, names, notes)
        if conversation.parallel_tool_calls is not None:
            if "parallel_tool_calls" not in quirks.lacks:
                members["parallel_tool_calls"] = conversation.parallel_tool_calls
            elif not conversation.parallel_tool_calls:
                notes.dropped("parallel_tool_calls")
    elif choice is not None and choice.mode == "required":
        notes.dropped("tool_choice")  # the tools were left out, or there were none
    if conversation.response_format is not None and conversation.response_format.kind != "text":
        _shape(setting, conversation, conversation.response_format, quirks, notes)
    return setting


def _functions(conversation: Conversation, quirks: ChatQuirks, notes: Notes) -> list[FunctionTool]:
    found = []
    for tool in conversation.tools:
        if isinstance(tool, ServerTool) or "tools" in quirks.lacks:
            notes.dropped(tool.path or "tools")
        else:
            if tool.cache is not None and not quirks.cache_marks:
                notes.dropped("cache_control")
            found.append(tool)
    return found


def _tool(tool: FunctionTool, quirks: ChatQuirks, names: ToolNames, notes: Notes) -> Json:
    body: Json = {"name": names.sent(tool.name)}
    if tool.description:
        body["description"] = tool.description
    written: Json
    if tool.custom and quirks.custom_tools:
        if tool.grammar is not None:
            body["format"] = tool.grammar
        written = {"type": "custom", "custom": body}
    elif tool.custom:
        body |= {"description": describe(tool, notes), "parameters": FREE_TEXT}
        written = {"type": "function", "function": body}
    else:
        if tool.parameters is not None or quirks.parameters:
            body["parameters"] = tool.parameters or {"type": "object", "properties": {}}
        if tool.strict is not None and quirks.strict:
            body["strict"] = tool.strict
        elif tool.strict:
            notes.dropped("tools.strict")
        written = {"type": "function", "function": body}
    if tool.cache is not None and quirks.cache_marks:
        ttl = {"ttl": tool.cache.ttl} if tool.cache.ttl else {}
        written["cache_control"] = {"type": "ephemeral"} | ttl
    return written


def _choice(
    choice: ToolChoice, tools: list[FunctionTool], quirks: ChatQuirks, names: ToolNames, notes: Notes
) -> str | Json:
    kinds = {tool.name: "custom" if tool.custom and quirks.custom_tools else "function" for tool in tools}
    if choice.name:
        if choice.name not in kinds:
            invalid(notes.name("tool_choice"), "names a tool that is not among the tools")
        return _named(choice.name, kinds, names)
    if choice.allowed and quirks.allowed_tools:
        allowed = [_named(name, kinds, names) for name in choice.allowed if name in kinds]
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": allowed}}
    return choice.mode


def _named(name: str, kinds: dict[str, str], names: ToolNames) -> Json:
    return {"type": kinds[name], kinds[name]: {"name": names.sent(name)}}


def _shape(
    setting: ToolSetting,
    conversation: Conversation,
    wanted: ResponseFormat,
    quirks: ChatQuirks,
    notes: Notes,
) -> None:
    """Write the shape of the answer: as asked, or by the next best that the host has."""
    if wanted.schema is not None and quirks.json_schema:
        schema: Json = {"name": wanted.name or _FORMAT_NAME}
        if wanted.description:
            schema["description"] = wanted.description
        schema["schema"] = wanted.schema
        if wanted.strict is not None:
            schema["strict"] = wanted.strict
        setting.members["response_format"] = {"type": "json_schema", "json_schema": schema}
        return
    if quirks.json_object:
        setting.members["response_format"] = {"type": "json_object"}
    if wanted.schema is not None:
        notes.emulated("response_format")
        schema_text = dump_body(wanted.schema).decode()
        setting.instruction = f"{_JSON_ONLY} It must fit this JSON schema: {schema_text}"
    elif not quirks.json_object:
        notes.emulated("response_format")
        setting.instruction = _JSON_ONLY
    elif not speaks_of_json(conversation):
        # Hosts refuse the format where no message speaks of it.
        setting.instruction = _JSON_ONLY
