"""
Reads tools, and the choice between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.gemini.schema_reader import from_openapi
from services.providers.dialects.gemini.tool_writer import TOOL_CONFIG_PREFIX
from services.providers.dialects.gemini.wire_names import camel, many, need_camel
from services.providers.dialects.neutral.conversation import FunctionTool, ServerTool, ToolChoice
from services.providers.dialects.neutral.fields import get_dict, get_list, get_str, need_str
from services.providers.dialects.neutral.notes import invalid

if TYPE_CHECKING:
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["read_tool_choice", "read_tools"]

Json = dict[str, Any]
Tools = list[FunctionTool | ServerTool]

_CALLING: Final = "functionCallingConfig"
# Members of a declaration that only Google has a use for.
_ONLY_HERE: Final = ("behavior", "response", "responseJsonSchema")
_ASKS_FOR_NOTHING: Final = ("BLOCKING", "UNSPECIFIED")


def read_tools(document: Json, notes: Notes) -> Tools:
    """
    Read the tools: functions, and each tool that Google runs by itself.

    Raises:
        GatewayError: INVALID_REQUEST, naming the tool at fault.
    """
    tools: Tools = []
    for index, entry in enumerate(many(document, "tools")):
        path = f"tools[{index}]"
        tool = need_camel(entry, path)
        for number, declaration in enumerate(many(tool, "functionDeclarations", path + ".")):
            where = f"{path}.functionDeclarations[{number}]"
            tools.append(_function(need_camel(declaration, where), where, notes))
        tools += [
            ServerTool(kind=name, raw={name: value}, path=f"{path}.{name}")
            for name, value in tool.items()
            if name != "functionDeclarations" and value is not None
        ]
    return tools


def _function(declaration: Json, path: str, notes: Notes) -> FunctionTool:
    where = path + "."
    for name in _ONLY_HERE:
        if declaration.get(name) and declaration[name] not in _ASKS_FOR_NOTHING:
            notes.dropped(f"tools.functionDeclarations.{name}")
    schema = get_dict(declaration, "parametersJsonSchema", where)
    given = get_dict(declaration, "parameters", where)
    if schema is None and given is not None:
        schema = from_openapi(given, f"{where}parameters")
    return FunctionTool(
        name=need_str(declaration, "name", where),
        description=get_str(declaration, "description", where) or "",
        parameters=schema or None,
        path=path,
    )


def read_tool_choice(document: Json, tools: Tools, extra: Json, notes: Notes) -> ToolChoice | None:
    """
    Read `toolConfig`; what has no place in a conversation goes into `extra`.

    Raises:
        GatewayError: INVALID_REQUEST; also when it names a function that is not declared.
    """
    config = camel(get_dict(document, "toolConfig") or {})
    for name, value in config.items():
        if name != _CALLING and value not in (None, {}, False):
            extra[TOOL_CONFIG_PREFIX + name] = value
    path = f"{TOOL_CONFIG_PREFIX}{_CALLING}."
    calling = camel(get_dict(config, _CALLING, TOOL_CONFIG_PREFIX) or {})
    if calling.get("streamFunctionCallArguments"):
        notes.dropped(f"{path}streamFunctionCallArguments")
    mode = (get_str(calling, "mode", path) or "").upper()
    names = _names(calling, path, tools)
    match mode:
        case "" | "MODE_UNSPECIFIED":
            choice = ToolChoice(mode="auto", allowed=names) if names else None
        case "AUTO" | "VALIDATED":
            if mode == "VALIDATED":
                notes.clamped(f"{path}mode", "AUTO")
            choice = ToolChoice(mode="auto", allowed=names)
        case "ANY":
            single = names[0] if len(names) == 1 else ""
            choice = ToolChoice(mode="required", name=single, allowed=() if single else names)
        case "NONE":
            choice = ToolChoice(mode="none")
        case _:
            invalid(f"{path}mode", "must be AUTO, ANY, NONE or VALIDATED")
    return choice


def _names(calling: Json, path: str, tools: Tools) -> tuple[str, ...]:
    names = get_list(calling, "allowedFunctionNames", path)
    declared = {tool.name for tool in tools if isinstance(tool, FunctionTool)}
    for name in names:
        if not isinstance(name, str) or name not in declared:
            invalid(f"{path}allowedFunctionNames", "names a function that is not declared")
    return tuple(dict.fromkeys(names))
