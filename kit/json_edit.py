"""
Surgery on the text of a JSON object: one member changes, every other byte stays.

Parsing and writing a body again would change number formats, escapes, whitespace and sometimes key order,
which breaks providers' prompt caches and loses what the parser does not model.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

# Possessive quantifiers: a long string costs no backtracking and no stack.
_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TOKEN = re.compile(_STRING + rb"|[\[\]{},:]", re.DOTALL)
_NESTED_VALUE = re.compile(_STRING + rb"|[\[\]{}]", re.DOTALL)
_WHITESPACE = b" \t\n\r"
_PLAIN_VALUE = re.compile(rb'[ \t\n\r]*:[ \t\n\r]*("[^"\\]*+"|[-+.0-9a-zA-Z]++)')


def replace_member(body: bytes, document: Mapping[str, Any], name: str, value: bytes) -> bytes:
    """
    Replace the value of a top-level member, or add the member when there is none.

    Args:
        body: Text of a JSON object, already known to be valid.
        document: The same object, parsed.
        name: Name of the member, in ASCII.
        value: JSON text to put there.
    """
    if name not in document:
        return insert_member(body, document, name, value)
    start, end = member_span(body, name)
    return b"".join((body[:start], value, body[end:]))


def insert_member(body: bytes, document: Mapping[str, Any], name: str, value: bytes) -> bytes:
    """
    Add a top-level member at the end of the object.

    Args:
        body: Text of a JSON object, already known to be valid.
        document: The same object, parsed.
        name: Name of the member, in ASCII. Where it exists already, the new one wins.
        value: JSON text to put there.
    """
    end = body.rindex(b"}")
    comma = b"," if document else b""
    return b"".join((body[:end], comma, b'"', name.encode("ascii"), b'":', value, body[end:]))


def remove_member(body: bytes, name: str) -> bytes:
    """
    Take a top-level member out, as often as it is there, with the comma that parts it from its neighbour.

    Args:
        body: Text of a JSON object, already known to be valid.
        name: Name of the member, in ASCII and without quotes.
    """
    while (span := _scan(body, name)) is not None:
        value, end = span
        closing = body.rindex(b'"', 0, body.rindex(b":", 0, value))
        # A name without quotes in it has none in its spelling either.
        before = body[: body.rindex(b'"', 0, closing)]
        after = body[end:].lstrip(_WHITESPACE)
        if after.startswith(b","):
            body = before + after[1:].lstrip(_WHITESPACE)
        else:
            bare = before.rstrip(_WHITESPACE)
            body = (bare[:-1] if bare.endswith(b",") else before) + body[end:]
    return body


def member_span(body: bytes, name: str) -> tuple[int, int]:
    """
    Find where the value of a top-level member stands: the last one of that name, as parsers read it.

    Args:
        body: Text of a JSON object, already known to be valid and to have the member.
        name: Name of the member, in ASCII.
    """
    key = b'"' + name.encode("ascii") + b'"'
    at = body.find(key)
    # The object has the member, so its name stands in the text: spelt out, or with \u00 escapes.
    # Spelt out at one place only, and no such escape anywhere: that place is the member.
    if at >= 0 and body.find(key, at + 1) < 0 and b"\\u00" not in body:
        plain = _PLAIN_VALUE.match(body, at + len(key))
        if plain is not None:
            return plain.span(1)
    found = _scan(body, name)
    if found is None:
        raise ValueError(f"no member {name!r} in the text")
    return found


def _scan(body: bytes, name: str) -> tuple[int, int] | None:
    """Walk the top level of the object; what is nested is stepped over."""
    key: bytes | None = None
    found: tuple[int, int] | None = None
    position = body.index(b"{") + 1
    while (token := _TOKEN.search(body, position)) is not None:
        position = token.end()
        lead = token.group()
        if lead == b"}":
            break
        if lead == b":":
            start, position = _value_span(body, position)
            if key is not None and _spells(key, name):
                found = (start, position)
        elif lead != b",":
            key = lead
    return found


def _value_span(body: bytes, position: int) -> tuple[int, int]:
    """Find the value that stands after a colon."""
    while body[position] in _WHITESPACE:
        position += 1
    if body[position] not in b'"[{':
        end = position
        while body[end] not in b",}" and body[end] not in _WHITESPACE:
            end += 1
        return position, end
    depth = 0
    for token in _NESTED_VALUE.finditer(body, position):
        lead = body[token.start()]
        if lead in b"[{":
            depth += 1
        elif lead in b"]}":
            depth -= 1
        if depth == 0:
            return position, token.end()
    raise ValueError("the text is not valid JSON")


def _spells(key: bytes, name: str) -> bool:
    """Tell whether a key's source text, quotes included, spells a name."""
    if b"\\" not in key:
        return key[1:-1] == name.encode("ascii")
    return bool(orjson.loads(key) == name)


def append_element(body: bytes, name: str, element: bytes) -> bytes:
    """
    Add an element at the end of a top-level member that is an array.

    Args:
        body: Text of a JSON object, already known to be valid and to have the member.
        name: Name of the member, in ASCII.
        element: JSON text of the element.
    """
    start, end = member_span(body, name)
    inside = body[start + 1 : end - 1].rstrip(_WHITESPACE)
    comma = b"," if inside.strip(_WHITESPACE) else b""
    return b"".join((body[: start + 1], inside, comma, element, body[end - 1 :]))
