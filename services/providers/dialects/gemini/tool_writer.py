"""
Tools, and the choice between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.gemini.schema import to_openapi
from services.providers.dialects.neutral.conversation import FunctionTool, ServerTool
from services.providers.dialects.neutral.free_text import FREE_TEXT, describe
from services.providers.dialects.neutral.notes import invalid
from services.providers.dialects.neutral.tool_names import NameRule

if TYPE_CHECKING:
    from services.providers.dialects.gemini.models import ModelProfile
    from services.providers.dialects.neutral.conversation import Conversation, ToolChoice
    from services.providers.dialects.neutral.notes import Notes
    from services.providers.dialects.neutral.tool_names import ToolNames

__all__ = ["NAMES", "TOOL_CONFIG_PREFIX", "write_tools"]

NAMES: Final = NameRule(r"a-zA-Z0-9_.:-", 64, first="a-zA-Z_")
# Members of `toolConfig` that a client of this dialect gave and that have no place in a conversation.
TOOL_CONFIG_PREFIX: Final = "toolConfig."

# Kinds of tools that Google runs, by their name in a `tools` entry.
_OWN: Final = frozenset(
    {
        "codeExecution",
        "computerUse",
        "enterpriseWebSearch",
        "exaAiSearch",
        "fileSearch",
        "googleMaps",
        "googleSearch",
        "googleSearchRetrieval",
        "mcpServers",
        "parallelAiSearch",
        "retrieval",
        "urlContext",
    }
)
_MODES: Final = {"auto": "AUTO", "none": "NONE", "required": "ANY"}

Json = dict[str, Any]


def write_tools(
    conversation: Conversation, profile: ModelProfile, names: ToolNames, notes: Notes
) -> tuple[list[Json], Json]:
    """
    Write `tools` and `toolConfig`, each empty when there is none.

    Raises:
        GatewayError: INVALID_REQUEST; the choice names a tool that there is not, or a schema is beyond use.
    """
    choice = conversation.tool_choice
    functions: list[Json] = []
    tools: list[Json] = []
    for tool in conversation.tools:
        if isinstance(tool, ServerTool):
            if tool.kind in _OWN and tool.kind in tool.raw:
                tools.append(tool.raw)
            else:
                notes.dropped(tool.path or "tools")
        elif not _left_out(tool.name, choice):
            functions.append(_function(tool, profile, names, notes))
    if functions:
        tools.insert(0, {"functionDeclarations": functions})
    config = _choice(choice, functions, names, notes)
    for name in [name for name in conversation.extra if name.startswith(TOOL_CONFIG_PREFIX)]:
        config.setdefault(name.removeprefix(TOOL_CONFIG_PREFIX), conversation.extra.pop(name))
    if conversation.parallel_tool_calls is False and functions:
        notes.dropped("parallel_tool_calls")
    return tools, config


def _left_out(name: str, choice: ToolChoice | None) -> bool:
    """Names can be listed for a forced call only, so that for a free one the others are not declared."""
    return (
        choice is not None and choice.mode == "auto" and bool(choice.allowed) and name not in choice.allowed
    )


def _function(tool: FunctionTool, profile: ModelProfile, names: ToolNames, notes: Notes) -> Json:
    function: Json = {"name": names.sent(tool.name)}
    description = describe(tool, notes) if tool.custom else tool.description
    if description:
        function["description"] = description
    schema = FREE_TEXT if tool.custom else tool.parameters
    # A schema without members is refused by some versions and says nothing to the others.
    if schema and (schema.get("properties") or "$ref" in schema or "anyOf" in schema or "allOf" in schema):
        if profile.json_schema:
            function["parametersJsonSchema"] = {"type": "object", **schema}
        else:
            function["parameters"] = to_openapi(schema, f"{tool.path or 'tools'}.parameters")
    if tool.strict:
        notes.dropped("tools.strict")
    return function


def _choice(choice: ToolChoice | None, functions: list[Json], names: ToolNames, notes: Notes) -> Json:
    if choice is None:
        return {}
    if not functions:
        if choice.mode == "required":
            notes.dropped("tool_choice")
        return {}
    calling: Json = {"mode": _MODES[choice.mode]}
    wanted = (choice.name,) if choice.name else choice.allowed
    if choice.mode == "required" and wanted:
        declared = {function["name"] for function in functions}
        allowed = [names.sent(name) for name in wanted]
        if not declared.issuperset(allowed):
            invalid(notes.name("tool_choice"), "names a tool that is not in the request")
        calling["allowedFunctionNames"] = allowed
    return {"functionCallingConfig": calling}
