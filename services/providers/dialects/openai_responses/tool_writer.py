"""
Writes tools, the choice among them and the shape of the answer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.neutral.conversation import FunctionTool
from services.providers.dialects.openai_responses.grammar import flat_grammar

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import Conversation, ResponseFormat, ToolChoice
    from services.providers.dialects.neutral.notes import Notes
    from services.providers.dialects.neutral.tool_names import ToolNames

__all__ = ["write_format", "write_tools"]

Json = dict[str, Any]
# Tools that OpenAI runs itself, or that are known to its responses only.
_SERVER_TOOLS: Final = frozenset(
    {
        "apply_patch",
        "code_interpreter",
        "computer",
        "computer_use_preview",
        "file_search",
        "image_generation",
        "local_shell",
        "mcp",
        "namespace",
        "shell",
        "tool_search",
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
    }
)
_UNSAFE: Final = re.compile(r"[^a-zA-Z0-9_-]")
_USUAL_NAME: Final = "answer"


def write_tools(conversation: Conversation, names: ToolNames, notes: Notes) -> Json:
    """
    Write the members `tools`, `tool_choice` and `parallel_tool_calls`.

    Raises:
        GatewayError: UNSUPPORTED, in strict mode.
    """
    tools: list[Json] = []
    for tool in conversation.tools:
        if isinstance(tool, FunctionTool):
            if tool.cache is not None:
                notes.dropped("cache_control")
            tools.append(_tool(tool, names))
        elif tool.kind in _SERVER_TOOLS:
            tools.append(tool.raw)
        else:
            notes.dropped(tool.path or "tools")
    choice = conversation.tool_choice
    if not tools:
        if choice is not None and choice.mode == "required":
            notes.dropped("tool_choice")  # the tools were left out, or there were none
        return {}
    members: Json = {"tools": tools}
    if choice is not None:
        kinds = {tool.name: _kind(tool) for tool in conversation.tools if isinstance(tool, FunctionTool)}
        members["tool_choice"] = _choice(choice, kinds, names)
    if conversation.parallel_tool_calls is not None:
        members["parallel_tool_calls"] = conversation.parallel_tool_calls
    return members


def _kind(tool: FunctionTool) -> str:
    return "custom" if tool.custom else "function"


def _tool(tool: FunctionTool, names: ToolNames) -> Json:
    written: Json = {"type": _kind(tool), "name": names.sent(tool.name)}
    if tool.description:
        written["description"] = tool.description
    if tool.custom:
        form = flat_grammar(tool.grammar)
        return {**written, "format": form} if form is not None else written
    written["parameters"] = (
        {"type": "object", "properties": {}} if tool.parameters is None else tool.parameters
    )
    # Left out, responses take it for true, and refuse schemas that do not fit that.
    written["strict"] = bool(tool.strict)
    return written


def _choice(choice: ToolChoice, kinds: dict[str, str], names: ToolNames) -> str | Json:
    if choice.name:
        return _reference(choice.name, kinds, names)
    if choice.allowed and choice.mode != "none":
        allowed = [_reference(name, kinds, names) for name in choice.allowed]
        return {"type": "allowed_tools", "mode": choice.mode, "tools": allowed}
    return choice.mode


def _reference(name: str, kinds: dict[str, str], names: ToolNames) -> Json:
    return {"type": kinds.get(name, "function"), "name": names.sent(name)}


def write_format(wanted: ResponseFormat | None) -> Json | None:
    """Write `text.format`; None: plain text."""
    if wanted is None or wanted.kind == "text":
        return None
    if wanted.schema is None:
        return {"type": "json_object"}
    name = _UNSAFE.sub("_", wanted.name)[:64] or _USUAL_NAME
    written: Json = {"type": "json_schema", "name": name, "schema": wanted.schema}
    if wanted.description:
        written["description"] = wanted.description
    if wanted.strict is not None:
        written["strict"] = wanted.strict
    return written
