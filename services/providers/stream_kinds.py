"""
The formats that streams come and go in, and what their events are known by.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["AWS_EVENT_STREAM", "EVENT_STREAM", "JSON", "WATCHED", "Marks", "marks_of"]

EVENT_STREAM: Final = "text/event-stream"
AWS_EVENT_STREAM: Final = "application/vnd.amazon.eventstream"
# A document in each line, as version 1 of Cohere's API streams.
_LINES: Final = "application/stream+json"
JSON: Final = "application/json"
# What a native stream may come in to be metered.
WATCHED: Final = frozenset({EVENT_STREAM, AWS_EVENT_STREAM, _LINES})


class Marks(NamedTuple):
    """
    What the events of a format are known by.

    Attributes:
        content: Is in every event and in no comment.
        once: Is in every event once, or ends it.
    """

    content: bytes
    once: bytes


_EVENTS: Final = Marks(b"data:", b"\n\n")
_OTHERS: Final = {
    AWS_EVENT_STREAM: Marks(b":event-type", b":event-type"),
    _LINES: Marks(b'"', b"\n"),
    # Gemini's array of events.
    JSON: Marks(b'"', b'"candidates"'),
}


def marks_of(content_type: str) -> Marks:
    """Return what the events of a stream are known by."""
    return _OTHERS.get(content_type, _EVENTS)
