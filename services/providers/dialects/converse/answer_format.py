"""
The shape of the answer: by `outputConfig` where the model can, else by a tool that it must call.

The tool's arguments are the answer. Where no call can be forced, an instruction has to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.neutral.closed_schema import (
    ANSWER_TOOL,
    GIVES,
    OPEN,
    closed_schema,
    instruction,
    is_object,
    object_schema,
)
from services.providers.dialects.neutral.fields import dump_body

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import ResponseFormat
    from services.providers.dialects.neutral.notes import Notes
    from services.providers.dialects.neutral.tool_names import ToolNames

__all__ = ["AnswerFormat", "answer_format"]

_PARAM: Final = "response_format"


@dataclass(slots=True, kw_only=True)
class AnswerFormat:
    """
    How the shape of the answer is brought about. At most one member is set.

    Attributes:
        native: Value of `outputConfig.textFormat`.
        tool: Specification of the tool whose arguments are the answer.
        instruction: Text to add to the system prompt.
    """

    native: dict[str, Any] | None = None
    tool: dict[str, Any] | None = None
    instruction: str = ""


def answer_format(
    wanted: ResponseFormat | None, names: ToolNames, notes: Notes, *, structured: bool, can_force: bool
) -> AnswerFormat:
    """
    Write the shape of the answer.

    Args:
        wanted: What the client asked for.
        names: Tool names of the request.
        notes: Where changes are recorded.
        structured: The model can be held to a schema.
        can_force: The request may force a tool call.
    """
    if wanted is None or wanted.kind == "text":
        return AnswerFormat()
    schema = wanted.schema or None
    if schema is not None and structured:
        return AnswerFormat(native=_native(wanted, schema, notes))
    notes.emulated(_PARAM)
    # Arguments are always an object, which the schema of a bare list, say, does not allow for.
    if not can_force or not is_object(schema):
        return AnswerFormat(instruction=instruction(schema, notes))
    tool = {
        "name": names.fresh(ANSWER_TOOL),
        "description": wanted.description.strip() or GIVES,
        "inputSchema": {"json": OPEN if schema is None else object_schema(schema)},
    }
    return AnswerFormat(tool=tool)


def _native(wanted: ResponseFormat, schema: dict[str, Any], notes: Notes) -> dict[str, Any]:
    definition = {"schema": dump_body(closed_schema(schema, notes)).decode()}
    if wanted.name:
        definition["name"] = wanted.name
    if wanted.description:
        definition["description"] = wanted.description
    return {"type": "json_schema", "structure": {"jsonSchema": definition}}
