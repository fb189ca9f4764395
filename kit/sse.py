"""
Framing of server-sent events: where one ends, and what it says.

Follows the WHATWG rules as far as a relay needs them: lines end in LF, CRLF or CR, a blank line ends an
event, several `data` lines are joined, comments and unknown fields are skipped. Bytes are never altered.
"""

from __future__ import annotations

import re
from typing import Final

from kit.errors import GatewayError, Reason

# Above any event seen in the wild: a whole response with images in base64 comes in one event.
MAX_EVENT_BYTES: Final = 16 * 1024 * 1024

# The lookahead keeps CRLF from being read as two line ends.
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
_BOM = b"\xef\xbb\xbf"
_LONGEST_BLANK_LINE = 4


class SseSplitter:
    """
    Cuts a stream of bytes after its last whole event.

    Args:
        max_event_bytes: Longest event that is waited for.
    """

    __slots__ = ("_held", "_held_bytes", "_max_event_bytes", "_tail")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._tail = b""

    def feed(self, data: bytes) -> bytes:
        """
        Return everything up to the last whole event, and hold the rest.

        Raises:
            GatewayError: With UPSTREAM_MALFORMED when an event is longer than allowed.
        """
        if not self._held and (data.endswith(b"\r\n\r\n") or (data.endswith(b"\n\n") and b"\r" not in data)):
            return data
        # An end of event may straddle two reads; nothing before the tail can still become one.
        window = self._tail + data
        end = _last_end(window) - len(self._tail)
        if end <= 0:
            self._hold(data, window)
            return b""
        whole = b"".join((*self._held, data[:end]))
        self._held.clear()
        self._held_bytes = 0
        self._tail = b""
        if end < len(data):
            self._hold(data[end:], data[end:])
        return whole

    def finish(self) -> bytes:
        """Return what is still held: an event without its final blank line, or a piece of one."""
        rest = b"".join(self._held)
        self._held.clear()
        self._held_bytes = 0
        self._tail = b""
        return rest

    def _hold(self, data: bytes, window: bytes) -> None:
        if not data:
            return
        self._held.append(data)
        self._held_bytes += len(data)
        self._tail = window[-(_LONGEST_BLANK_LINE - 1) :]
        if self._held_bytes > self._max_event_bytes:
            raise GatewayError(
                Reason.UPSTREAM_MALFORMED,
                f"The provider sent an event longer than {self._max_event_bytes} bytes.",
                limit_bytes=str(self._max_event_bytes),
            )


def _last_end(data: bytes) -> int:
    """Find where the last whole event ends. Zero: there is none."""
    if b"\r" not in data:
        return data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
    end = 0
    for match in _BLANK_LINE.finditer(data):
        # A CR at the end is half of a CRLF, where lines end so: the event ends with all of it.
        if match.end() < len(data) or not match[0].endswith(b"\n\r"):
            end = match.end()
    return end


def split_events(data: bytes) -> list[bytes]:
    """Cut whole events apart, each with the blank line that ends it. Joined, they are `data` again."""
    if b"\r" not in data:
        pieces = data.split(b"\n\n")
        events = [piece + b"\n\n" for piece in pieces[:-1]]
        if pieces[-1]:
            events.append(pieces[-1])
        return events
    events = []
    start = 0
    for match in _BLANK_LINE.finditer(data):
        events.append(data[start : match.end()])
        start = match.end()
    if start < len(data):
        events.append(data[start:])
    return events


def parse_events(data: bytes) -> list[tuple[str, bytes]]:
    """
    Read whole events as pairs of event name and data.

    An event without data is left out, as a browser would. The name is empty when none was given. The last
    event may lack its final blank line.
    """
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events = []
    for piece in data.split(b"\n\n"):
        # Nearly every event is one of two shapes, which need no loop over lines.
        lines = piece.count(b"\n")
        if lines == 0 and piece.startswith(b"data: "):
            events.append(("", piece[6:]))
        elif lines == 1 and piece.startswith(b"event: ") and (at := piece.find(b"\ndata: ")) > 0:
            events.append((piece[7:at].decode("utf-8", "replace"), piece[at + 7 :]))
        elif piece:
            event = _parse_lines(piece)
            if event is not None:
                events.append(event)
    return events


def _parse_lines(piece: bytes) -> tuple[str, bytes] | None:
    name = ""
    data: list[bytes] = []
    for line in piece.removeprefix(_BOM).split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    return (name, b"\n".join(data)) if data else None
