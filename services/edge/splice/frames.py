"""
The two ways in which a stream is framed: as server-sent events, and as the elements of one JSON array.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

import orjson

from kit.errors import GatewayError, Reason
from kit.sse import MAX_EVENT_BYTES, SseSplitter, parse_events, split_events

__all__ = ["ArrayFrames", "EventFrames", "Frames"]

_BETWEEN: Final = b",\r\n"
_BRACKET: Final = re.compile(rb'["{}\[\]]')
# Up to the next bracket that stands in no string.
_TO_BRACKET: Final = re.compile(rb'(?:[^"{}\[\]]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+([{}\[\]])', re.DOTALL)
# The rest of a string, up to its closing quote or to where the text ends; half an escape is left.
_STRING_REST: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)


class Frames(Protocol):
    """
    The framing of one stream.

    Attributes:
        ended: The framing's own end was seen or written.
    """

    ended: bool

    def feed(self, data: bytes) -> bytes:
        """
        Return everything up to the last whole event, and hold the rest.

        Raises:
            GatewayError: With UPSTREAM_MALFORMED when an event is longer than allowed.
        """
        ...

    def rest(self) -> bytes:
        """Return what is held when the stream is over."""
        ...

    def split(self, block: bytes) -> list[bytes]:
        """Cut whole events apart. Joined, they are `block` again."""
        ...

    def parse(self, block: bytes) -> list[tuple[str, bytes]]:
        """Read whole events as pairs of name and data."""
        ...

    def write(self, name: str, data: bytes) -> bytes:
        """Write an event."""
        ...

    def end(self) -> bytes:
        """Write the framing's own end."""
        ...

    def rewind(self, passed: bytes) -> None:
        """Forget what was fed last, but for its beginning."""

    def another(self) -> Frames:
        """Make the same for another stream."""
        ...


class EventFrames:
    """Server-sent events; see `Frames`."""

    __slots__ = ("_held", "_splitter", "ended")

    def __init__(self) -> None:
        self._splitter = SseSplitter()
        self._held = 0
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """Return everything up to the last whole event; blank lines between events are a sign of life."""
        if not self._held and ((data.endswith(b"\n\n") and b"\r" not in data) or data.isspace()):
            return data
        block = self._splitter.feed(data)
        self._held += len(data) - len(block)
        return block

    def rest(self) -> bytes:
        """Return an event without its blank line, or a piece of one."""
        self._held = 0
        return self._splitter.finish()

    def split(self, block: bytes) -> list[bytes]:
        """Cut whole events apart."""
        return split_events(block)

    def parse(self, block: bytes) -> list[tuple[str, bytes]]:
        """Read whole events as pairs of name and data."""
        return parse_events(block)

    def write(self, name: str, data: bytes) -> bytes:
        """Write an event."""
        if name:
            return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
        return b"data: %b\n\n" % data

    def end(self) -> bytes:
        """Write nothing: events have no end of their own."""
        self.ended = True
        return b""

    def rewind(self, passed: bytes) -> None:
        """Do nothing: what was written makes no difference to what follows."""

    def another(self) -> EventFrames:
        """Make the same for another stream."""
        return EventFrames()


class ArrayFrames:
    """
    The elements of a JSON array, which are objects; see `Frames`.

    What parts two elements belongs to the second, so that whatever was passed on can be gone on with.
    """

    __slots__ = ("_at", "_began_before", "_begun", "_depth", "_held", "_in_string", "ended")

    def __init__(self) -> None:
        self._held = b""
        self._at = 0  # how far the held bytes were looked at
        self._depth = 0  # brackets that are open, those of the array apart
        self._in_string = False
        self._begun = self._began_before = False
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """Return everything up to the end of the last whole element, or of the array."""
        self._began_before = self._begun
        if not self._held and _is_element(data):
            self._begun = True
            return data
        self._held += data
        cut = self._scan()
        if not cut and not self._depth and self._held.isspace():
            cut = len(self._held)
        block, self._held = self._held[:cut], self._held[cut:]
        self._at -= cut
        if len(self._held) > MAX_EVENT_BYTES:
            raise GatewayError(
                Reason.UPSTREAM_MALFORMED,
                f"The provider sent an element longer than {MAX_EVENT_BYTES} bytes.",
                limit_bytes=str(MAX_EVENT_BYTES),
            )
        return block

    def _scan(self) -> int:
        """Look at what is new; return where the last element ends, or the array. Zero: neither does."""
        held, at, cut = self._held, self._at, 0
        while at < len(held):
            if self._in_string:
                rest = _STRING_REST.match(held, at)
                assert rest is not None  # it matches nothing, too
                at = rest.end()
                if at == len(held) or held[at] != 0x22:
                    break  # within an escape, or at the end
                at += 1
                self._in_string = False
            found = _BRACKET.search(held, at)
            if found is None:
                at = len(held)
                break
            at = found.end()
            if self._take(found[0]):
                cut = at
        self._at = max(at, cut)
        self._begun = self._begun or cut > 0
        return cut

    def _take(self, mark: bytes) -> bool:
        """Take a bracket or a quotation mark; True: an element ends with it, or the array."""
        if mark == b'"':
            self._in_string = True
        elif mark in b"{[":
            self._depth += bool(self._depth or mark == b"{")
        elif self._depth:
            self._depth -= 1
            return not self._depth
        elif mark == b"]":
            self.ended = True
            return True
        return False

    def rest(self) -> bytes:
        """Return a piece of an element."""
        rest, self._held, self._at = self._held, b"", 0
        return rest

    def split(self, block: bytes) -> list[bytes]:
        """Cut elements apart, each with what parts it from the one before."""
        pieces, start, depth = [], 0, 0
        for token in _TO_BRACKET.finditer(block):
            mark = token[1]
            if mark in b"{[":
                depth += bool(depth or mark == b"{")
            else:
                depth -= bool(depth)
                if not depth:
                    pieces.append(block[start : token.end()])
                    start = token.end()
        if start < len(block):
            pieces.append(block[start:])
        return pieces

    def parse(self, block: bytes) -> list[tuple[str, bytes]]:
        """Read elements as events without a name."""
        found = []
        for piece in self.split(block):
            start = piece.find(b"{")
            if start >= 0:
                found.append(("", piece[start:]))
        return found

    def write(self, name: str, data: bytes) -> bytes:  # noqa: ARG002 - elements have no name
        """Write an element."""
        begun, self._begun = self._begun, True
        return (_BETWEEN if begun else b"[") + data

    def end(self) -> bytes:
        """End the array."""
        if self.ended:
            return b""
        self.ended = True
        return b"]" if self._begun else b"[]"

    def rewind(self, passed: bytes) -> None:
        """Forget what was fed last, but for its beginning: the array is open, and perhaps empty."""
        self.ended = False
        self._begun = self._began_before or b"{" in passed

    def another(self) -> ArrayFrames:
        """Make the same for another stream."""
        return ArrayFrames()


def _is_element(data: bytes) -> bool:
    """Tell whether bytes are one whole element, with what parts it from the one before."""
    if not data.endswith(b"}"):
        return False
    try:
        return isinstance(orjson.loads(data.lstrip(b"[, \t\r\n")), dict)
    except orjson.JSONDecodeError:
        return False
