"""
Puts a client's dialect and a target's together: requests one way, answers the other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.providers.dialects.answer import Answer
from services.providers.dialects.failures import CLASS_STATUSES
from services.providers.dialects.neutral.events import (
    CONTENT_EVENTS,
    LAST_EVENTS,
    Failed,
    Finished,
    Started,
    UsageReport,
)
from services.providers.dialects.neutral.notes import Notes
from services.providers.dialects.neutral.restore import RestoredEvents
from services.providers.dialects.neutral.sides import AnswerContext, InBandError
from services.providers.dialects.stream import StreamFailure
from services.providers.dialects.usage import estimate

if TYPE_CHECKING:
    from services.providers.dialects.failures import FailureClass
    from services.providers.dialects.neutral.conversation import Conversation
    from services.providers.dialects.neutral.events import Event
    from services.providers.dialects.neutral.restore import Restore
    from services.providers.dialects.neutral.sides import (
        ClientSide,
        StreamReader,
        StreamWriter,
        TargetSide,
        Written,
    )
    from services.providers.dialects.usage import UsageCounts

__all__ = ["ClientRequest", "TranslatedStream", "Translation", "read_conversation", "translate_request"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """
    A request on its way to a target, and the way back.

    Attributes:
        written: What to send.
        notes: What was dropped, clamped or emulated.
        context: What the answer needs.
    """

    client: ClientSide
    target: TargetSide
    written: Written
    notes: tuple[str, ...]
    context: AnswerContext

    def read_answer(self, body: bytes) -> Answer:
        """
        Translate a whole answer.

        Raises:
            GatewayError: UPSTREAM_MALFORMED; it is none.
        """
        try:
            completion = self.target.read_answer(body)
        except InBandError as error:
            failure = _failure(self.client, error.failure_class, error.message, error.status, started=False)
            return Answer(body=failure.body, failure=failure)
        self.written.restore.completion(completion)
        return Answer(
            body=self.client.write_answer(completion, self.context),
            usage=completion.billed or completion.usage,
            finish_reason=completion.choices[0].finish.value if completion.choices else "",
            served_model=completion.model,
            warnings=completion.warnings,
        )

    def stream(self, *, max_event_bytes: int) -> TranslatedStream:
        """Make the machine that translates one streamed answer."""
        return TranslatedStream(
            self.client,
            self.target.stream_reader(max_event_bytes),
            self.client.stream_writer(self.context),
            self.written.restore,
            request_bytes=len(self.written.body),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRequest:
    """
    A client's request, read and not yet written: between the two an adapter may fetch what the target wants.

    Attributes:
        client: Dialect that it came in.
        conversation: What it says; may be altered before it is written, once.
        notes: What was dropped, clamped or emulated so far.
        answer_id: Of its answer, should that have none.
    """

    client: ClientSide
    conversation: Conversation
    notes: Notes
    answer_id: str

    def write(self, target: TargetSide, *, model: str, stream: bool, now_s: int) -> Translation:
        """
        Write the request for a target; see `translate_request`.

        Raises:
            GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the parameter.
        """
        conversation = self.conversation
        written = target.write_request(conversation, model, stream, self.notes)
        for name in conversation.extra:
            self.notes.dropped(name)
        return Translation(
            client=self.client,
            target=target,
            written=written,
            notes=self.notes.taken(),
            context=AnswerContext(
                model=model,
                created_s=now_s,
                answer_id=self.answer_id,
                include_usage=conversation.include_usage,
                echo=conversation.echo,
            ),
        )


def read_conversation(client: ClientSide, body: bytes, *, strict: bool) -> ClientRequest:
    """
    Read a request: the first half of `translate_request`.

    Args:
        client: Dialect of `body`.
        body: The client's body.
        strict: Refuse what cannot be translated without loss.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the parameter.
    """
    notes = Notes(strict=strict)
    return ClientRequest(
        client=client,
        conversation=client.read_request(body, notes),
        notes=notes,
        answer_id=hashlib.sha256(body).hexdigest()[:24],
    )


def translate_request(
    client: ClientSide, target: TargetSide, body: bytes, *, model: str, stream: bool, now_s: int, strict: bool
) -> Translation:
    """
    Translate a request.

    Args:
        client: Dialect of `body`.
        target: Dialect to write.
        body: The client's body.
        model: In the provider's naming.
        stream: The client asked for a stream.
        now_s: The time now, in seconds since 1970.
        strict: Refuse what cannot be translated without loss.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the parameter.
    """
    request = read_conversation(client, body, strict=strict)
    return request.write(target, model=model, stream=stream, now_s=now_s)


class TranslatedStream:
    """
    Translates a streamed answer; see `AnswerStream` for what callers may rely on.

    Args:
        client: Dialect of errors that come before the answer has begun.
        reader: Of the provider's bytes.
        writer: Of the client's.
        restore: What the request was changed by.
        request_bytes: Length of the request body, for an estimate when the stream is cut.
    """

    def __init__(
        self,
        client: ClientSide,
        reader: StreamReader,
        writer: StreamWriter,
        restore: Restore,
        *,
        request_bytes: int = 0,
    ) -> None:
        self._client = client
        self._reader = reader
        self._writer = writer
        self._restored = RestoredEvents(restore) if restore.needed else None
        self._request_bytes = request_bytes
        self._content_events = 0
        self._over = False
        self.usage: UsageCounts | None = None
        self.finish_reason = ""
        self.served_model = ""
        self.failure: StreamFailure | None = None

    @property
    def began(self) -> bool:
        """True once something of the answer itself was handed out."""
        return self._over or self._content_events > 0 or bool(self.finish_reason)

    @property
    def content_events(self) -> int:
        """How many events held some of the answer."""
        return self._content_events

    @property
    def done(self) -> bool:
        """True when nothing that is still to come can matter."""
        return self._over

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the provider and return those for the client."""
        return b"" if self._over else self._write(self._reader.feed(data))

    def finish(self) -> bytes:
        """Say that the provider has closed the stream, and return the bytes to append."""
        return b"" if self._over else self._write(self._reader.finish())

    def fail(self, failure_class: FailureClass, message: str) -> bytes:
        """Say that the stream broke, and return the bytes to append."""
        if self._over:
            return b""
        if self._reader.whole:
            return self.finish()
        return self._failed(Failed(failure_class, message))

    def _write(self, events: list[Event]) -> bytes:
        if not events:
            return b""
        last = events[-1]
        over = isinstance(last, LAST_EVENTS)
        if over:
            events.pop()
        for event in events:
            self._note(event)
        if self._restored is not None:
            events = self._restored.restore(events)
            self._note_restored(events)
        out = self._writer.write(events)
        if not over:
            return out
        if isinstance(last, Failed):
            return out + self._failed(last)
        self._over = True
        if self.usage is None and self._content_events:
            self._estimate()
        return out + self._writer.end()

    def _note(self, event: Event) -> None:
        if isinstance(event, CONTENT_EVENTS):
            self._content_events += 1
        elif isinstance(event, UsageReport):
            self.usage = event.billed or event.usage
        elif isinstance(event, Finished):
            self.finish_reason = self.finish_reason or event.finish.value
        elif isinstance(event, Started):
            self.served_model = event.model or self.served_model

    def _note_restored(self, events: list[Event]) -> None:
        """Note the reason that the client sees: the tool that gives the answer is no call of its own."""
        for event in events:
            if isinstance(event, Finished) and event.choice == 0:
                self.finish_reason = event.finish.value

    def _failed(self, event: Failed) -> bytes:
        started = self._writer.started
        self._over = True
        self.failure = _failure(
            self._client, event.failure_class, event.message, event.status, started=started
        )
        if started:
            self._estimate()
        return self._writer.fail(self.failure.status, event.failure_class, event.message)

    def _estimate(self) -> None:
        self.usage = estimate(
            self.usage, request_bytes=self._request_bytes, content_events=self._content_events
        )


def _failure(
    client: ClientSide, failure_class: FailureClass, message: str, status: int, *, started: bool
) -> StreamFailure:
    status = status or CLASS_STATUSES[failure_class]
    return StreamFailure(
        failure_class=failure_class,
        message=message,
        reported=True,
        started=started,
        status=status,
        body=client.write_error(status, failure_class, message),
    )
