"""
The shape of an answer for targets that hold a model to a schema by constrained decoding, as Anthropic's do
wherever they are served; and the words that ask for it where nothing can be held to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

import orjson

from services.providers.dialects.neutral.notes import invalid

if TYPE_CHECKING:
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["ANSWER_TOOL", "GIVES", "OPEN", "closed_schema", "instruction", "is_object", "object_schema"]

# The tool whose arguments are the answer, where a call can be forced.
ANSWER_TOOL: Final = "json_answer"
GIVES: Final = "Gives the answer to the user."
OPEN: Final[dict[str, Any]] = {"type": "object", "additionalProperties": True}

_PARAM: Final = "response_format"
_NO_PARAMETERS: Final[dict[str, Any]] = {"type": "object", "properties": {}}
_OBJECT: Final = "Answer with one JSON object and nothing else: no prose around it and no code fence."
_OTHER: Final = "Answer with JSON and nothing else: no prose around it and no code fence."
# Keywords that say what a schema is of, so that it need not be an object's.
_TELLING: Final = frozenset({"$ref", "anyOf", "allOf", "enum"})
# Far above any schema written by hand, far below what recursion and the serialiser take.
_MAX_DEPTH: Final = 100
# Keywords that constrained decoding refuses.
_REFUSED: Final = frozenset(
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
_NAMESPACES: Final = frozenset({"properties", "$defs", "definitions"})
_VALUES: Final = frozenset({"enum", "const", "default", "examples"})


def object_schema(schema: dict[str, Any] | None) -> dict[str, Any]:
    """Return a schema that says that it is an object's, which is demanded of tools."""
    if not schema:
        return _NO_PARAMETERS
    return schema if "type" in schema else {"type": "object", **schema}


def is_object(schema: dict[str, Any] | None) -> bool:
    """Tell whether an answer of this shape is an object, as the arguments of a call are."""
    return schema is None or schema.get("type", "object") == "object"


def instruction(schema: dict[str, Any] | None, notes: Notes) -> str:
    """
    Write what the model is told where it cannot be held to a shape.

    Raises:
        GatewayError: INVALID_REQUEST; the schema nests too deeply.
    """
    if schema is None:
        return _OBJECT
    try:
        text = orjson.dumps(schema).decode()
    except orjson.JSONEncodeError:
        _too_deep(notes)
    return f"{_OBJECT if is_object(schema) else _OTHER} It matches this JSON schema: {text}"


def closed_schema(schema: dict[str, Any], notes: Notes) -> dict[str, Any]:
    """
    Bring a schema into the subset that constrained decoding takes, and record what that loses.

    Raises:
        GatewayError: INVALID_REQUEST; it nests too deeply. UNSUPPORTED, in strict mode.
    """
    if "type" not in schema and not _TELLING & schema.keys():
        schema = {"type": "object", **schema}
    lost: set[str] = set()
    closed = _closed(schema, lost, notes, depth=0)
    if lost:
        notes.clamped("response_format.schema", "-".join(sorted(lost)))
    return {**closed}


def _closed(node: Any, lost: set[str], notes: Notes, *, depth: int, names: bool = False) -> Any:
    if depth > _MAX_DEPTH:
        _too_deep(notes)
    if isinstance(node, list):
        return [_closed(entry, lost, notes, depth=depth + 1) for entry in node]
    if not isinstance(node, dict):
        return node
    if names:
        return {name: _closed(entry, lost, notes, depth=depth + 1) for name, entry in node.items()}
    closed: dict[str, Any] = {}
    for keyword, value in node.items():
        if keyword in _REFUSED:
            lost.add(keyword)
        elif keyword in _VALUES:
            closed[keyword] = value
        else:
            closed[keyword] = _closed(value, lost, notes, depth=depth + 1, names=keyword in _NAMESPACES)
    kind = closed.get("type")
    if kind == "object" or (isinstance(kind, list) and "object" in kind):
        if closed.get("additionalProperties", False) is not False:
            lost.add("additionalProperties")
        closed["additionalProperties"] = False
    return closed


def _too_deep(notes: Notes) -> NoReturn:
    invalid(notes.name(_PARAM), "has a schema that is nested too deeply")
