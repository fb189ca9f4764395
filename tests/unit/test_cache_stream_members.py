"""What a request's body says about streaming is left out of its key, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cache.core.stream_members import MOST_STEPS, kept_parts


def kept(body: bytes, *, streamed: bool = True) -> bytes:
    """Give what counts of a body."""
    return b"".join(kept_parts(body, streamed=streamed))


LEFT_OUT = {
    "in the middle": (b'{"a":1,"stream":true,"b":2}', b'{"a":1,"b":2}'),
    "first": (b'{"stream": true, "a": 1}', b'{"a": 1}'),
    "last": (b'{"a": 1, "stream": true}', b'{"a": 1}'),
    "alone": (b'{"stream":true}', b"{}"),
    "with options": (b'{"a":1,"stream":true,"stream_options":{"include_usage":true}}', b'{"a":1}'),
    "options first": (b'{"stream_options":{"x":[{}]},"stream":true,"a":1}', b'{"a":1}'),
    "apart": (b'{"stream":true,"a":1,"stream_options":null}', b'{"a":1}'),
    "on lines of their own": (b'{\n  "a": 1,\n  "stream": true\n}\n', b'{\n  "a": 1\n}\n'),
    "after text that holds its name": (
        rb'{"m":"say \"stream\":true, \\","stream":true}',
        rb'{"m":"say \"stream\":true, \\"}',
    ),
    "after the same name further in": (b'{"m":[{"stream":true}],"stream":true}', b'{"m":[{"stream":true}]}'),
    "twice": (b'{"stream":true,"a":1,"stream":true}', b'{"a":1}'),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_asks_for_a_stream_is_left_out(name: str) -> None:
    """The members go with their comma, wherever they stand; the rest is as if they had never been there."""
    body, rest = LEFT_OUT[name]

    assert rest == kept(body)


AS_IT_IS = {
    "no such member": b'{"a":1}',
    "further in": b'{"a":{"stream":true}}',
    "as text": b'{"a":"\\"stream\\":true"}',
    "as a value": b'{"a":"stream"}',
    "no object": b'["stream",true]',
    "no JSON": b'{"a":1,,"stream":true}',
    "cut off": b'{"a":1,"stream":tr',
    "cut off in text": b'{"a":"x,"stream":true',
    "no colon": b'{"stream" true}',
    "empty": b"",
    "says the other": b'{"a":1,"stream":false}',
    "says something else": b'{"a":1,"stream":"yes"}',
    "one of two says the other": b'{"stream":true,"a":1,"stream":false}',
    "not closed": b'{"a":[1,"stream":true}',
}


@pytest.mark.parametrize("body", AS_IT_IS.values(), ids=list(AS_IT_IS))
def test_anything_else_counts(body: bytes) -> None:
    """A body that asks for no stream, or not in a way that is known, is itself."""
    assert body == kept(body)


@pytest.mark.parametrize("says", [b"false", b"null"])
def test_what_asks_for_no_stream_is_left_out(says: bytes) -> None:
    """Saying that no stream is wanted is the same as not saying it."""
    assert b'{"a":1}' == kept(b'{"a":1,"stream":' + says + b"}", streamed=False)


def test_a_body_of_very_many_parts_stays_as_it_is() -> None:
    """The work is bounded, whether text or brackets come before the member."""
    for many in (b"[" * MOST_STEPS + b"]" * MOST_STEPS, b'"' + b'\\"' * MOST_STEPS + b'"'):
        body = b'{"a":' + many + b',"stream":true}'
        assert body == kept(body)


def test_a_large_body_is_read() -> None:
    """Length alone is no limit: a picture, or very many numbers, before the member."""
    for large in (json.dumps("x" * 5_000_000).encode(), b"[" + b"1," * 500_000 + b"1]"):
        assert b'{"a":' + large + b"}" == kept(b'{"a":' + large + b',"stream":true}')


_names = st.sampled_from(["a", "stream ", "streams", 'stre"am', "\\", "stream\\", "Stream", "stream_option"])
_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('"\\stream: ,{}[]\n', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.just("stream") | _names, inner, max_size=3)
    ),
    max_leaves=6,
)
_objects = st.dictionaries(_names, _values, max_size=4)
_forms = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")])


def _written(members: list[tuple[str, Any]], separators: tuple[str, str]) -> bytes:
    comma, colon = separators
    parts = [
        f"{json.dumps(name)}{colon}{json.dumps(value, separators=separators)}" for name, value in members
    ]
    return ("{" + comma.join(parts) + "}").encode()


@given(_objects, _forms, st.data())
def test_only_the_two_members_go(
    members: dict[str, Any], separators: tuple[str, str], data: st.DataObject
) -> None:
    """With the members anywhere in any object, the rest is what it is without them, read and compared."""
    streamed = data.draw(st.booleans())
    there = list(members.items())
    for name, value in (("stream", streamed), ("stream_options", {"x": [1, '"stream":']})):
        if data.draw(st.booleans()):
            there.insert(data.draw(st.integers(0, len(there))), (name, value))

    rest = kept(_written(there, separators), streamed=streamed)

    assert list(members.items()) == list(json.loads(rest).items())
    if separators == (",", ":"):
        assert _written(list(members.items()), separators) == rest


@given(st.lists(_objects, min_size=2, max_size=2), _forms)
def test_two_bodies_that_differ_stay_different(
    two: list[dict[str, Any]], separators: tuple[str, str]
) -> None:
    """Bodies share what counts only where they are the same but for the two members."""
    one, other = (_written([*each.items(), ("stream", True)], separators) for each in two)

    assert (one == other) == (kept(one) == kept(other))


@given(st.binary(max_size=30).map(lambda some: b'{"stream":true,' + some) | st.binary(max_size=40))
def test_no_bytes_break_it(body: bytes) -> None:
    """Whatever comes, something is kept of it, in order."""
    assert len(kept(body)) <= len(body)
