"""
Reads a chat request's tools, the choice among them, and the format of the answer.
"""

from __future__ import annotations

from typing import Any, Final, Literal, cast

from services.providers.dialects.neutral.conversation import (
    FunctionTool,
    ResponseFormat,
    ServerTool,
    ToolChoice,
)
from services.providers.dialects.neutral.fields import (
    get_bool,
    get_dict,
    get_list,
    get_str,
    need_dict,
    need_str,
)
from services.providers.dialects.neutral.notes import invalid, unsupported
from services.providers.dialects.openai_chat.part_reader import cache_mark

__all__ = ["read_response_format", "read_tool_choice", "read_tools"]

Mode = Literal["auto", "none", "required"]
_MODES: Final = ("auto", "none", "required")
_OURS: Final = ("function", "custom")


def read_tools(document: dict[str, Any]) -> list[FunctionTool | ServerTool]:
    """
    Read the tools.

    Raises:
        GatewayError: INVALID_REQUEST, naming the tool at fault.
    """
    tools: list[FunctionTool | ServerTool] = []
    for index, entry in enumerate(get_list(document, "tools")):
        path = f"tools[{index}]"
        definition = need_dict(entry, path)
        kind = need_str(definition, "type", path + ".")
        if kind in _OURS:
            tools.append(_tool(definition, kind, path))
        else:
            tools.append(ServerTool(kind=kind, raw=definition, path=path))
    return tools


def _tool(definition: dict[str, Any], kind: str, path: str) -> FunctionTool:
    body = need_dict(definition.get(kind), f"{path}.{kind}")
    where = f"{path}.{kind}."
    custom = kind == "custom"
    return FunctionTool(
        name=need_str(body, "name", where),
        description=get_str(body, "description", where) or "",
        parameters=None if custom else get_dict(body, "parameters", where),
        strict=None if custom else get_bool(body, "strict", where),
        custom=custom,
        grammar=get_dict(body, "format", where) if custom else None,
        cache=cache_mark(definition, path) or cache_mark(body, where[:-1]),
        path=path,
    )


def read_tool_choice(document: dict[str, Any], tools: list[FunctionTool | ServerTool]) -> ToolChoice | None:
    """
    Read `tool_choice`.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED; also when it names a tool that is not among several.
    """
    choice = document.get("tool_choice")
    if choice is None:
        return None
    if isinstance(choice, str):
        if choice not in _MODES:
            invalid("tool_choice", "must be 'auto', 'none', 'required' or name a tool")
        return ToolChoice(mode=cast("Mode", choice))
    choice = need_dict(choice, "tool_choice")
    kind = need_str(choice, "type", "tool_choice.")
    known = {tool.name for tool in tools if isinstance(tool, FunctionTool)}
    if kind in _OURS:
        body = need_dict(choice.get(kind), f"tool_choice.{kind}")
        name = need_str(body, "name", f"tool_choice.{kind}.")
        if tools and name not in known:
            invalid(f"tool_choice.{kind}.name", "names no tool of this request")
        return ToolChoice(mode="required", name=name)
    if kind != "allowed_tools":
        unsupported("tool_choice.type", "is not supported by this provider")
    return _allowed(need_dict(choice.get("allowed_tools"), "tool_choice.allowed_tools"), known, bool(tools))


def _allowed(allowed: dict[str, Any], known: set[str], given: bool) -> ToolChoice:  # noqa: FBT001
    path = "tool_choice.allowed_tools."
    mode = get_str(allowed, "mode", path) or "auto"
    if mode not in {"auto", "required"}:
        invalid(f"{path}mode", "must be 'auto' or 'required'")
    names: dict[str, None] = {}
    for entry in get_list(allowed, "tools", path):
        for kind in _OURS:
            body = entry.get(kind) if isinstance(entry, dict) else None
            name = body.get("name") if isinstance(body, dict) else None
            if isinstance(name, str) and name and (name in known or not given):
                names[name] = None
    if not names:
        invalid(f"{path}tools", "names no tool of this request")
    return ToolChoice(mode=cast("Mode", mode), allowed=tuple(names))


def read_response_format(document: dict[str, Any]) -> ResponseFormat | None:
    """
    Read `response_format`; None for plain text, which needs no asking for.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    wanted = get_dict(document, "response_format")
    if wanted is None:
        return None
    kind = need_str(wanted, "type", "response_format.")
    if kind == "text":
        return None
    if kind == "json_object":
        schema = get_dict(wanted, "schema", "response_format.")
        return ResponseFormat(kind="json_object", schema=schema or None)
    if kind != "json_schema":
        invalid("response_format.type", "must be text, json_object or json_schema")
    definition = get_dict(wanted, "json_schema", "response_format.")
    path = "response_format.json_schema"
    if definition is None:
        invalid(path, "must be an object")
    path += "."
    return ResponseFormat(
        kind="json_schema",
        name=get_str(definition, "name", path) or "",
        description=get_str(definition, "description", path) or "",
        schema=get_dict(definition, "schema", path) or None,
        strict=get_bool(definition, "strict", path),
    )
