"""
Schemas in Google's form of OpenAPI's, as JSON schema.

Types are upper-case words there, `nullable` stands for a type of null, and whole numbers may be strings. What
is JSON schema already stays as it is.
"""

from __future__ import annotations

from typing import Any, Final

from services.providers.dialects.gemini.wire_names import camel
from services.providers.dialects.neutral.notes import invalid

__all__ = ["from_openapi"]

Schema = dict[str, Any]

_MAX_DEPTH: Final = 64
_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_COUNTS: Final = frozenset(
    {"maxItems", "minItems", "maxLength", "minLength", "maxProperties", "minProperties"}
)
_RENAMED: Final = {"ref": "$ref", "defs": "$defs"}
# Members whose values are schemas by name, schemas in a list, and schemas.
_BY_NAME: Final = frozenset({"properties", "defs", "$defs", "patternProperties"})
_LISTED: Final = frozenset({"anyOf", "allOf", "oneOf", "prefixItems"})
_NESTED: Final = frozenset({"items", "additionalProperties"})
# Says in which order properties are written, which others take from the schema itself.
_ORDER: Final = "propertyOrdering"


def from_openapi(schema: Schema, path: str) -> Schema:
    """
    Convert a schema.

    Args:
        schema: In Google's form.
        path: Where it stands in the client's body.

    Raises:
        GatewayError: INVALID_REQUEST; it is nested too deeply.
    """
    return _schema(schema, path, 0)


def _schema(schema: Schema, path: str, depth: int) -> Schema:
    if depth > _MAX_DEPTH:
        invalid(path, "is nested too deeply")
    source = camel(schema)
    out: Schema = {}
    for name, value in source.items():
        if name in {"type", "nullable", _ORDER}:
            continue
        out[_RENAMED.get(name, name)] = _member(name, value, path, depth)
    kind = _type(source.get("type"))
    if kind:
        out = {"type": kind, **out}
    # What is asked for as a whole is never null: others take an object there and nothing else.
    if source.get("nullable") is True and depth:
        _allow_null(out)
    _order(out, source.get(_ORDER))
    return out


def _member(name: str, value: Any, path: str, depth: int) -> Any:
    if name in _BY_NAME and isinstance(value, dict):
        return {
            key: _schema(child, path, depth + 1) if isinstance(child, dict) else child
            for key, child in value.items()
        }
    if name in _LISTED and isinstance(value, list):
        return [_schema(child, path, depth + 1) if isinstance(child, dict) else child for child in value]
    if name in _NESTED and isinstance(value, dict):
        return _schema(value, path, depth + 1)
    if name in _COUNTS and isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value[:18])
    return value


def _type(kind: Any) -> Any:
    if isinstance(kind, str):
        word = kind.lower()
        return "" if word == "type_unspecified" else word if word in _TYPES else kind
    if isinstance(kind, list):
        return [_type(item) for item in kind]
    return kind


def _allow_null(out: Schema) -> None:
    kind = out.get("type")
    if isinstance(kind, str):
        out["type"] = [kind, "null"]
    elif "anyOf" in out and isinstance(out["anyOf"], list):
        out["anyOf"] = [*out["anyOf"], {"type": "null"}]
    if isinstance(out.get("enum"), list) and None not in out["enum"]:
        out["enum"] = [*out["enum"], None]


def _order(out: Schema, order: Any) -> None:
    properties = out.get("properties")
    if isinstance(order, list) and isinstance(properties, dict):
        first = {name: properties[name] for name in order if isinstance(name, str) and name in properties}
        out["properties"] = {**first, **properties}
