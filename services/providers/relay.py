"""
Turns a provider's answer into the parts of an `Invoke` answer: one head, chunks, one tail.

Which of the relays an answer gets is decided by its status and content type, in `relay_for`. A relay is
driven by hand (`head`, `next` until None, `tail`) and not as a generator, so that a token passes one
generator only.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from kit.errors import GatewayError, Reason
from services.providers import convert
from services.providers.answer import REASONS, BrokenAnswerError
from services.providers.dialects.usage import UsageCounts, estimate
from services.providers.headers import AnswerHeaders, quota_headers, response_headers
from services.providers.outcome import Outcome
from services.providers.stream_kinds import EVENT_STREAM, JSON, WATCHED, marks_of

if TYPE_CHECKING:
    from headrace.provider.v1 import provider_service_pb2 as pb
    from services.providers.answer import UpstreamAnswer
    from services.providers.call import Exchange
    from services.providers.dialects.failures import FailureClass
    from services.providers.outcome import Relay

__all__ = ["ErrorRelay", "RawRelay", "StreamRelay", "WholeRelay", "relay_for"]

_BYTES: Final = "application/octet-stream"
# What makes 304 an answer.
_CONDITIONS: Final = frozenset({"if-none-match", "if-modified-since"})
# Content events between two estimates of what a running stream has used.
_ESTIMATE_EVERY: Final = 16
# A body that is passed on is kept up to here to be metered; answers with usage are far shorter.
_METERED_BYTES: Final = 8 << 20
# Body bytes in one message; gRPC's own limit is far above.
_PART_BYTES: Final = 1 << 20


def relay_for(exchange: Exchange, answer: UpstreamAnswer, *, stream: bool, provider: str) -> Relay:
    """
    Choose how an answer is read.

    Raises:
        GatewayError: UPSTREAM_MALFORMED; it cannot be read.
    """
    status, verbatim = answer.status, exchange.reading.verbatim
    if status >= 400:
        return ErrorRelay(exchange, answer, provider)
    if status >= 300 and not (verbatim and status == 304 and _is_conditional(exchange)):
        # Whoever followed a redirect would take credentials of ours to an address that nobody here chose.
        raise _no_such_status(status, provider)
    if verbatim:
        watched = answer.content_type in WATCHED and not answer.coding
        return StreamRelay(exchange, answer, provider) if watched else RawRelay(exchange, answer, provider)
    if answer.coding:
        text = (
            f"The provider's answer has the content coding {answer.coding[:20]!r}, which was not asked for."
        )
        raise GatewayError(Reason.UPSTREAM_MALFORMED, text, provider=provider)
    if status == 204:
        raise _no_such_status(status, provider)
    any_format = exchange.reading.any_format
    if any_format and answer.content_type not in {JSON, EVENT_STREAM}:
        return RawRelay(exchange, answer, provider)
    # An error may come as a whole answer where a stream was asked for.
    if (stream or any_format) and answer.content_type != JSON:
        return StreamRelay(exchange, answer, provider)
    return WholeRelay(exchange, answer, provider, stream=stream and not any_format)


def _is_conditional(exchange: Exchange) -> bool:
    return any(name in _CONDITIONS for name, _ in exchange.headers)


def _no_such_status(status: int, provider: str) -> GatewayError:
    text = f"The provider answered with status {status}, which its API does not have."
    return GatewayError(Reason.UPSTREAM_MALFORMED, text, provider=provider)


class _Relay:
    """What all relays have."""

    def __init__(self, exchange: Exchange, answer: UpstreamAnswer, provider: str) -> None:
        self._exchange = exchange
        self._reading = exchange.reading
        self._answer = answer
        self._provider = provider
        self._failed: pb.Failure | None = None
        self._pending = b""
        self._ended = False
        self.outcome = Outcome(status=answer.status, first_byte_s=answer.first_byte_at - answer.started)
        if self._reading.headers is not None:
            self._reading.headers(answer.headers())

    @property
    def read_ahead(self) -> bool:
        """True when `next` has something to return without waiting."""
        return bool(self._pending)

    @property
    def over(self) -> bool:
        """True when nothing but the tail is left."""
        return self._ended and not self._pending

    def tail(self) -> pb.InvokeResponse:
        """Return how the answer ended."""
        outcome = self.outcome
        return convert.tail(
            used=outcome.usage,
            finish_reason=outcome.finish_reason,
            served_model=outcome.served_model,
            failed=self._failed,
            connect_s=self._answer.connect_s,
            first_byte_s=outcome.first_byte_s,
            total_s=time.monotonic() - self._answer.started,
            key=outcome.key,
        )

    async def trailing(self) -> pb.InvokeResponse | None:
        """Return nothing: the body was read to its end."""
        return None

    def _take_pending(self, used: UsageCounts | None = None) -> pb.InvokeResponse:
        """Return the next part of what is already read."""
        part, self._pending = self._pending[:_PART_BYTES], self._pending[_PART_BYTES:]
        return convert.chunk(part, used)

    def _headers(self, content_type: str, *, with_length: bool = False) -> AnswerHeaders:
        if self._reading.verbatim:
            return response_headers(
                self._answer.raw_headers, decoded=self._answer.decoded, with_length=with_length
            )
        return [("content-type", content_type.encode()), *quota_headers(self._answer.raw_headers)]

    def _broken(self, error: BrokenAnswerError) -> GatewayError:
        """Say before the head that there is no answer."""
        failed = GatewayError(error.reason, error.message, provider=self._provider)
        if error.reason is Reason.UPSTREAM_TIMEOUT:
            failed.metadata["timer"] = error.trouble
        return failed

    def _fail(self, failure_class: FailureClass, message: str, *, reported: bool) -> pb.Failure:
        self.outcome.failure_class = failure_class
        return convert.failure(
            failure_class,
            message,
            upstream_status=self._answer.status,
            reported=reported,
            key=self.outcome.key,
        )


class ErrorRelay(_Relay):
    """An answer whose status says that it is an error."""

    async def head(self) -> pb.InvokeResponse:
        """Read the whole error, so that its class is known."""
        answer = self._answer
        try:
            body = await answer.read_all()
        except BrokenAnswerError:
            body = b""  # the status alone has to do
        error = self._reading.error(answer.status, body, answer.headers())
        self._pending, self._ended = error.body, True
        self.outcome.failure_class = error.failure_class
        failed = convert.failure(
            error.failure_class,
            error.message,
            upstream_status=answer.status,
            retry_after_s=error.retry_after_s,
            reported=bool(error.body),
            key=self.outcome.key,
        )
        return convert.head(error.status, self._headers(JSON), failed=failed, notes=self._exchange.notes)

    async def next(self) -> pb.InvokeResponse | None:
        """Return the error's body."""
        return self._take_pending() if self._pending else None


