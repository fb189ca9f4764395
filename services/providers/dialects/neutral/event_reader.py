"""
The common part of readers of server-sent events that hold JSON objects.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import orjson

from kit.errors import GatewayError
from kit.sse import MAX_EVENT_BYTES, SseSplitter, parse_events, split_events
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.neutral.events import Ended, Event, Failed, KeepAlive

__all__ = ["JsonEventReader"]

_CUT = "The provider's answer stopped before its end."
_NOT_JSON = "The provider sent an event that is not a JSON object."
_DONE = b"[DONE]"


class JsonEventReader(ABC):
    """
    Reads a stream of events; see `StreamReader`.

    A subclass reads single events in `_read`, calls `_end` or `_break` when the dialect says so, and says in
    `whole` whether what came is a whole answer.

    Args:
        max_event_bytes: Longest event that is waited for.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._splitter = SseSplitter(max_event_bytes)
        self._over = False

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes from the provider."""
        out: list[Event] = []
        if self._over:
            return out
        try:
            block = self._splitter.feed(data)
        except GatewayError as error:
            self._break(out, FailureClass.MALFORMED, error.message)
            return out
        if block:
            self._block(block, out, lenient=False)
        return out

    def finish(self) -> list[Event]:
        """Take the end of the bytes."""
        out: list[Event] = []
        if self._over:
            return out
        rest = self._splitter.finish()
        # The last event may lack its blank line; a piece of one is as good as nothing.
        if rest:
            self._block(rest, out, lenient=True)
        if not self._over:
            if self.whole:
                self._end(out)
            else:
                self._break(out, FailureClass.CUT, _CUT)
        return out

    @property
    @abstractmethod
    def whole(self) -> bool:
        """True when the answer would count as whole if the bytes ended here."""

    @abstractmethod
    def _read(self, name: str, document: dict[str, Any], out: list[Event]) -> None:
        """Read one event. `name` is the event's own, empty when it has none."""

    def _done(self, out: list[Event]) -> None:
        """Take `[DONE]`, which some dialects end with."""
        if self.whole:
            self._end(out)
        else:
            self._break(out, FailureClass.CUT, _CUT)

    def _closing(self, out: list[Event]) -> None:  # noqa: B027 - most dialects have nothing to add
        """Add what is still to be said before a normal end."""

    def _end(self, out: list[Event]) -> None:
        self._closing(out)
        out.append(Ended())
        self._over = True

    def _break(self, out: list[Event], failure_class: FailureClass, message: str, status: int = 0) -> None:
        self._splitter.finish()
        out.append(Failed(failure_class, message, status))
        self._over = True

    def _block(self, block: bytes, out: list[Event], *, lenient: bool) -> None:
        if b":" not in block[:1] and b"\n:" not in block and b"\r:" not in block:
            self._events(block, out, lenient=lenient)
            return
        # Comments are among the events, each a sign of life in its place.
        for piece in split_events(block):
            if not self._events(piece, out, lenient=lenient) and piece.lstrip(b"\r\n").startswith(b":"):
                out.append(KeepAlive())
            if self._over:
                return

    def _events(self, block: bytes, out: list[Event], *, lenient: bool) -> bool:
        """Read events; tell whether there were any."""
        events = parse_events(block)
        for name, data in events:
            if data == _DONE:
                self._done(out)
            else:
                self._event(name, data, out, lenient=lenient)
            if self._over:
                break
        return bool(events)

    def _event(self, name: str, data: bytes, out: list[Event], *, lenient: bool) -> None:
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            document = None
        if isinstance(document, dict):
            self._read(name, document, out)
        elif not lenient:
            self._break(out, FailureClass.MALFORMED, _NOT_JSON)
