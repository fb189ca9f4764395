"""
The OpenAPI document of the management API, made from the same rows that answer it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter

from kit.version import VERSION
from services.edge.management.dispatch import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.edge.management.operation import Operation

__all__ = ["document"]

_REF: Final = "#/components/schemas/{model}"
_VARIABLE: Final = re.compile(r"\{(\w+)\}")
_ALWAYS: Final = (400, 401, 403, 503)
_TEXTS: Final = {
    400: "What was sent makes no sense.",
    401: "There is no valid token.",
    403: "The token does not allow it.",
    404: "There is no such thing.",
    405: "The path takes other methods.",
    409: "There is such a thing already.",
    413: "The body is too long.",
    429: "Too much at once.",
    503: "A service behind is away.",
}
_ERROR: Final = {
    "type": "object",
    "required": ["success", "errors", "messages", "result"],
    "properties": {
        "success": {"const": False},
        "errors": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {
                    "code": {"type": "integer"},
                    "message": {"type": "string"},
                    "path": {"type": "array", "items": {"type": ["string", "integer"]}},
                },
            },
        },
        "messages": {"type": "array"},
        "result": {"type": "null"},
    },
}
_RESULT_INFO: Final = {
    "type": "object",
    "required": ["count", "page", "per_page", "total_count"],
    "properties": {
        name: {"type": "integer", "minimum": 0}
        for name in ("count", "page", "per_page", "total_count", "total_pages")
    },
}
_MESSAGES: Final = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
    },
}


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """
    Describe operations.

    Args:
        operations: All that there are.

    Returns:
        An OpenAPI 3.1 document.
    """
    schemas: dict[str, Any] = {"Error": _ERROR}
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headrace management API",
            "version": VERSION,
            "description": "Gateways, keys, tokens, routes and logs of an installation of Headrace.",
        },
        "servers": [{"url": PREFIX}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _described(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [*_path_parameters(operation), *_query_parameters(operation, schemas)],
        "responses": _responses(operation, schemas),
    }
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _schema(operation.body, schemas, "validation")}},
        }
    return described


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "maxLength": 256},
        }
        for name in _VARIABLE.findall(operation.path)
    ]


def _query_parameters(operation: Operation, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    made = TypeAdapter(operation.query).json_schema(by_alias=True, ref_template=_REF, mode="validation")
    schemas.update(made.pop("$defs", {}))
    return [
        {
            "name": name,
            "in": "query",
            "required": name in made.get("required", ()),
            **({"description": text} if (text := schema.pop("description", "")) else {}),
            "schema": schema,
        }
        for name, schema in made.get("properties", {}).items()
    ]


def _responses(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    ok: dict[str, Any] = {"description": "What was asked for."}
    if operation.shape == "raw":
        ok["content"] = {"application/json": {}, "application/octet-stream": {}}
    else:
        ok["content"] = {"application/json": {"schema": _envelope(operation, schemas)}}
    failures = sorted({*_ALWAYS, *operation.failures, *((413,) if operation.body else ())})
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "200": ok,
        **{str(status): {"description": _TEXTS[status], "content": error} for status in failures},
    }


def _envelope(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    result = {"type": "object"} if operation.result is None else _schema(operation.result, schemas)
    properties: dict[str, Any] = {
        "success": {"const": True},
        "errors": {"type": "array", "maxItems": 0},
        "messages": _MESSAGES,
        "result": result,
    }
    if operation.shape == "list":
        properties["result_info"] = _RESULT_INFO
    if operation.shape == "data":
        properties["data"] = result
    return {"type": "object", "required": list(properties), "properties": properties}


def _schema(model: Any, schemas: dict[str, Any], mode: Any = "serialization") -> dict[str, Any]:
    """Describe a type; the models that it is made of go among the schemas."""
    made = TypeAdapter(model).json_schema(by_alias=True, ref_template=_REF, mode=mode)
    schemas.update(made.pop("$defs", {}))
    if made.get("type") == "object" and isinstance(model, type):
        schemas[model.__name__] = made
        return {"$ref": _REF.format(model=model.__name__)}
    return made