class WholeRelay(_Relay):
    """A whole answer, read to its end before anything is passed on."""

    def __init__(self, exchange: Exchange, answer: UpstreamAnswer, provider: str, *, stream: bool) -> None:
        super().__init__(exchange, answer, provider)
        self._stream = stream

    async def head(self) -> pb.InvokeResponse:
        """Read the answer."""
        try:
            body = await self._answer.read_all()
        except BrokenAnswerError as error:
            raise self._broken(error) from error
        try:
            read = self._reading.whole(body)
        except GatewayError as error:
            error.metadata.setdefault("provider", self._provider)
            raise
        outcome, failure = self.outcome, read.failure
        outcome.usage, outcome.finish_reason = read.usage, read.finish_reason
        outcome.served_model = read.served_model
        notes = (*self._exchange.notes, *read.warnings)
        self._ended = True
        if failure is not None:
            self._pending = failure.body or read.body
            failed = self._fail(failure.failure_class, failure.message, reported=bool(self._pending))
            return convert.head(failure.status, self._headers(JSON), failed=failed, notes=notes)
        if self._stream:
            text = "The provider answered with a whole answer where a stream was asked for."
            raise GatewayError(Reason.UPSTREAM_MALFORMED, text, provider=self._provider)
        self._pending = read.body
        return convert.head(
            self._answer.status, self._headers(JSON), served_model=read.served_model, notes=notes
        )

    async def next(self) -> pb.InvokeResponse | None:
        """Return the body."""
        return self._take_pending() if self._pending else None


class RawRelay(_Relay):
    """An answer that is no event stream and is passed on as it comes: metered at its end, where it can be."""

    def __init__(self, exchange: Exchange, answer: UpstreamAnswer, provider: str) -> None:
        super().__init__(exchange, answer, provider)
        self._kept: list[bytes] | None = (
            [] if exchange.operation and answer.content_type == JSON and not answer.coding else None
        )
        self._kept_bytes = 0

    async def head(self) -> pb.InvokeResponse:
        """Return status and headers as they came."""
        content_type = self._answer.header("content-type") or _BYTES
        return convert.head(self._answer.status, self._headers(content_type, with_length=True))

    async def next(self) -> pb.InvokeResponse | None:
        """Return what the next read gives."""
        try:
            data = await self._answer.read()
        except BrokenAnswerError as error:
            self._failed = self._fail(error.failure_class, error.message, reported=False)
            self._ended = True
            return None
        if not data:
            self._meter()
            self._ended = True
            return None
        if not self._kept_bytes:
            self._answer.content_began()
        self._kept_bytes += len(data)
        if self._kept is not None and self._kept_bytes <= _METERED_BYTES:
            self._kept.append(data)
        return convert.chunk(data)

    def _meter(self) -> None:
        if not self._kept or self._kept_bytes > _METERED_BYTES:
            return
        read = self._reading.whole(b"".join(self._kept))
        self.outcome.usage, self.outcome.finish_reason = read.usage, read.finish_reason
        self.outcome.served_model = read.served_model
        if (failure := read.failure) is not None:
            self._failed = self._fail(failure.failure_class, failure.message, reported=True)


