"""
What a dialect offers: as a client's (its requests are read, answers are written in it) and as a target's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from services.providers.dialects.neutral.restore import Restore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.providers.dialects.failures import FailureClass
    from services.providers.dialects.neutral.completion import Completion
    from services.providers.dialects.neutral.conversation import Conversation
    from services.providers.dialects.neutral.events import Event
    from services.providers.dialects.neutral.notes import Notes

__all__ = [
    "AnswerContext",
    "ClientSide",
    "InBandError",
    "StreamReader",
    "StreamWriter",
    "TargetSide",
    "Written",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerContext:
    """
    What a client's answer needs beside what the provider says.

    Attributes:
        model: Asked for; stands in the answer where the provider names none.
        created_s: Seconds since 1970.
        answer_id: 24 hexadecimal digits, for an answer that has no id; the dialect puts its prefix before it.
        include_usage: The client asked for usage in the stream.
        echo: `Conversation.echo`.
    """

    model: str
    created_s: int
    answer_id: str
    include_usage: bool = False
    echo: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """
    A request in a target's dialect.

    Attributes:
        body: To be sent.
        headers: Beside it, lower-case names; merged with the client's where both have one.
        restore: What the answer has to be restored by.
    """

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    restore: Restore = field(default_factory=Restore)


class StreamReader(Protocol):
    """
    Reads a target's streamed answer.

    Nothing here raises. How the bytes are split between calls makes no difference. Memory is bounded by the
    longest event. After `Ended` or `Failed` it gives nothing more.
    """

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes from the provider."""

    def finish(self) -> list[Event]:
        """
        Take the end of the bytes.

        Gives `Ended` when the answer was whole (all that its dialect demands was seen), else `Failed` with
        CUT, unless either was given before.
        """

    @property
    def whole(self) -> bool:
        """True when the answer would count as whole if the bytes ended here."""


class StreamWriter(Protocol):
    """Writes an answer as a client's stream of server-sent events. Never raises."""

    def write(self, events: list[Event]) -> bytes:
        """
        Return the bytes for events, without `Ended`'s and `Failed`'s, which are never among them.

        May return b"" and hold a part back until more is known.
        """

    def end(self) -> bytes:
        """Return what ends a whole answer: the closing of what is open, usage, the dialect's last mark."""

    def fail(self, status: int, failure_class: FailureClass, message: str) -> bytes:
        """Return the event that tells of an error, with nothing that could be taken for a normal end."""

    @property
    def started(self) -> bool:
        """True once bytes were returned that hold more than a sign of life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSide:
    """
    A dialect as clients speak it.

    Attributes:
        read_request: Body → conversation. Raises INVALID_REQUEST or UNSUPPORTED, naming the parameter.
        write_answer: A whole answer → body.
        stream_writer: Makes the writer of one streamed answer.
        write_error: HTTP status, class, message → body.
    """

    read_request: Callable[[bytes, Notes], Conversation]
    write_answer: Callable[[Completion, AnswerContext], bytes]
    stream_writer: Callable[[AnswerContext], StreamWriter]
    write_error: Callable[[int, FailureClass, str], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSide:
    """
    A dialect as a provider speaks it. What differs by provider is bound by the adapter (`functools.partial`).

    Attributes:
        write_request: Conversation, model in the provider's naming, whether to stream, notes → request.
            Raises INVALID_REQUEST or UNSUPPORTED.
        read_answer: Body of a success → completion. Raises UPSTREAM_MALFORMED, or `InBandError` for an error
            that came as a success.
        stream_reader: Makes the reader of one streamed answer; takes the longest event in bytes.
    """

    write_request: Callable[[Conversation, str, bool, Notes], Written]
    read_answer: Callable[[bytes], Completion]
    stream_reader: Callable[[int], StreamReader]


class InBandError(Exception):
    """A provider answered a success that holds an error. `status` is the one that fits; 0: by the class."""

    def __init__(self, failure_class: FailureClass, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.failure_class = failure_class
        self.message = message
        self.status = status
