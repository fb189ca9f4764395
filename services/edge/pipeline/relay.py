"""
Carries one attempt's answer from a provider service to the client.
"""

from __future__ import annotations

import time
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from headrace.common.v1 import http_pb2
from headrace.ledger.v1 import log_entry_pb2
from headrace.provider.v1 import provider_service_pb2
from kit.errors import GatewayError, Reason
from services.edge.pipeline.billing import beside
from services.edge.splice.verdict import Spent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from google.protobuf.duration_pb2 import Duration

    from services.edge.pipeline.exchange import HeaderList, Progress, Sink
    from services.edge.splice.sent import Sent

__all__ = ["Attempt", "Broken", "Failed", "Follow", "Whole", "class_name", "class_of", "error_of"]


class Follow(Protocol):
    """Makes what follows a stream of a dialect and content type; None where nothing can."""

    def __call__(self, dialect: http_pb2.Dialect.ValueType, content_type: str) -> Sent | None:
        """Make it."""


FailureClass = provider_service_pb2.FailureClass

_REASONS = {
    provider_service_pb2.FAILURE_CLASS_CUT: Reason.UPSTREAM_CUT,
    provider_service_pb2.FAILURE_CLASS_TIMEOUT: Reason.UPSTREAM_TIMEOUT,
    provider_service_pb2.FAILURE_CLASS_MALFORMED: Reason.UPSTREAM_MALFORMED,
}

_EVENT_STREAM = "text/event-stream"
_NANO = 1_000_000_000


@dataclass(slots=True, kw_only=True)
class Whole:
    """An answer that arrived in one piece and was not sent yet, with its dialect where that is known."""

    status: int
    headers: HeaderList
    body: bytes
    dialect: http_pb2.Dialect.ValueType = http_pb2.DIALECT_UNSPECIFIED


@dataclass(frozen=True, slots=True)
class Failed:
    """
    An attempt that brought no answer, where another may. Nothing was sent to the client.

    Attributes:
        error: Why.
        kind: Class of the provider's failure, where a provider service told one.
        status: Status that the provider gave; zero for none.
        answer: The provider's own answer, for a client whom no other attempt helps.
        notes: What the translation dropped, clamped or emulated on the way there.
    """

    error: GatewayError
    kind: provider_service_pb2.FailureClass.ValueType = provider_service_pb2.FAILURE_CLASS_UNSPECIFIED
    status: int = 0
    answer: Whole | None = None
    notes: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """What the log calls it: the class of the provider's failure, else our own reason."""
        return _name(self.kind) if self.kind else self.error.reason


_NOT_KNOWN = Spent()


@dataclass(frozen=True, slots=True)
class Broken:
    """
    A stream that broke off after the client got something of it, and that another attempt may continue.

    Attributes:
        error: Why.
        kind: As in `Failed`.
        sent: What the client has.
        reported: Whether what `sent` withheld tells the client of it.
        spent: What the attempts used whose words the client has, as far as it is known.
    """

    error: GatewayError
    kind: provider_service_pb2.FailureClass.ValueType = provider_service_pb2.FAILURE_CLASS_UNSPECIFIED
    reported: bool = False
    sent: Sent = field(kw_only=True)
    spent: Spent = field(kw_only=True, default=_NOT_KNOWN)

    @property
    def failed(self) -> Failed:
        """The same, for those who choose the next step."""
        return Failed(self.error, self.kind)


