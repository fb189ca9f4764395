"""
Tools, the choice among them and the shape of the answer in Cohere's dialect.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.neutral.conversation import FunctionTool, ServerTool
from services.providers.dialects.neutral.free_text import FREE_TEXT, describe
from services.providers.dialects.neutral.json_words import JSON_ONLY, json_instruction, speaks_of_json
from services.providers.dialects.neutral.notes import invalid

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import Conversation, ResponseFormat, ToolChoice
    from services.providers.dialects.neutral.notes import Notes
    from services.providers.dialects.neutral.tool_names import ToolNames

__all__ = ["ToolSetting", "tool_setting"]

_ANSWER_TOOL: Final = "give_answer"
_ANSWER_USE: Final = "Gives the final answer. Call it once everything is known."
# Nobody writes schemas as deep by hand, and a recursion must have an end.
_DEEPEST: Final = 64


@dataclass(slots=True)
class ToolSetting:
    """
    What goes into a request beside its messages.

    Attributes:
        members: `tools`, `tool_choice`, `strict_tools`, `response_format`.
        answer_tool: Name of the tool whose arguments are the answer; empty: there is none.
        instruction: To be added to what the system says.
    """

    members: dict[str, Any] = field(default_factory=dict)
    answer_tool: str = ""
    instruction: str = ""


def tool_setting(conversation: Conversation, names: ToolNames, notes: Notes) -> ToolSetting:
    """
    Write tools, choice and the shape of the answer.

    Raises:
        GatewayError: INVALID_REQUEST for a choice of a tool that is not there.
    """
    setting = ToolSetting()
    tools = _functions(conversation, notes)
    choice = conversation.tool_choice
    allowed = _allowed(choice)
    if allowed:
        tools = [tool for tool in tools if tool.name in allowed]
    if choice is not None and choice.mode == "required" and not tools:
        if conversation.tools and allowed:
            invalid(notes.name("tool_choice"), "demands a tool that is not among the tools")
        notes.dropped("tool_choice")  # the tools were left out, or there were none
    if conversation.parallel_tool_calls is False and tools:
        notes.dropped("parallel_tool_calls")
    if tools:
        setting.members["tools"] = [_tool(tool, names, notes) for tool in tools]
        _strictness(setting, tools, notes)
        if choice is not None and choice.mode != "auto":
            setting.members["tool_choice"] = "REQUIRED" if choice.mode == "required" else "NONE"
    if conversation.response_format is not None and conversation.response_format.kind != "text":
        _shape(setting, conversation, names, notes)
    return setting


def _functions(conversation: Conversation, notes: Notes) -> list[FunctionTool]:
    found = []
    for tool in conversation.tools:
        if isinstance(tool, ServerTool):
            notes.dropped(tool.path or "tools")
        else:
            found.append(tool)
    return found


def _allowed(choice: ToolChoice | None) -> tuple[str, ...]:
    """Return the names that may be called; a tool can only be forced by being the only one."""
    if choice is None:
        return ()
    return (choice.name,) if choice.name else choice.allowed


def _tool(tool: FunctionTool, names: ToolNames, notes: Notes) -> dict[str, Any]:
    function: dict[str, Any] = {"name": names.sent(tool.name)}
    description = describe(tool, notes) if tool.custom else tool.description
    if description:
        function["description"] = description
    parameters = FREE_TEXT if tool.custom else tool.parameters
    function["parameters"] = parameters or {"type": "object", "properties": {}}
    return {"type": "function", "function": function}


def _strictness(setting: ToolSetting, tools: list[FunctionTool], notes: Notes) -> None:
    """Ask for strictness, which Cohere has for all tools or none, each with a required parameter."""
    if not any(tool.strict for tool in tools):
        return
    if all(tool.strict and (tool.parameters or {}).get("required") for tool in tools):
        setting.members["strict_tools"] = True
    else:
        notes.dropped("tools.strict")


def _shape(setting: ToolSetting, conversation: Conversation, names: ToolNames, notes: Notes) -> None:
    """Write the shape of the answer, which Cohere takes neither beside tools nor beside documents."""
    wanted = conversation.response_format
    assert wanted is not None
    members = setting.members
    calls = members.get("tool_choice")
    if "tools" not in members or calls == "NONE":
        # Tools that may not be called are no loss.
        for name in ("tools", "tool_choice", "strict_tools"):
            members.pop(name, None)
        _plain_shape(setting, conversation, wanted, notes)
    elif calls == "REQUIRED":
        notes.dropped("response_format")
    elif wanted.schema is None or not strict_schema(wanted.schema):
        notes.emulated("response_format")
        setting.instruction = json_instruction(wanted)
    else:
        notes.emulated("response_format")
        setting.answer_tool = names.fresh(_ANSWER_TOOL)
        function = {
            "name": setting.answer_tool,
            "description": wanted.description or _ANSWER_USE,
            "parameters": wanted.schema,
        }
        members["tools"].append({"type": "function", "function": function})
        members["tool_choice"] = "REQUIRED"


def _plain_shape(
    setting: ToolSetting, conversation: Conversation, wanted: ResponseFormat, notes: Notes
) -> None:
    """Write the shape of an answer that no tool can stand in the way of."""
    fits = wanted.schema is None or strict_schema(wanted.schema)
    documents = bool(conversation.extra.get("documents"))
    if fits and not documents:
        setting.members["response_format"] = {"type": "json_object"}
        if wanted.schema is not None:
            setting.members["response_format"]["json_schema"] = wanted.schema
        elif not speaks_of_json(conversation):
            # A model that is not told what its JSON is to be may write it without an end.
            setting.instruction = JSON_ONLY
        return
    notes.emulated("response_format")
    setting.instruction = json_instruction(wanted)
    if not documents and wanted.schema is not None and wanted.schema.get("type") == "object":
        setting.members["response_format"] = {"type": "json_object"}


def strict_schema(schema: Any, depth: int = 0) -> bool:
    """Tell whether Cohere takes a schema: an object at the top, and something required in every object."""
    if depth > _DEEPEST or not isinstance(schema, dict):
        return False
    if depth == 0 and schema.get("type") != "object":
        return False
    if schema.get("type") == "object" and not schema.get("required"):
        return False
    nested: list[Any] = []
    for name in ("properties", "$defs", "definitions"):
        held = schema.get(name)
        nested += held.values() if isinstance(held, dict) else ()
    alternatives = schema.get("anyOf")
    nested += alternatives if isinstance(alternatives, list) else ()
    if isinstance(schema.get("items"), dict):
        nested.append(schema["items"])
    return all(not isinstance(inner, dict) or strict_schema(inner, depth + 1) for inner in nested)
