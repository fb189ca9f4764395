"""
`response_format` for Claude: natively where the model can, else by a tool that it must call.

The tool's arguments are the answer. The response side turns them back into plain content.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from services.providers.dialects.chat_request import Notes, get_dict, get_str, invalid, need_str

if TYPE_CHECKING:
    from services.providers.dialects.anthropic_models import ModelProfile
    from services.providers.dialects.anthropic_tools import ToolNames

JSON_TOOL = "json_answer"
_INSTRUCTION = "Answer with one JSON object and nothing else: no prose around it and no code fence."
_OPEN_SCHEMA: dict[str, Any] = {"type": "object", "additionalProperties": True}
# Far above any schema written by hand, far below what recursion and the serialiser take.
_MAX_DEPTH = 100
# Keywords that the provider's constrained decoding refuses.
_REFUSED = frozenset(
    {
        "contains",
        "dependentRequired",
        "else",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "if",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "not",
        "patternProperties",
        "propertyNames",
        "then",
        "uniqueItems",
    }
)
# Members whose own members are names of the client, not keywords.
_NAMESPACES = frozenset({"properties", "$defs", "definitions"})


@dataclass(slots=True, kw_only=True)
class FormatChoice:
    """
    How the format of the answer is brought about.

    Attributes:
        native: Value of `output_config.format`.
        tool: Definition of the tool whose arguments are the answer.
        instruction: Text to add to the system prompt.
    """

    native: dict[str, Any] | None = None
    tool: dict[str, Any] | None = None
    instruction: str = ""


def translate_format(
    document: dict[str, Any],
    profile: ModelProfile,
    names: ToolNames,
    notes: Notes,
    *,
    can_force: bool,
) -> FormatChoice:
    """
    Translate `response_format`.

    Args:
        document: The request.
        profile: What the model takes.
        names: Tool names of the request.
        notes: Where changes are recorded.
        can_force: The request may force a tool call.
    """
    wanted = get_dict(document, "response_format")
    if wanted is None:
        return FormatChoice()
    kind = need_str(wanted, "type", "response_format.")
    if kind == "text":
        return FormatChoice()
    if kind not in {"json_object", "json_schema"}:
        invalid("response_format.type", "must be text, json_object or json_schema")
    schema, description = _schema(wanted) if kind == "json_schema" else (None, "")
    if schema is not None and profile.structured:
        return FormatChoice(native={"type": "json_schema", "schema": _close(schema, notes)})
    notes.emulated("response_format")
    if can_force:
        tool = {
            "name": names.fresh(JSON_TOOL),
            "description": description or "Gives the answer to the user.",
            "input_schema": schema if schema is not None else _OPEN_SCHEMA,
        }
        return FormatChoice(tool=tool)
    instruction = _INSTRUCTION
    if schema is not None:
        instruction += " It matches this JSON schema: " + dump_schema(schema).decode()
    return FormatChoice(instruction=instruction)


def dump_schema(schema: dict[str, Any]) -> bytes:
    """Write a schema as JSON text."""
    try:
        return orjson.dumps(schema)
    except orjson.JSONEncodeError:
        invalid("response_format.json_schema.schema", "is nested too deeply")


def _schema(wanted: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    path = "response_format.json_schema"
    definition = get_dict(wanted, "json_schema", "response_format.")
    if definition is None:
        invalid(path, "must be an object")
    schema = get_dict(definition, "schema", path + ".")
    description = get_str(definition, "description", path + ".")
    if schema and "type" not in schema and not {"$ref", "anyOf", "allOf", "enum"} & schema.keys():
        schema = {"type": "object", **schema}
    return schema or None, description or ""


def _close(schema: dict[str, Any], notes: Notes) -> dict[str, Any]:
    """Bring a schema into the subset that constrained decoding takes, and record what that loses."""
    lost: set[str] = set()
    closed = _closed(schema, lost, depth=0)
    if lost:
        notes.clamped("response_format.json_schema", "-".join(sorted(lost)))
    return {**closed}


def _closed(node: Any, lost: set[str], *, depth: int, names: bool = False) -> Any:
    if depth > _MAX_DEPTH:
        invalid("response_format.json_schema.schema", "is nested too deeply")
    if isinstance(node, list):
        return [_closed(entry, lost, depth=depth + 1) for entry in node]
    if not isinstance(node, dict):
        return node
    if names:
        return {name: _closed(entry, lost, depth=depth + 1) for name, entry in node.items()}
    closed = {}
    for keyword, value in node.items():
        if keyword in _REFUSED:
            lost.add(keyword)
        elif keyword in {"enum", "const", "default", "examples"}:
            closed[keyword] = value
        else:
            closed[keyword] = _closed(value, lost, depth=depth + 1, names=keyword in _NAMESPACES)
    kind = closed.get("type")
    if kind == "object" or (isinstance(kind, list) and "object" in kind):
        if closed.get("additionalProperties", False) is not False:
            lost.add("additionalProperties")
        closed["additionalProperties"] = False
    return closed