class Attempt:
    """
    One call of a provider service, and the way of its answer to the client.

    Attributes:
        note: What the log keeps of it.
        kind: Class of the provider's failure, where a provider service told one.
        reason: Why there is no answer, or why it broke off, where no class was told. Empty: neither.
    """

    def __init__(
        self,
        progress: Progress,
        sink: Sink,
        own_headers: Callable[[], HeaderList],
        *,
        finish: Callable[[], None],
        streamed: bool = False,
        follow: Follow | None = None,
    ) -> None:
        """
        Args:
            progress: Gets what is learned.
            sink: Gets the bytes.
            own_headers: Gives the gateway's own headers of an answer that begins.
            finish: Records the request. Called when all is known of an answer that is under way, and before
                its last bytes are written: a client that has them may close, or we may die.
            streamed: Whether a stream was asked for, whatever its format is.
            follow: Makes what follows a stream, for another attempt to continue it. None: none may.
        """
        self._progress = progress
        self._sink = sink
        self._own_headers = own_headers
        self._finish = finish
        self._streamed = streamed
        self._follow = follow
        self._sent: Sent | None = None
        self._begun = False
        self._headers: HeaderList = []
        self._length: int | None = None
        self._dialect: http_pb2.Dialect.ValueType = http_pb2.DIALECT_UNSPECIFIED
        self._held: bytes | None = None
        self._started_s = time.perf_counter()
        self.kind: provider_service_pb2.FailureClass.ValueType = (
            provider_service_pb2.FAILURE_CLASS_UNSPECIFIED
        )
        self.reason = ""
        self.note = log_entry_pb2.Attempt(
            step=progress.step, provider=progress.provider, model=progress.target_model
        )

    async def run(
        self, answers: AsyncIterator[provider_service_pb2.InvokeResponse]
    ) -> Whole | Failed | Broken | None:
        """
        Relay the answer.

        Args:
            answers: The provider service's answer.

        Returns:
            `Whole` when the answer came in one piece, which the caller sends; `Failed` when there is none, or
            only an error of the provider's; `Broken` when a stream that may be continued broke off; None when
            everything was sent but the end.
        """
        progress, note = self._progress, self.note
        _fill(note.begin, self._started_s - progress.started_s)
        progress.attempts.append(note)
        try:
            async with aclosing(answers):  # type: ignore[type-var]  # a generator in both topologies
                return await self._relay(answers)
        except GatewayError as error:
            note.error_reason = self.reason = error.reason
            # For us, not for the client.
            note.key = error.metadata.pop("key", note.key)
            if not self._begun:
                return Failed(error)
            if self._sent is not None:
                return Broken(error, sent=self._sent)
            self._truncated(error)
            self._finish()
            await self._sink.broken(error)
            return None
        finally:
            self._took()

    async def _relay(
        self, answers: AsyncIterator[provider_service_pb2.InvokeResponse]
    ) -> Whole | Failed | Broken | None:
        note = self.note
        part = await anext(answers, None)
        if part is None:
            raise GatewayError(Reason.UPSTREAM_CUT, "The provider service gave no answer.")
        head = part.head
        _fill(note.first_byte, time.perf_counter() - self._started_s)
        note.status = head.status
        if head.HasField("failure"):
            note.error_reason = class_name(head.failure)
            note.key = head.failure.key
            self.kind = class_of(head.failure)
            return await self._error_answer(part, answers)
        self._begin(head)
        if self._progress.content_type.startswith(_EVENT_STREAM):
            await self._open()
        try:
            while not part.HasField("tail"):
                if part.HasField("chunk"):
                    await self._take(part.chunk)
                try:
                    part = await anext(answers)
                except StopAsyncIteration:
                    text = "The provider service's answer has no end."
                    raise GatewayError(Reason.UPSTREAM_CUT, text) from None
        except BaseException:
            # Whoever left: what came until then is counted to its last piece.
            self._progress.cut_short(part.chunk.output_tokens)
            raise
        ended = await self._end(part)
        async for trailing in answers:
            # What a provider sends after the end of its own dialect belongs to a native answer all the same.
            await self._sink.write(trailing.chunk.data)
        return ended

    async def _error_answer(
        self,
        part: provider_service_pb2.InvokeResponse,
        answers: AsyncIterator[provider_service_pb2.InvokeResponse],
    ) -> Failed:
        """Read an answer that tells an error: whether the client gets it depends on what else is tried."""
        head = part.head
        parts = [part, *[more async for more in answers]]
        failure = head.failure
        answer = None
        if not any(each.tail.HasField("failure") and not each.tail.failure.reported for each in parts):
            body = b"".join(each.chunk.data for each in parts)
            answer = Whole(status=head.status, headers=_header_list(head), body=body)
        return Failed(
            error_of(failure),
            class_of(failure),
            failure.upstream_status or head.status,
            answer,
            tuple(head.translation_notes),
        )

    async def _take(self, chunk: provider_service_pb2.Chunk) -> None:
        if chunk.HasField("usage"):
            self._progress.usage = chunk.usage
        data = chunk.data
        if self._streamed and not self._begun and self._length is None and self._progress.status < 400:
            # Nobody who asked for a stream waits for a second piece before seeing the first.
            await self._open()
        if self._begun and self._held is None and not self._completes(data):
            await self._send(data)
        else:
            await self._hold(data)

    def _completes(self, data: bytes) -> bool:
        """Say whether a client can tell, after these bytes, that it has everything."""
        return self._length is not None and self._progress.response_size + len(data) >= self._length

    async def _hold(self, data: bytes) -> None:
        """
        Keep a piece back until the next one is there.

        When the first piece is the only one, the answer can be sent with its length; and the last piece of an
        answer whose length the client knows waits until the answer is recorded.
        """
        held, self._held = self._held, data
        if held is None:
            return
        if not self._begun:
            # More than one piece: an answer that is being produced as we speak, or a long one.
            await self._open()
        await self._send(held)
        if not self._completes(data):
            self._held = None
            await self._send(data)

    async def _send(self, data: bytes) -> None:
        if self._sent is not None:
            data = self._sent.pass_on(data)
            if not data:
                return
        self._progress.sent(data)
        await self._sink.write(data)

    def _begin(self, head: provider_service_pb2.Head) -> None:
        progress = self._progress
        progress.status = head.status
        progress.served_model = head.served_model
        progress.notes = tuple(head.translation_notes)
        progress.outcome = log_entry_pb2.OUTCOME_SUCCESS
        self._dialect = head.body_dialect
        self._headers = _header_list(head)
        for name, value in self._headers:
            if name == "content-type":
                progress.content_type = value
            elif name == "content-length" and value.isascii() and value.isdigit():
                self._length = int(value)

    async def _open(self) -> None:
        self._begun = True
        if self._follow is not None:
            self._sent = self._follow(self._dialect, self._progress.content_type)
        headers = beside(self._headers, self._own_headers(), self._progress.limits)
        await self._sink.begin(self._progress.status, headers, self._dialect)

    async def _end(self, part: provider_service_pb2.InvokeResponse) -> Whole | Failed | Broken | None:
        """Take the message with the tail: first what it tells, then the bytes that came with it."""
        progress, note, tail = self._progress, self.note, part.tail
        note.key = tail.key
        last = (self._held or b"") + part.chunk.data
        if tail.HasField("usage"):
            progress.usage = tail.usage
        progress.served_model = tail.served_model or progress.served_model
        progress.finish_reason = tail.finish_reason
        error = None
        if tail.HasField("failure"):
            note.error_reason = class_name(tail.failure)
            self.kind = class_of(tail.failure)
            error = error_of(tail.failure)
            if not self._begun:
                # Bytes that tell of it themselves are the client's, if nobody else has an answer.
                told = self._whole(last) if tail.failure.reported else None
                return Failed(error, self.kind, tail.failure.upstream_status, told)
            if self._sent is not None:
                await self._send(last)
                return Broken(error, self.kind, reported=tail.failure.reported, sent=self._sent)
            self._truncated(error)
        if not self._begun:
            return self._whole(last)
        if self._sent is not None:
            # Its provider service calls it whole: what looked like an error to us was none.
            last = self._sent.pass_on(last) + self._sent.frames.rest() + self._sent.withheld
        progress.sent(last)
        self._took()
        self._finish()
        if last:
            await self._sink.write(last)
        if error is not None:
            await (self._sink.reported if tail.failure.reported else self._sink.broken)(error)
        return None

    def _whole(self, body: bytes) -> Whole:
        status = self._progress.status
        return Whole(status=status, headers=self._headers, body=body, dialect=self._dialect)

    def _took(self) -> None:
        _fill(self.note.duration, time.perf_counter() - self._started_s)

    def _truncated(self, error: GatewayError) -> None:
        self._progress.outcome = log_entry_pb2.OUTCOME_TRUNCATED
        self._progress.error_reason = error.reason


