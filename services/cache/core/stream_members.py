"""
What a request's body says about streaming, and nothing else about the answer.

The same question asked for as a stream and in one piece is one question. So the members `stream` and
`stream_options` of a body that is a JSON object are left out of its key, by their place in the bytes: what is
left is exactly what somebody sends who never wrote them.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["MOST_STEPS", "kept_parts"]

MOST_STEPS: Final = 100_000
"""
Strings, escaped quotes and brackets that are passed on the way to the members, at most: some 30 ms of work. A
body with more before them stays as it is, and then a stream of it is another question.
"""

_LEFT_OUT: Final = (b'"stream"', b'"stream_options"')
_SAYS: Final = {True: (b"true",), False: (b"false", b"null")}
# A pattern holds the interpreter while it matches, so it matches so much at most.
_AT_ONCE: Final = 64 << 10

_SPACE = rb"[ \t\r\n]*+"
_BEGIN: Final = re.compile(_SPACE + rb"\{" + _SPACE)
_COLON: Final = re.compile(_SPACE + rb":" + _SPACE)
_SCALAR: Final = re.compile(rb'[^ \t\r\n"{}\[\],:]++')
_NO_MARK: Final = re.compile(rb'[^"{}\[\]]*+')
_AFTER: Final = re.compile(_SPACE + rb"([,}])" + _SPACE)


def kept_parts(body: bytes, *, streamed: bool) -> tuple[bytes | memoryview, ...]:
    """
    Return what counts of a body, in order.

    Args:
        body: The whole body.
        streamed: Whether a stream was asked for. A member `stream` that says otherwise means something else,
            and counts.

    Returns:
        The whole body as one part, where it says nothing about streaming or is no JSON object.
    """
    # Most bodies end here: a search for a few bytes is far quicker than a reader.
    last = max(body.rfind(name) for name in _LEFT_OUT)
    cuts = None if last < 0 else _cuts(body, last, streamed=streamed)
    if not cuts:
        return (body,)
    view = memoryview(body)
    starts = [0, *(end for _, end in cuts)]
    ends = [*(start for start, _ in cuts), len(body)]
    return tuple(view[start:end] for start, end in zip(starts, ends, strict=True) if start < end)


def _cuts(body: bytes, last: int, *, streamed: bool) -> list[tuple[int, int]] | None:
    """Find what to leave out, up to where the last of the names may begin; None for what is no object."""
    begin = _BEGIN.match(body)
    reader = _Reader(body)
    cuts: list[tuple[int, int]] = []
    start, comma = (begin.end() if begin else -1), -1
    while 0 <= start <= last:
        name_end = reader.string_end(start)
        colon = _COLON.match(body, name_end) if name_end > 0 else None
        end = reader.value_end(colon.end()) if colon else -1
        after = _AFTER.match(body, end) if end > 0 else None
        if colon is None or after is None:
            return None
        name, is_last = body[start:name_end], after[1] == b"}"
        if name == _LEFT_OUT[0] and body[colon.end() : end] not in _SAYS[streamed]:
            return None
        if name not in _LEFT_OUT:
            comma = after.start(1)
        elif comma >= 0:
            cuts.append((comma, end))
            comma = after.start(1)
        else:
            # Nothing that stays comes before it: the comma after it goes.
            cuts.append((start, end if is_last else after.end()))
        if is_last:
            break
        start = after.end()
    return cuts


class _Reader:
    """Finds where values end, in so many steps at most; all answers are -1 for what is no JSON."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._left = MOST_STEPS

    def value_end(self, start: int) -> int:
        """Return where the value ends that begins somewhere."""
        first = self._body[start : start + 1]
        if first == b'"':
            return self.string_end(start)
        if first not in (b"{", b"["):
            scalar = _SCALAR.match(self._body, start)
            return -1 if scalar is None else scalar.end()
        return self._nested_end(start)

    def string_end(self, start: int) -> int:
        """Return where a string ends."""
        body, quote = self._body, start
        if body[start : start + 1] != b'"':
            return -1
        while self._left:
            self._left -= 1
            before, quote = quote, body.find(b'"', quote + 1)
            if quote < 0:
                break
            if body[quote - 1] != 0x5C:
                return quote + 1
            # It is escaped by an odd number of backslashes.
            between = body[before + 1 : quote]
            if not (len(between) - len(between.rstrip(b"\\"))) % 2:
                return quote + 1
        return -1

    def _nested_end(self, start: int) -> int:
        body, position, depth = self._body, start, 0
        while self._left and 0 <= position < len(body):
            self._left -= 1
            mark = body[position]
            if mark == 0x22:
                position = self.string_end(position)
                continue
            if mark in b"{[":
                depth += 1
            elif mark in b"}]":
                depth -= 1
                if not depth:
                    return position + 1
            found = _NO_MARK.match(body, position + 1, position + 1 + _AT_ONCE)
            position = found.end() if found else -1
        return -1
