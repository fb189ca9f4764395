"""
Hands a native stream on, to the byte, and reads along for what it used and how it ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.providers.dialects.failures import CLASS_STATUSES, FailureClass
from services.providers.dialects.neutral.events import (
    CONTENT_EVENTS,
    Ended,
    Failed,
    Finished,
    Started,
    UsageReport,
)
from services.providers.dialects.stream import StreamFailure
from services.providers.dialects.usage import estimate

if TYPE_CHECKING:
    from services.providers.dialects.neutral.events import Event
    from services.providers.dialects.neutral.sides import StreamReader
    from services.providers.dialects.usage import UsageCounts

__all__ = ["WatchedStream"]

# Failures that are found out here; the client reads every other one in the provider's own bytes.
_FOUND_HERE = frozenset({FailureClass.CUT, FailureClass.MALFORMED, FailureClass.TIMEOUT})


class WatchedStream:
    """
    Meters a stream that a `StreamReader` can read; see `AnswerStream`. No byte is altered or held back.

    Args:
        reader: Of the provider's bytes.
        request_bytes: Length of the request body, for an estimate when usage is not reported.
        opaque: The reader tells no content, so that the first byte has to do.
    """

    def __init__(self, reader: StreamReader, *, request_bytes: int = 0, opaque: bool = False) -> None:
        self._reader = reader
        self._opaque = opaque
        self._request_bytes = request_bytes
        self._content_events = 0
        self._ended = False
        self._handed_out = False
        self.usage: UsageCounts | None = None
        self.finish_reason = ""
        self.served_model = ""
        self.failure: StreamFailure | None = None

    @property
    def began(self) -> bool:
        """True once something of the answer came, as far as the reader's events tell; else with the first."""
        return self._content_events > 0 or self._ended or bool(self.finish_reason) or self._opaque

    @property
    def content_events(self) -> int:
        """How many events held some of the answer."""
        return self._content_events

    @property
    def done(self) -> bool:
        """True when nothing that is still to come can matter."""
        return self._ended or self.failure is not None

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the provider and return them."""
        if not self.done:
            self._note(self._reader.feed(data))
        self._handed_out = self._handed_out or bool(data)
        return data

    def finish(self) -> bytes:
        """Say that the provider has closed the stream."""
        if not self.done:
            self._note(self._reader.finish())
        return b""

    def fail(self, failure_class: FailureClass, message: str) -> bytes:
        """Say that the stream broke."""
        if self._reader.whole:
            return self.finish()
        if not self.done:
            self._failed(Failed(failure_class, message))
        return b""

    def _note(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, CONTENT_EVENTS):
                self._content_events += 1
            elif isinstance(event, UsageReport):
                self.usage = event.billed or event.usage
            elif isinstance(event, Finished):
                self.finish_reason = self.finish_reason or event.finish.value
            elif isinstance(event, Started):
                self.served_model = event.model or self.served_model
            elif isinstance(event, Failed):
                self._failed(event)
            elif isinstance(event, Ended):
                self._ended = True
                if self.usage is None and self._content_events:
                    self._estimate()

    def _failed(self, event: Failed) -> None:
        started = self._handed_out or self._content_events > 0
        self.failure = StreamFailure(
            failure_class=event.failure_class,
            message=event.message,
            reported=event.failure_class not in _FOUND_HERE,
            started=started,
            status=event.status or CLASS_STATUSES[event.failure_class],
        )
        if started:
            self._estimate()

    def _estimate(self) -> None:
        self.usage = estimate(
            self.usage, request_bytes=self._request_bytes, content_events=self._content_events
        )