def _fill(duration: Duration, seconds: float) -> None:
    """Write a time that has passed. protobuf's own way looks at its bounds, for several times as long."""
    duration.seconds, duration.nanos = divmod(int(seconds * 1e9), _NANO)


def _header_list(head: provider_service_pb2.Head) -> HeaderList:
    return [(header.name, header.value.decode("latin-1")) for header in head.headers]


def class_of(failure: provider_service_pb2.Failure) -> Any:
    """Give the class of a failure."""
    # `class` is a keyword of Python's.
    return getattr(failure, "class")


def class_name(failure: provider_service_pb2.Failure) -> str:
    """Give the name of a failure's class, without prefix."""
    return _name(class_of(failure))


def _name(kind: provider_service_pb2.FailureClass.ValueType) -> str:
    return FailureClass.Name(kind).removeprefix("FAILURE_CLASS_")


def error_of(failure: provider_service_pb2.Failure) -> GatewayError:
    """Give a failure as an error."""
    reason = _REASONS.get(class_of(failure), Reason.UPSTREAM_ERROR)
    retry_after_s = failure.retry_after.ToMilliseconds() / 1000 if failure.HasField("retry_after") else None
    message = failure.message or "The provider failed."
    return GatewayError(reason, message, retry_after_s=retry_after_s, status=str(failure.upstream_status))
