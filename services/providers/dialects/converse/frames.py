"""
The frames that streams of AWS come in, as the readers here see them.

Taking bytes apart into frames is done outside: whoever makes a reader gives it something that can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Frame", "FrameSource", "FrameSources", "payload_of"]


class Frame(NamedTuple):
    """One frame: its headers, such as `:event-type`, and what it carries."""

    headers: Mapping[str, Any]
    payload: bytes

    def header(self, name: str) -> str:
        """Return a header that is text; empty when it is none."""
        value = self.headers.get(name)
        return value if isinstance(value, str) else ""


class FrameSource(Protocol):
    """Takes a stream of bytes apart into frames. Never raises."""

    @property
    def broken(self) -> str:
        """Why nothing more can be read: damage, or a frame longer than allowed. Empty: nothing is wrong."""

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes and return the frames that they complete, up to the first that is broken."""


class FrameSources(Protocol):
    """Makes the source of frames for one stream."""

    def __call__(self, max_frame_bytes: int, /) -> FrameSource:
        """Make one that takes frames up to this length."""


def payload_of(frame: Frame) -> dict[str, Any] | None:
    """Read the JSON object that a frame carries; None when it carries something else."""
    if not frame.payload:
        return {}
    try:
        document = orjson.loads(frame.payload)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None
