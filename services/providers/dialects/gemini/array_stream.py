"""
A stream that a client did not ask for as events: one JSON array, an element for each event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kit.sse import parse_events

if TYPE_CHECKING:
    from services.providers.dialects.failures import FailureClass
    from services.providers.dialects.stream import AnswerStream, StreamFailure
    from services.providers.dialects.usage import UsageCounts

__all__ = ["ArrayStream"]

_BETWEEN: Final = b",\r\n"


class ArrayStream:
    """
    Writes what another stream writes as events, as the elements of an array; see `AnswerStream`.

    Args:
        events: Gives whole events of Gemini's dialect.
    """

    def __init__(self, events: AnswerStream) -> None:
        self._events = events
        self._begun = False
        self._over = False

    @property
    def usage(self) -> UsageCounts | None:
        """What was used so far."""
        return self._events.usage

    @property
    def content_events(self) -> int | None:
        """How many events held some of the answer."""
        return self._events.content_events

    @property
    def finish_reason(self) -> str:
        """Why the model stopped, in OpenAI's words."""
        return self._events.finish_reason

    @property
    def served_model(self) -> str:
        """Model that answers, as the provider names it."""
        return self._events.served_model

    @property
    def failure(self) -> StreamFailure | None:
        """Why the answer is not whole."""
        return self._events.failure

    @property
    def began(self) -> bool:
        """True once something of the answer itself was handed out."""
        return self._events.began

    @property
    def done(self) -> bool:
        """True when nothing that is still to come can matter."""
        return self._events.done

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the provider and return those for the client."""
        return self._elements(self._events.feed(data))

    def finish(self) -> bytes:
        """Say that the provider has closed the stream, and return the bytes to append."""
        return self._close(self._events.finish())

    def fail(self, failure_class: FailureClass, message: str) -> bytes:
        """Say that the stream broke, and return the bytes to append."""
        return self._close(self._events.fail(failure_class, message))

    def _elements(self, block: bytes) -> bytes:
        out: list[bytes] = []
        for _, data in parse_events(block):
            out += (_BETWEEN if self._begun else b"[", data)
            self._begun = True
        return b"".join(out)

    def _close(self, block: bytes) -> bytes:
        """End the array, also after an error, which then is its last element."""
        out = self._elements(block)
        if self._over:
            return out
        self._over = True
        return out + (b"]" if self._begun else b"[]")
