"""
Reads the tools of a request and the choice among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from services.providers.dialects.anthropic.content_reader import cache_mark, drop_members
from services.providers.dialects.neutral.conversation import FunctionTool, ServerTool, ToolChoice
from services.providers.dialects.neutral.fields import (
    get_bool,
    get_dict,
    get_list,
    get_str,
    need_dict,
    need_str,
)
from services.providers.dialects.neutral.notes import invalid

if TYPE_CHECKING:
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["read_tool_choice", "read_tools"]

Tools = list[FunctionTool | ServerTool]

_MODES: Final[dict[str, Literal["auto", "none", "required"]]] = {
    "auto": "auto",
    "any": "required",
    "none": "none",
}
# Members that say how Anthropic is to handle a tool.
_ONLY_HERE: Final = ("allowed_callers", "defer_loading", "eager_input_streaming", "input_examples")


def read_tools(document: dict[str, Any], notes: Notes) -> Tools:
    """
    Read the tools: the client's own, and those that Anthropic defines.

    Raises:
        GatewayError: INVALID_REQUEST, naming the tool at fault.
    """
    tools: Tools = []
    for index, entry in enumerate(get_list(document, "tools")):
        path = f"tools.{index}"
        definition = need_dict(entry, path)
        kind = get_str(definition, "type", path + ".") or "custom"
        if kind == "custom":
            tools.append(_tool(definition, path, notes))
        else:
            tools.append(ServerTool(kind=kind, raw=definition, path=path))
    return tools


def _tool(definition: dict[str, Any], path: str, notes: Notes) -> FunctionTool:
    where = path + "."
    drop_members(definition, _ONLY_HERE, "tools", notes)
    return FunctionTool(
        name=need_str(definition, "name", where),
        description=get_str(definition, "description", where) or "",
        parameters=get_dict(definition, "input_schema", where),
        strict=get_bool(definition, "strict", where),
        cache=cache_mark(definition, where),
        path=path,
    )


def read_tool_choice(document: dict[str, Any], tools: Tools) -> tuple[ToolChoice | None, bool | None]:
    """
    Read `tool_choice`: the choice, and whether several calls at a time are allowed (None: not said).

    Raises:
        GatewayError: INVALID_REQUEST; also when it names a tool that is not among several.
    """
    choice = get_dict(document, "tool_choice")
    if choice is None:
        return None, None
    path = "tool_choice."
    single = get_bool(choice, "disable_parallel_tool_use", path)
    parallel = None if single is None else not single
    kind = need_str(choice, "type", path)
    if kind in _MODES:
        return ToolChoice(mode=_MODES[kind]), parallel
    if kind != "tool":
        invalid("tool_choice.type", "must be auto, any, tool or none")
    name = need_str(choice, "name", path)
    if tools and name not in _names(tools):
        invalid("tool_choice.name", "names no tool of this request")
    return ToolChoice(mode="required", name=name), parallel


def _names(tools: Tools) -> set[Any]:
    return {tool.name if isinstance(tool, FunctionTool) else str(tool.raw.get("name")) for tool in tools}
