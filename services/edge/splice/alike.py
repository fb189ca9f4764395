"""
Reads the text of events that differ in nothing else, without reading the events.

In most streams nearly all events are the same bytes but for the text of a token, so that a few comparisons
stand in place of reading every event.
"""

from __future__ import annotations

from typing import Final

import orjson

__all__ = ["Alike"]

# Streams whose events differ otherwise, too, are found out by then.
_MOST_LESSONS: Final = 8


class Alike:
    """The last event that was learned from, which had nothing but text."""

    __slots__ = ("_head", "_lessons", "_name", "_shortest", "_tail")

    def __init__(self) -> None:
        self._name = ""
        self._head = b""
        self._tail = b""
        self._shortest = 0  # length of an event with an empty text; zero before the first lesson
        self._lessons = 0

    def learn(self, name: str, data: bytes, text: str) -> None:
        """Learn what an event is but for its text, where that stands in it once and as we write it."""
        if self._lessons == _MOST_LESSONS:
            return
        self._lessons += 1
        written = orjson.dumps(text)
        if data.count(written) != 1:
            return
        self._head, _, self._tail = data.partition(written)
        self._name, self._shortest = name, len(data) - len(written) + 2

    def text_of(self, name: str, data: bytes) -> str | None:
        """Return the text of an event that is like the one that was learned from. None: it is not."""
        shortest = self._shortest
        if (
            not shortest
            or len(data) < shortest
            or not data.startswith(self._head)
            or not data.endswith(self._tail)
            or name != self._name
        ):
            return None
        try:
            text = orjson.loads(data[len(self._head) : len(data) - len(self._tail)])
        except orjson.JSONDecodeError:
            return None
        return text if isinstance(text, str) else None
