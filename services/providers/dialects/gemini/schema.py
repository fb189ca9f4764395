"""
JSON schema as the subset of OpenAPI's that older Gemini models take.

What the subset cannot say is left out: a schema that allows more is still one that the client's tool can
check. References are written out in place; one that leads back to itself ends in an object of any content.
"""

from __future__ import annotations

from typing import Any, Final

from services.providers.dialects.neutral.notes import invalid

__all__ = ["to_openapi"]

Schema = dict[str, Any]

_MAX_DEPTH: Final = 64
# References multiply: two to the same place, each with two more, … fill memory from a small request.
_MAX_NODES: Final = 5_000

# Keywords that both know, and what their values must be.
_PLAIN: Final[dict[str, type | tuple[type, ...]]] = {
    "title": str,
    "description": str,
    "minItems": int,
    "maxItems": int,
    "minProperties": int,
    "maxProperties": int,
    "minLength": int,
    "maxLength": int,
    "minimum": (int, float),
    "maximum": (int, float),
    "pattern": str,
    "nullable": bool,
}
_FORMATS: Final = {
    "string": frozenset({"enum", "date-time"}),
    "integer": frozenset({"int32", "int64"}),
    "number": frozenset({"float", "double"}),
}
_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_ANYTHING: Final = "object"


def to_openapi(schema: Schema, path: str) -> Schema:
    """
    Convert a schema.

    Args:
        schema: JSON schema.
        path: Where it stands in the client's body.

    Raises:
        GatewayError: INVALID_REQUEST; it is nested too deeply or grows too large.
    """
    return _Converter(schema, path).convert(schema, 0, ())


