"""
The shape of the answer: natively where the model can, else by a tool that it must call.

The tool's arguments are the answer, and become plain content on the way back. Where no call can be forced, an
instruction has to do.
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
        native: Value of `output_config.format`.
        tool: Definition of the tool whose arguments are the answer.
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
        return AnswerFormat(native={"type": "json_schema", "schema": closed_schema(schema, notes)})
    notes.emulated(_PARAM)
    # Arguments are always an object, which the schema of a bare list, say, does not allow for.
    if not can_force or not is_object(schema):
        return AnswerFormat(instruction=instruction(schema, notes))
    tool = {
        "name": names.fresh(ANSWER_TOOL),
        "description": wanted.description or GIVES,
        "input_schema": OPEN if schema is None else object_schema(schema),
    }
    return AnswerFormat(tool=tool)