class StreamRelay(_Relay):
    """An event stream, translated or only watched by the machine of its dialects."""

    def __init__(self, exchange: Exchange, answer: UpstreamAnswer, provider: str) -> None:
        super().__init__(exchange, answer, provider)
        self._machine = exchange.reading.stream()
        kind = answer.content_type if self._reading.verbatim else self._reading.stream_type
        self._mark, self._once = marks_of(kind)
        self._at_end = False
        self._events = 0
        self._estimates = bool(exchange.operation)
        self._estimate_at = 0
        self._reported: UsageCounts | None = None
        self._is_final = False

    async def head(self) -> pb.InvokeResponse:
        """Read up to the first words: until then the answer can still turn out to be an error."""
        answer, machine = self._answer, self._machine
        # Comments, which keep a connection open, are passed on in time, but are no content.
        while not ((self._mark in self._pending and machine.began) or self._ended or machine.failure):
            try:
                data = await answer.read()
            except BrokenAnswerError as error:
                raise self._broken(error) from error
            self._pending += self._fed(data)
        answer.content_began()
        self.outcome.first_byte_s = time.monotonic() - answer.started
        headers = self._headers(self._reading.stream_type)
        failure = machine.failure
        if failure is None or (failure.started and machine.began):
            return convert.head(
                answer.status, headers, served_model=machine.served_model, notes=self._exchange.notes
            )
        self._ended = not self._reading.verbatim
        if self._reading.verbatim:
            if not failure.reported:
                # Nothing in these bytes says that there is no answer.
                reason = REASONS.get(failure.failure_class, Reason.UPSTREAM_MALFORMED)
                raise GatewayError(reason, failure.message, provider=self._provider)
            failed = self._fail(failure.failure_class, failure.message, reported=True)
            return convert.head(answer.status, headers, failed=failed)
        self._pending = failure.body
        self.outcome.status = failure.status
        failed = self._fail(failure.failure_class, failure.message, reported=bool(failure.body))
        return convert.head(failure.status, self._headers(JSON), failed=failed, notes=self._exchange.notes)

    async def next(self) -> pb.InvokeResponse | None:
        """Return what the next read gives, up to its last whole event."""
        data = self._pending
        if data:
            self._pending = b""
        while not data:
            if self._ended:
                return None
            data = await self._read()
        used, output_tokens = self._used(data)
        return convert.chunk(data, used, output_tokens)

    def tail(self) -> pb.InvokeResponse:
        """Return how the stream ended."""
        machine, outcome = self._machine, self.outcome
        outcome.usage, outcome.finish_reason = machine.usage, machine.finish_reason
        outcome.served_model = machine.served_model
        if self._events and outcome.usage is None:
            outcome.usage = self._estimate(None, self._events)
        failure = machine.failure
        if failure is not None and failure.started:
            self._failed = self._fail(failure.failure_class, failure.message, reported=failure.reported)
        return super().tail()

    async def trailing(self) -> pb.InvokeResponse | None:
        """Bring the body to its end, and return what came after the dialect's own, on native calls."""
        if self._at_end:
            return None
        self._at_end = True
        rest = await self._answer.rest()
        return convert.chunk(rest) if rest and self._reading.verbatim else None

    async def _read(self) -> bytes:
        machine = self._machine
        try:
            data = await self._answer.read()
        except BrokenAnswerError as error:
            self._ended = self._at_end = True
            return machine.fail(error.failure_class, error.message)
        return self._fed(data)

    def _fed(self, data: bytes) -> bytes:
        if not data:
            self._at_end = True
            return self._finish()
        told = self._machine.feed(data)
        # When the dialect's own end is there, nothing that matters can follow.
        return told + self._finish() if self._machine.done else told

    def _finish(self) -> bytes:
        self._ended = True
        return self._machine.finish()

    def _used(self, data: bytes) -> tuple[UsageCounts | None, int]:
        """
        Return what is used so far, when that is worth telling, and the output that came, as it is estimated.

        A cancelled stream has no tail: what was told by then is all that is known of it. An estimate costs
        more than a number, so most chunks have the number alone.
        """
        machine, report = self._machine, None
        counted = machine.usage
        if counted is not None and counted is not self._reported:
            self._reported = self.outcome.usage = report = counted
            # What comes with the reason to stop, or after it, is the provider's last word.
            self._is_final = bool(machine.finish_reason)
        if self._is_final or not self._estimates:
            return report, 0
        came = machine.content_events
        if came is None:
            self._events += data.count(self._once)
            came = self._events
        if came >= self._estimate_at if report is None else report.output_tokens is None:
            self._estimate_at = came + _ESTIMATE_EVERY
            report = self._estimate(counted, came)
        return report, came

    def _estimate(self, counted: UsageCounts | None, came: int) -> UsageCounts:
        return estimate(counted, request_bytes=len(self._exchange.body), content_events=came)