class _Converter:
    def __init__(self, root: Schema, path: str) -> None:
        self._root = root
        self._path = path
        self._nodes = 0

    def convert(self, schema: Any, depth: int, through: tuple[str, ...]) -> Schema:
        self._count(depth)
        if not isinstance(schema, dict):
            return {"type": _ANYTHING}
        reference = schema.get("$ref")
        if isinstance(reference, str):
            return self._referred(schema, reference, depth, through)
        schema, through = self._flattened(schema, depth, through)
        out = {name: value for name, value in schema.items() if _is_plain(name, value)}
        self._type(schema, out)
        if "type" not in out:
            self._alternatives(schema, out, depth, through)
        if "anyOf" in out:
            return _alone(out)
        out.setdefault("type", _guessed(schema))
        form = schema.get("format")
        if isinstance(form, str) and form in _FORMATS.get(out["type"], ()):
            out["format"] = form
        self._values(schema, out)
        self._children(schema, out, depth, through)
        return out

    def _count(self, depth: int) -> None:
        self._nodes += 1
        if depth > _MAX_DEPTH:
            invalid(self._path, "is nested too deeply")
        if self._nodes > _MAX_NODES:
            invalid(self._path, "is too large once its references are written out")

    def _referred(self, schema: Schema, reference: str, depth: int, through: tuple[str, ...]) -> Schema:
        target = self._find(reference)
        if reference in through or not isinstance(target, dict):
            return _stub(target)
        beside = {name: value for name, value in schema.items() if name != "$ref"}
        return self.convert({**target, **beside}, depth + 1, (*through, reference))

    def _find(self, reference: str) -> Any:
        if not reference.startswith("#"):
            return None
        found: Any = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            if step:
                key = step.replace("~1", "/").replace("~0", "~")
                found = found.get(key) if isinstance(found, dict) else None
        return found

    def _flattened(
        self, schema: Schema, depth: int, through: tuple[str, ...]
    ) -> tuple[Schema, tuple[str, ...]]:
        """Lay the members of `allOf` over one another."""
        pieces = schema.get("allOf")
        if not isinstance(pieces, list):
            return schema, through
        merged: Schema = {}
        for given in [*pieces, {name: value for name, value in schema.items() if name != "allOf"}]:
            piece, through = self._piece(_dict(given), depth + 1, through)
            _lay_over(merged, piece)
        return merged, through

    def _piece(self, piece: Schema, depth: int, through: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        self._count(depth)
        reference = piece.get("$ref")
        if not isinstance(reference, str):
            return self._flattened(piece, depth, through)
        if reference in through:
            return {}, through
        beside = {name: value for name, value in piece.items() if name != "$ref"}
        return self._piece({**_dict(self._find(reference)), **beside}, depth + 1, (*through, reference))

    def _type(self, schema: Schema, out: Schema) -> None:
        given = schema.get("type")
        types = given if isinstance(given, list) else [given]
        words = [item.lower() for item in types if isinstance(item, str) and item.lower() in _TYPES]
        if "null" in words:
            out["nullable"] = True
        words = [word for word in dict.fromkeys(words) if word != "null"]
        if len(words) == 1:
            out["type"] = words[0]
        elif words:
            out["anyOf"] = [{"type": word, **_needs(word)} for word in words]
        elif "properties" in schema:
            out["type"] = "object"

    def _alternatives(self, schema: Schema, out: Schema, depth: int, through: tuple[str, ...]) -> None:
        given = schema.get("anyOf") or schema.get("oneOf")
        if not isinstance(given, list):
            return
        kept = [item for item in given if not _is_null(item)]
        if len(kept) < len(given):
            out["nullable"] = True
        converted = [self.convert(item, depth + 1, through) for item in kept]
        if len(converted) == 1 and "anyOf" not in converted[0]:
            out.update({name: value for name, value in converted[0].items() if name not in out})
        elif converted:
            out["anyOf"] = converted

    def _values(self, schema: Schema, out: Schema) -> None:
        """Take `enum` and `const`, which only strings have here."""
        values = schema.get("enum")
        if "const" in schema:
            values = [schema["const"]]
        if not isinstance(values, list) or not values:
            return
        if None in values:
            out["nullable"] = True
        words = [value for value in values if isinstance(value, str) and value]
        if words and out.get("type") == "string":
            out["enum"] = words

    def _children(self, schema: Schema, out: Schema, depth: int, through: tuple[str, ...]) -> None:
        properties = schema.get("properties")
        if isinstance(properties, dict) and properties and out["type"] == "object":
            out["properties"] = {
                name: self.convert(child, depth + 1, through) for name, child in properties.items()
            }
            required = schema.get("required")
            if isinstance(required, list) and "required" not in out:
                kept = [name for name in required if isinstance(name, str) and name in properties]
                if kept:
                    out["required"] = list(dict.fromkeys(kept))
            order = schema.get("propertyOrdering")
            if isinstance(order, list) and all(
                isinstance(name, str) and name in properties for name in order
            ):
                out["propertyOrdering"] = order
        if out.get("type") == "array" and "items" not in out:
            items = schema.get("items")
            if not isinstance(items, dict):
                several = schema.get("prefixItems") or items
                items = several[0] if isinstance(several, list) and several else {"type": "string"}
            out["items"] = self.convert(items, depth + 1, through)


def _is_plain(name: str, value: Any) -> bool:
    kind = _PLAIN.get(name)
    return kind is not None and isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _stub(target: Any) -> Schema:
    """Stand for a schema that is not written out."""
    word = _dict(target).get("type")
    if not isinstance(word, str) or word.lower() not in _TYPES - {"null"}:
        word = _ANYTHING
    return {"type": word.lower(), **_needs(word.lower())}


def _dict(value: Any) -> Schema:
    return value if isinstance(value, dict) else {}


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and (schema.get("type") in ("null", ["null"]))


def _alone(out: Schema) -> Schema:
    """Leave nothing beside `anyOf`, which Google refuses then."""
    if out.get("nullable") is True:
        return {"anyOf": [_nullable(item) for item in out["anyOf"]]}
    return {"anyOf": out["anyOf"]}


def _nullable(item: dict[str, Any]) -> dict[str, Any]:
    """Let a choice be null as well; one that is made of choices is so through each of them."""
    if "anyOf" in item:
        return {"anyOf": [_nullable(inner) for inner in item["anyOf"]]}
    return {**item, "nullable": True}


def _lay_over(merged: Schema, piece: Schema) -> None:
    for name, value in piece.items():
        if name in {"allOf", "$ref"}:
            continue
        earlier = merged.get(name)
        if name == "properties" and isinstance(value, dict):
            merged[name] = {**_dict(earlier), **value}
        elif name == "required" and isinstance(value, list):
            merged[name] = [*(earlier if isinstance(earlier, list) else []), *value]
        else:
            merged[name] = value


def _needs(word: str) -> Schema:
    return {"items": {"type": "string"}} if word == "array" else {}


def _guessed(schema: Schema) -> str:
    """Name the type of a schema that names none: Google refuses one without."""
    if "items" in schema or "prefixItems" in schema:
        return "array"
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, list) and values:
        first = values[0]
        if isinstance(first, bool):
            return "boolean"
        if isinstance(first, int):
            return "integer"
        if isinstance(first, float):
            return "number"
        return "string"
    return "object" if "properties" in schema or not schema else "string"
