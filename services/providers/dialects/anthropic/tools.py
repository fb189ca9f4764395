"""
Tools, and the choice among them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.anthropic.blocks import Block, cache_control
from services.providers.dialects.neutral.closed_schema import object_schema
from services.providers.dialects.neutral.conversation import ServerTool
from services.providers.dialects.neutral.free_text import FREE_TEXT, describe
from services.providers.dialects.neutral.notes import invalid

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import Conversation, FunctionTool, ToolChoice
    from services.providers.dialects.neutral.notes import Notes
    from services.providers.dialects.neutral.tool_names import ToolNames

__all__ = ["ToolSetting", "tool_setting"]

_CHOICE: Final = "tool_choice"
# Tools that Anthropic runs or defines itself carry the date of their version.
_BUILT_IN: Final = re.compile(r"[a-z0-9_]+_20\d{6}")
_MODES: Final = {"auto": "auto", "required": "any", "none": "none"}
_NO_PARAMETERS: Final[dict[str, Any]] = {"type": "object", "properties": {}}


@dataclass(slots=True, kw_only=True)
class ToolSetting:
    """
    What is sent about tools.

    Attributes:
        tools: Definitions.
        choice: Value of `tool_choice`; None: nothing is sent.
        custom: Names, as sent, of the tools that take free text.
    """

    tools: list[Block] = field(default_factory=list)
    choice: dict[str, Any] | None = None
    custom: frozenset[str] = frozenset()

    @property
    def forced(self) -> bool:
        """Some tool has to be called."""
        return self.choice is not None and self.choice["type"] in {"any", "tool"}

    def loosen(self, notes: Notes) -> None:
        """Leave the choice to the model, where no call can be forced."""
        if self.choice is not None and self.forced:
            notes.clamped(_CHOICE, "auto")
            kept = {name: value for name, value in self.choice.items() if name != "name"}
            self.choice = kept | {"type": "auto"}

    def add_answer_tool(self, tool: Block) -> str:
        """
        Offer the tool that gives the answer beside the client's own, and make the model call one of them.

        Returns its name; empty when a call that the client forces is the whole answer.
        """
        if self.choice is not None and self.choice["type"] == "tool":
            return ""
        if not self.tools or (self.choice is not None and self.choice["type"] == "none"):
            self.choice = {"type": "tool", "name": tool["name"]}
        else:
            self.choice = {**(self.choice or {}), "type": "any"}
        self.tools.append(tool)
        return str(tool["name"])

    def add_placeholders(self, called: set[str]) -> None:
        """Define the tools that a history calls and a request leaves out; Anthropic wants them defined."""
        self.tools += [{"name": name, "input_schema": _NO_PARAMETERS} for name in sorted(called)]
        self.choice = {"type": "none"}


def tool_setting(
    conversation: Conversation, names: ToolNames, notes: Notes, *, structured: bool
) -> ToolSetting:
    """
    Write tools and choice.

    Args:
        conversation: The request.
        names: Names as they are sent.
        notes: Where changes are recorded.
        structured: The model takes `strict` on a tool.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the parameter.
    """
    tools: list[Block] = []
    custom: set[str] = set()
    for tool in conversation.tools:
        if not isinstance(tool, ServerTool):
            tools.append(_definition(tool, names, notes, structured=structured))
            if tool.custom:
                custom.add(names.sent(tool.name))
        elif _BUILT_IN.fullmatch(tool.kind):
            tools.append(tool.raw)
        else:
            path = tool.path or "tools"
            notes.dropped(path if path.endswith(f".{tool.kind}") else f"{path}.{tool.kind}")
    choice = conversation.tool_choice
    if not tools:
        if choice is not None and (choice.mode == "required" or choice.allowed):
            notes.dropped(_CHOICE)
        return ToolSetting()
    if choice is not None and choice.allowed:
        tools = _allowed(tools, choice, names, notes)
    return ToolSetting(
        tools=tools,
        choice=_choice(choice, tools, names, notes, parallel=conversation.parallel_tool_calls),
        custom=frozenset(custom),
    )


def _definition(tool: FunctionTool, names: ToolNames, notes: Notes, *, structured: bool) -> Block:
    definition: Block = {"name": names.sent(tool.name)}
    description = describe(tool, notes) if tool.custom else tool.description
    if description:
        definition["description"] = description
    definition["input_schema"] = FREE_TEXT if tool.custom else object_schema(tool.parameters)
    if tool.strict and structured:
        definition["strict"] = True
    elif tool.strict:
        notes.dropped("tools.strict")
    if tool.cache is not None:
        definition["cache_control"] = cache_control(tool.cache)
    return definition


def _allowed(tools: list[Block], choice: ToolChoice, names: ToolNames, notes: Notes) -> list[Block]:
    """Send only those tools that may be called, for Anthropic knows no choice among some."""
    sent = {names.sent(name) for name in choice.allowed}
    kept = [tool for tool in tools if tool.get("name") in sent]
    if not kept:
        invalid(notes.name(_CHOICE), "names no tool of this request")
    notes.emulated("tool_choice.allowed")
    return kept


def _choice(
    choice: ToolChoice | None,
    tools: list[Block],
    names: ToolNames,
    notes: Notes,
    *,
    parallel: bool | None,
) -> dict[str, Any] | None:
    written: dict[str, Any] | None = None
    if choice is not None and choice.mode == "required" and choice.name:
        name = names.sent(choice.name)
        if all(tool.get("name") != name for tool in tools):
            invalid(notes.name(_CHOICE), "names no tool of this request")
        written = {"type": "tool", "name": name}
    elif choice is not None:
        written = {"type": _MODES[choice.mode]}
    if parallel is False and (written is None or written["type"] != "none"):
        written = {**(written or {"type": "auto"}), "disable_parallel_tool_use": True}
    return written
