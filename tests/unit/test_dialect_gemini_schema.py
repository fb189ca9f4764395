"""
JSON schema as the subset that older Gemini models take.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.providers.dialects.gemini.schema import to_openapi

Json = dict[str, Any]

TYPES = {"string", "number", "integer", "boolean", "array", "object"}
# What Google's `Schema` has, and what its values are.
MEMBERS: dict[str, type | tuple[type, ...]] = {
    "type": str,
    "title": str,
    "description": str,
    "format": str,
    "pattern": str,
    "nullable": bool,
    "enum": list,
    "items": dict,
    "properties": dict,
    "required": list,
    "propertyOrdering": list,
    "anyOf": list,
    "minimum": (int, float),
    "maximum": (int, float),
    "minItems": int,
    "maxItems": int,
    "minLength": int,
    "maxLength": int,
    "minProperties": int,
    "maxProperties": int,
}


def check(schema: Json) -> None:
    """Hold a schema against the rules of Google's."""
    for name, value in schema.items():
        assert isinstance(value, MEMBERS[name]), name
    if "anyOf" in schema:
        assert {"anyOf"} == set(schema)
        assert schema["anyOf"]
        for item in schema["anyOf"]:
            check(item)
        return
    assert schema["type"] in TYPES
    assert ("items" in schema) == (schema["type"] == "array")
    assert "enum" not in schema or schema["type"] == "string"
    assert all(isinstance(word, str) and word for word in schema.get("enum", []))
    properties = schema.get("properties", {})
    assert set(schema.get("required", [])) <= set(properties)
    for child in [*properties.values(), *([schema["items"]] if "items" in schema else [])]:
        check(child)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "additionalProperties": False, "$schema": "x"}, {"type": "string"}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"type": "integer", "nullable": True}),
        ({"oneOf": [{"type": "null"}, {"type": "string"}]}, {"type": "string", "nullable": True}),
        ({"type": ["string", "null"]}, {"type": "string", "nullable": True}),
        ({"type": ["string", "integer"]}, {"anyOf": [{"type": "string"}, {"type": "integer"}]}),
        (
            {"type": ["string", "array", "null"]},
            {
                "anyOf": [
                    {"type": "string", "nullable": True},
                    {"type": "array", "items": {"type": "string"}, "nullable": True},
                ]
            },
        ),
        ({"const": "a"}, {"type": "string", "enum": ["a"]}),
        ({"const": 1}, {"type": "integer"}),
        ({"enum": [1, 2]}, {"type": "integer"}),
        ({"type": "string", "enum": ["a", None, ""]}, {"type": "string", "nullable": True, "enum": ["a"]}),
        ({"type": "array"}, {"type": "array", "items": {"type": "string"}}),
        (
            {"type": "array", "prefixItems": [{"type": "integer"}]},
            {"type": "array", "items": {"type": "integer"}},
        ),
        ({"type": "string", "format": "uuid"}, {"type": "string"}),
        ({"type": "string", "format": "date-time"}, {"type": "string", "format": "date-time"}),
        ({"type": "integer", "format": "date-time"}, {"type": "integer"}),
        ({"type": "STRING", "title": 5, "minLength": True}, {"type": "string"}),
        ({"type": "object", "required": ["a", "b"]}, {"type": "object"}),
        (
            {"type": "object", "properties": {"a": True}, "required": ["a", "b", "a"]},
            {"type": "object", "properties": {"a": {"type": "object"}}, "required": ["a"]},
        ),
        ({}, {"type": "object"}),
    ],
)
def test_subset(schema: Json, expected: Json) -> None:
    """Case 90: What the subset can say is said in its way, and what it cannot is left out."""
    assert expected == to_openapi(schema, "tools")


def test_references_are_written_out() -> None:
    """Case 90: A reference becomes what it leads to, with what stands beside it laid over."""
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A~1B", "description": "own"}, "c": {"$ref": "#/$defs/C"}},
        "$defs": {"A/B": {"type": "string", "description": "its"}, "C": {"$ref": "#/$defs/A~1B"}},
    }

    assert {
        "a": {"type": "string", "description": "own"},
        "c": {"type": "string", "description": "its"},
    } == to_openapi(schema, "tools")["properties"]


