"""
What every streamed answer looks like to an adapter, whatever the two dialects are.

An adapter reads bytes from the provider, feeds them here and sends on what it gets back. It never looks into
the bytes itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from services.providers.dialects.failures import FailureClass
    from services.providers.dialects.usage import UsageCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFailure:
    """
    Why a streamed answer is not whole.

    Attributes:
        failure_class: Class of the error.
        message: What happened, fit for the client.
        reported: The bytes handed out hold the error in the client's dialect already.
        started: Something of the answer was handed out before the error. False means that an adapter which
            has sent nothing yet can answer with `status` and `body` instead of a stream.
        status: HTTP status that fits the error, for an answer that has not started.
        body: The error as a JSON document in the client's dialect, for an answer that has not started.
    """

    failure_class: FailureClass
    message: str
    reported: bool
    started: bool = True
    status: int = 502
    body: bytes = b""


class AnswerStream(Protocol):
    """
    Turns the bytes of a provider's stream into the bytes for the client, and meters them.

    Nothing here raises: what is wrong with the stream is in `failure`. How the bytes are split between calls
    makes no difference to their concatenation.
    """

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the provider and return those for the client, up to the last whole event."""

    def finish(self) -> bytes:
        """
        Say that the provider has closed the stream, and return the bytes to append.

        Sets `failure` when the answer was not whole.
        """

    def fail(self, failure_class: FailureClass, message: str) -> bytes:
        """
        Say that the stream broke (silence, a reset, a limit), and return the bytes to append.

        Does nothing when the answer was whole already.
        """

    @property
    def usage(self) -> UsageCounts | None:
        """What was used so far. A new object each time that it changed, the same object otherwise."""

    @property
    def content_events(self) -> int | None:
        """How many events so far held some of the answer. None: not known."""

    @property
    def finish_reason(self) -> str:
        """Why the model stopped, in OpenAI's words. Empty: not known (yet)."""

    @property
    def served_model(self) -> str:
        """Model that answers, as the provider names it. Empty: not known (yet)."""

    @property
    def failure(self) -> StreamFailure | None:
        """Why the answer is not whole. None: nothing is wrong so far."""

    @property
    def began(self) -> bool:
        """
        True once something of the answer itself was handed out, not only what opens it.

        Until then the answer can still turn out to be an error. Always true where that cannot be told.
        """

    @property
    def done(self) -> bool:
        """True when nothing that is still to come can matter: the answer is whole, or has failed."""
