"""
Tools that take free text, for targets whose tools take JSON alone: the text is the one member of an object.

The calls are written as such objects, and `Restore.custom_tools` takes the text out of the model's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from services.providers.dialects.neutral.notes import invalid

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import FunctionTool
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["FREE_TEXT", "describe", "dump_free_text"]

FREE_TEXT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "All of the tool's input, as plain text."}},
    "required": ["input"],
    "additionalProperties": False,
}


def describe(tool: FunctionTool, notes: Notes) -> str:
    """
    Describe a tool that takes free text. What bounds the text can only be told, not enforced.

    Raises:
        GatewayError: INVALID_REQUEST; the grammar cannot be written. UNSUPPORTED, in strict mode.
    """
    path = tool.path or notes.name("tools")
    notes.emulated(path)
    if not tool.grammar or tool.grammar.get("type") == "text":
        return tool.description
    # OpenAI's chat completions have the members below `grammar`, its responses beside the type.
    inner = tool.grammar.get("grammar")
    grammar = inner if isinstance(inner, dict) else tool.grammar
    syntax, rules = grammar.get("syntax"), grammar.get("definition")
    try:
        told = rules if isinstance(rules, str) else orjson.dumps(grammar).decode()
    except orjson.JSONEncodeError:
        invalid(path, "has a grammar that is nested too deeply")
    kind = f" ({syntax})" if isinstance(syntax, str) else ""
    return f"{tool.description}\n\nThe input must keep to this grammar{kind}:\n{told}".strip()


def dump_free_text(value: str) -> str:
    """Write the free text that a call has for arguments as the object that it must be."""
    return orjson.dumps({"input": value.encode("utf-8", "replace").decode()}).decode()