def test_recursion_is_cut() -> None:
    """Case 90: A reference that leads back to itself ends in any content of its type."""
    schema = {
        "$ref": "#/$defs/Node",
        "$defs": {
            "Node": {
                "type": "object",
                "properties": {"next": {"$ref": "#/$defs/Node"}, "all": {"$ref": "#/$defs/List"}},
            },
            "List": {"type": "array", "items": {"$ref": "#/$defs/List"}},
        },
    }

    assert {
        "type": "object",
        "properties": {
            "next": {"type": "object"},
            "all": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
        },
    } == to_openapi(schema, "tools")


def test_all_of_is_flattened() -> None:
    """Case 90: The pieces of `allOf` become one, also where they are references or have pieces themselves."""
    schema = {
        "allOf": [
            {"$ref": "#/$defs/A"},
            {"allOf": [{"properties": {"b": {"type": "integer"}}, "required": ["b"]}]},
        ],
        "description": "both",
        "$defs": {"A": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}},
    }

    assert {
        "type": "object",
        "description": "both",
        "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    } == to_openapi(schema, "tools")


def test_references_that_lead_nowhere() -> None:
    """A reference to nothing, or to another document, allows anything."""
    for reference in ("#/$defs/none", "https://h/schema", "other.json#/a"):
        assert {"type": "object"} == to_openapi({"$ref": reference}, "tools")


@pytest.mark.parametrize("keyword", ["anyOf", "allOf"])
def test_schemas_that_grow_without_bound(keyword: str) -> None:
    """A small schema whose references multiply is refused, and not written out."""
    doubling: Json = {
        f"d{level}": {keyword: [{"$ref": f"#/$defs/d{level + 1}"}, {"$ref": f"#/$defs/d{level + 1}"}]}
        for level in range(40)
    }
    if keyword == "allOf":
        # The same reference twice in one place is no growth; behind a property it is.
        doubling = {
            f"d{level}": {
                "properties": {"a": {"$ref": f"#/$defs/d{level + 1}"}, "b": {"$ref": f"#/$defs/d{level + 1}"}}
            }
            for level in range(40)
        }

    with pytest.raises(GatewayError) as caught:
        to_openapi({"$ref": "#/$defs/d0", "$defs": doubling}, "tools.0.parameters")

    assert (Reason.INVALID_REQUEST, "tools.0.parameters") == (
        caught.value.reason,
        caught.value.metadata["param"],
    )


def test_schemas_that_are_too_deep() -> None:
    """A schema deeper than any is refused before Python's own limit."""
    schema: Json = {"type": "string"}
    for _ in range(70):
        schema = {"type": "array", "items": schema}

    with pytest.raises(GatewayError):
        to_openapi(schema, "tools")


values: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, 7, -1.5, "", "a", "date-time", "int32", [], [None], ["a", 1], {}, {"a": []}]
)
references = st.sampled_from(["#", "#/$defs/a", "#/$defs/b", "#/properties/a", "#/$defs/c", "x", "#/anyOf/0"])
types = st.sampled_from([*sorted(TYPES), "null", "STRING", "what"])


def _schema(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    children = st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": types | st.lists(types, max_size=3) | values,
            "properties": children | values,
            "items": inner | values,
            "prefixItems": st.lists(inner, max_size=2) | values,
            "anyOf": st.lists(inner, max_size=3) | values,
            "oneOf": st.lists(inner, max_size=2) | values,
            "allOf": st.lists(inner, max_size=3) | values,
            "$ref": references | values,
            "$defs": children,
            "enum": st.lists(values, max_size=3) | values,
            "const": values,
            "format": values,
            "title": values,
            "minimum": values,
            "minItems": values,
            "nullable": values,
            "required": st.lists(st.sampled_from("abc"), max_size=3) | values,
            "propertyOrdering": st.lists(st.sampled_from("abc"), max_size=3) | values,
            "additionalProperties": values,
        },
    )


@settings(max_examples=150, deadline=None)
@given(_schema(st.recursive(values, _schema, max_leaves=8)))
def test_only_what_google_takes(schema: Json) -> None:
    """Case 90: Any schema, recursive ones too, comes to an end within the subset, or is refused."""
    try:
        converted = to_openapi(schema, "tools")
    except GatewayError as error:
        wrong: GatewayError = error
    else:
        check(converted)
        return
    assert Reason.INVALID_REQUEST is wrong.reason


def test_choices_within_choices_that_may_be_null() -> None:
    """Case 90: nothing stands beside `anyOf`, also where choices are made of choices."""
    words = [{"type": "string"}, {"type": "integer"}]

    expected = {"anyOf": [{"anyOf": [{**word, "nullable": True} for word in words]}]}
    assert expected == to_openapi({"anyOf": [{"anyOf": words}], "nullable": True}, "tools")
