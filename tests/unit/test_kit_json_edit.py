from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.json_edit import insert_member, member_span, remove_member, replace_member

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from(["model", '"model"', '\\"model\\":']),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.sampled_from(["model", "a", "é"]), children)
    ),
    max_leaves=12,
)
NAMES = st.sampled_from(["model", "messages", "n", "é", 'quo"te', "back\\slash"]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=3
)


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """JSON objects as text, with odd whitespace, escapes and duplicate names."""
    members = draw(st.lists(st.tuples(NAMES, VALUES), max_size=6))
    space = st.sampled_from(["", " ", "\n\t", "\r\n "])
    parts = []
    for name, value in members:
        key = json.dumps(name, ensure_ascii=draw(st.booleans()))
        if name == "model" and draw(st.booleans()):
            key = '"m\\u006fdel"'
        indent = draw(st.sampled_from([None, 1]))
        shown = json.dumps(value, ensure_ascii=draw(st.booleans()), indent=indent)
        parts.append(f"{draw(space)}{key}{draw(space)}:{draw(space)}{shown}{draw(space)}")
    return f"{draw(space)}{{{draw(space) if not parts else ''}{','.join(parts)}}}{draw(space)}".encode()


@given(body=objects())
def test_replace_changes_one_value_and_no_other_byte(body: bytes) -> None:
    """What is parsed afterwards differs in the one member, and the bytes differ in its value alone."""
    document = orjson.loads(body)
    edited = replace_member(body, document, "model", b'"new"')

    assert {**document, "model": "new"} == orjson.loads(edited)
    if "model" in document:
        start, end = member_span(body, "model")
        assert document["model"] == orjson.loads(body[start:end])
        assert body[:start] + b'"new"' + body[end:] == edited


@given(body=objects())
def test_insert_keeps_every_byte(body: bytes) -> None:
    """Without the inserted member the text is what it was, to the byte."""
    document = orjson.loads(body)
    edited = insert_member(body, document, "added", b"[1, 2]")

    assert {**document, "added": [1, 2]} == orjson.loads(edited)
    comma = b"," if document else b""
    assert body == edited.replace(comma + b'"added":[1, 2]', b"")


@given(body=objects())
def test_remove_keeps_the_others(body: bytes) -> None:
    """Without a member the others are what they were, and putting it in and taking it out changes nothing."""
    document = orjson.loads(body)

    for name in ("model", "added"):
        rest = {key: value for key, value in document.items() if key != name}
        assert rest == orjson.loads(remove_member(body, name))
    assert body == remove_member(insert_member(body, document, "added", b"[1, 2]"), "added")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"x":{"a":1}}', b"{}"),
        (b'{ "x" : 1 , "a": {"x": 2}}', b'{ "a": {"x": 2}}'),
        (b'{"a": "x", "x":[1,{"x":"}"}] }', b'{"a": "x" }'),
        (b'{"x":1,"a":2,"\\u0078":3,"b":"x"}', b'{"a":2,"b":"x"}'),
    ],
)
def test_remove(body: bytes, expected: bytes) -> None:
    """A member goes wherever it stands, twice if it is there twice; one of that name further down stays."""
    assert expected == remove_member(body, "x")


def test_last_duplicate_wins() -> None:
    """Of two members with one name the last is replaced, the one that parsers read."""
    body = b'{"model": "a", "x": {"model": "b"}, "model" : "c" }'

    edited = replace_member(body, orjson.loads(body), "model", b'"d"')

    assert b'{"model": "a", "x": {"model": "b"}, "model" : "d" }' == edited


@pytest.mark.parametrize(
    "value",
    [b"1.0e5", b"-0", b"true", b"null", b'"with \\"quotes\\" and \\\\"', b'{"a": [1, {"b": "]}"}]}', b"[]"],
)
def test_values_of_every_kind(value: bytes) -> None:
    """A value of any kind is found with exact bounds, whatever stands in it."""
    body = b'{"a":[{"model":0}],"model":\t' + value + b' ,"z":1}'

    start, end = member_span(body, "model")

    assert value == body[start:end]


def test_a_mention_is_not_a_member() -> None:
    """A value that reads like the name of the member is left alone."""
    body = rb'{"m\u006fdel":"old","x":"model"}'

    assert rb'{"m\u006fdel":"new","x":"model"}' == replace_member(body, orjson.loads(body), "model", b'"new"')
