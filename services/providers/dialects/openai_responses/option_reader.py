"""
Reads what a request says beside its input: tools, the choice among them, the answer's shape, reasoning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, cast

from services.providers.dialects.neutral.conversation import (
    FunctionTool,
    ReasoningOptions,
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
from services.providers.dialects.neutral.notes import invalid
from services.providers.dialects.openai_chat.part_reader import cache_mark
from services.providers.dialects.openai_responses.grammar import nested_grammar

if TYPE_CHECKING:
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["read_format", "read_reasoning", "read_tool_choice", "read_tools"]

Mode = Literal["auto", "none", "required"]
_MODES: Final = ("auto", "none", "required")
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_SUMMARIES: Final = ("auto", "concise", "detailed")


def read_tools(document: dict[str, Any]) -> list[FunctionTool | ServerTool]:
    """
    Read `tools`.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    return [
        _tool(need_dict(tool, f"tools[{at}]"), f"tools[{at}]")
        for at, tool in enumerate(get_list(document, "tools"))
    ]


def _tool(tool: dict[str, Any], path: str) -> FunctionTool | ServerTool:
    at = f"{path}."
    kind = need_str(tool, "type", at)
    if kind not in {"function", "custom"}:
        return ServerTool(kind=kind, raw=tool, path=path)
    name = need_str(tool, "name", at)
    description = get_str(tool, "description", at) or ""
    if kind == "custom":
        grammar = nested_grammar(get_dict(tool, "format", at))
        return FunctionTool(name=name, description=description, custom=True, grammar=grammar, path=path)
    return FunctionTool(
        name=name,
        description=description,
        parameters=get_dict(tool, "parameters", at),
        strict=get_bool(tool, "strict", at),
        cache=cache_mark(tool, path),
        path=path,
    )


def read_tool_choice(
    document: dict[str, Any], tools: list[FunctionTool | ServerTool], notes: Notes
) -> ToolChoice | None:
    """
    Read `tool_choice`.

    Raises:
        GatewayError: INVALID_REQUEST; also when it names a tool that is not among several.
    """
    value = document.get("tool_choice")
    if value is None:
        return None
    if isinstance(value, str):
        if value not in _MODES:
            invalid("tool_choice", "must be 'auto', 'none', 'required' or an object")
        return ToolChoice(mode=cast("Mode", value))
    choice = need_dict(value, "tool_choice")
    known = {tool.name for tool in tools if isinstance(tool, FunctionTool)}
    kind = need_str(choice, "type", "tool_choice.")
    if kind in {"function", "custom"}:
        name = need_str(choice, "name", "tool_choice.")
        if tools and name not in known:
            invalid("tool_choice.name", "names no tool of this request")
        return ToolChoice(mode="required", name=name)
    if kind == "allowed_tools":
        return _allowed(choice, known, notes)
    notes.dropped("tool_choice")  # a tool that the provider runs
    return None


def _allowed(choice: dict[str, Any], known: set[str], notes: Notes) -> ToolChoice:
    mode = get_str(choice, "mode", "tool_choice.") or "auto"
    names: dict[str, None] = {}
    for at, entry in enumerate(get_list(choice, "tools", "tool_choice.")):
        tool = need_dict(entry, f"tool_choice.tools[{at}]")
        name = get_str(tool, "name", f"tool_choice.tools[{at}].")
        if name in known:
            names[name] = None
        else:
            notes.dropped("tool_choice.tools")
    if not names:
        # None of them left would mean all of them.
        invalid("tool_choice.tools", "names no tool of this request that the client runs itself")
    if mode not in {"auto", "required"}:
        invalid("tool_choice.mode", "must be 'auto' or 'required'")
    return ToolChoice(mode=cast("Mode", mode), allowed=tuple(names))


def read_format(text: dict[str, Any]) -> ResponseFormat | None:
    """
    Read `text.format`.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    form = get_dict(text, "format", "text.")
    if form is None:
        return None
    at = "text.format."
    kind = need_str(form, "type", at)
    if kind == "text":
        return None
    if kind == "json_object":
        return ResponseFormat(kind="json_object")
    if kind != "json_schema":
        invalid("text.format.type", "must be 'text', 'json_object' or 'json_schema'")
    schema = get_dict(form, "schema", at)
    if schema is None:
        invalid("text.format.schema", "must be an object")
    return ResponseFormat(
        kind="json_schema",
        name=get_str(form, "name", at) or "",
        description=get_str(form, "description", at) or "",
        schema=schema,
        strict=get_bool(form, "strict", at),
    )


def read_reasoning(document: dict[str, Any], notes: Notes) -> ReasoningOptions | None:
    """
    Read `reasoning`.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    given = get_dict(document, "reasoning")
    if given is None:
        return None
    effort = get_str(given, "effort", "reasoning.") or ""
    if effort and effort not in _EFFORTS:
        invalid("reasoning.effort", f"must be one of {', '.join(_EFFORTS)}")
    older = get_str(given, "generate_summary", "reasoning.")
    summary = get_str(given, "summary", "reasoning.") or older or ""
    if summary and summary not in _SUMMARIES:
        invalid("reasoning.summary", f"must be one of {', '.join(_SUMMARIES)}")
    for name in ("context", "mode"):
        if given.get(name) not in (None, "auto", "standard"):
            notes.dropped(f"reasoning.{name}")
    if not effort and not summary:
        return None
    return ReasoningOptions(effort=effort, summary=summary, show=True if summary else None)
