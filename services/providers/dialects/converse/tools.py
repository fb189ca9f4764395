"""Tools and the choice among them as Converse's `toolConfig`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.converse.blocks import Block, cache_point
from services.providers.dialects.neutral.closed_schema import object_schema
from services.providers.dialects.neutral.conversation import ServerTool, ToolCallPart
from services.providers.dialects.neutral.free_text import FREE_TEXT, describe
from services.providers.dialects.neutral.notes import invalid

if TYPE_CHECKING:
    from services.providers.dialects.converse.families import Family, Forces
    from services.providers.dialects.neutral.conversation import Conversation, FunctionTool, ToolChoice
    from services.providers.dialects.neutral.notes import Notes
    from services.providers.dialects.neutral.tool_names import ToolNames

__all__ = ["ToolSetting", "tool_setting"]

_CHOICE: Final = "tool_choice"
_NO_PARAMETERS: Final = {"type": "object", "properties": {}}
_NOT_NOW: Final = "Not available at the moment."
_FORMER: Final = "former_tool"


@dataclass(slots=True, kw_only=True)
class ToolSetting:
    """
    What is sent about tools.

    Attributes:
        tools: Elements of `toolConfig.tools`.
        choice: Value of `toolConfig.toolChoice`; None: nothing is sent.
        forced: Some tool has to be called.
        custom: Names, as sent, of the tools that take free text.
    """

    tools: list[Block] = field(default_factory=list)
    choice: dict[str, Any] | None = None
    forced: bool = False
    custom: set[str] = field(default_factory=set)

    def value(self) -> dict[str, Any] | None:
        """Return the value of `toolConfig`; None: it is left out."""
        if not self.tools:
            return None
        return {"tools": self.tools, **({"toolChoice": self.choice} if self.choice is not None else {})}

    def add_answer_tool(self, tool: Block, family: Family) -> None:
        """Offer the tool that gives the answer beside the client's, and make the model call one of them."""
        alone = not self.tools
        self.tools.append({"toolSpec": tool})
        if alone and family.forces == "named":
            self.choice = {"tool": {"name": tool["name"]}}
        else:
            self.choice = {"any": {}}

    def add_placeholders(self, conversation: Conversation, names: ToolNames) -> None:
        """Define the tools that a history calls and a request leaves out: Converse wants them defined."""
        called = {
            names.sent(part.name)
            for message in conversation.messages
            for part in message.parts
            if isinstance(part, ToolCallPart)
        }
        for name in sorted(called) or [names.fresh(_FORMER)]:
            self.tools.append(
                {"toolSpec": {"name": name, "description": _NOT_NOW, "inputSchema": {"json": _NO_PARAMETERS}}}
            )


def tool_setting(
    conversation: Conversation,
    family: Family,
    names: ToolNames,
    notes: Notes,
    *,
    can_force: bool,
    structured: bool,
) -> ToolSetting:
    """
    Write tools and choice.

    Args:
        conversation: The request.
        family: What the model takes.
        names: Names as they are sent.
        notes: Where changes are recorded.
        can_force: Nothing else in the request stands against a forced call.
        structured: The model takes `strict` on a tool.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the parameter.
    """
    functions = _functions(conversation, notes)
    choice = conversation.tool_choice
    if choice is not None and choice.mode == "none":
        if functions:
            notes.emulated(_CHOICE)  # by leaving the tools out: Converse has no word for it
        return ToolSetting()
    if not functions:
        if choice is not None and (choice.mode == "required" or choice.allowed):
            notes.dropped(_CHOICE)
        return ToolSetting()
    if choice is not None and choice.allowed:
        functions = [tool for tool in functions if tool.name in choice.allowed]
        notes.emulated("tool_choice.allowed")
    setting = ToolSetting()
    if choice is not None and choice.mode == "required":
        forces = family.forces if can_force else "none"
        functions = _force(setting, choice, functions, forces, names, notes=notes)
    if conversation.parallel_tool_calls is False:
        notes.dropped("parallel_tool_calls")
    for tool in functions:
        setting.tools.append(_spec(tool, names, notes, structured=structured))
        if tool.custom:
            setting.custom.add(names.sent(tool.name))
        if tool.cache is not None and "tools" in family.caches:
            setting.tools.append(cache_point(tool.cache))
        elif tool.cache is not None:
            notes.dropped("cache_control")
    return setting


def _functions(conversation: Conversation, notes: Notes) -> list[FunctionTool]:
    found = []
    for tool in conversation.tools:
        if isinstance(tool, ServerTool):
            notes.dropped(tool.path or "tools")
        else:
            found.append(tool)
    return found


def _force(
    setting: ToolSetting,
    choice: ToolChoice,
    functions: list[FunctionTool],
    forces: Forces,
    names: ToolNames,
    *,
    notes: Notes,
) -> list[FunctionTool]:
    """Write a choice that demands a call; returns the tools that remain."""
    kept = [tool for tool in functions if tool.name == choice.name] if choice.name else functions
    if not kept:
        invalid(notes.name(_CHOICE), "demands a tool that is not among the tools")
    if forces == "none":
        notes.clamped(_CHOICE, "auto")
        return kept
    setting.forced = True
    if not choice.name:
        setting.choice = {"any": {}}
        return functions
    if forces == "named":
        setting.choice = {"tool": {"name": names.sent(choice.name)}}
        return functions
    notes.emulated(_CHOICE)
    setting.choice = {"any": {}}
    return kept


def _spec(tool: FunctionTool, names: ToolNames, notes: Notes, *, structured: bool) -> Block:
    spec: Block = {"name": names.sent(tool.name)}
    description = describe(tool, notes) if tool.custom else tool.description
    if description.strip():
        spec["description"] = description
    spec["inputSchema"] = {"json": FREE_TEXT if tool.custom else object_schema(tool.parameters)}
    if tool.strict and structured:
        spec["strict"] = True
    elif tool.strict:
        notes.dropped("tools.strict")
    return {"toolSpec": spec}
