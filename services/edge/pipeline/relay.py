"""
Carries one attempt's answer from a provider service to the client.
"""

from __future__ import annotations

import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.common.v1 import http_pb2
from headrace.ledger.v1 import log_entry_pb2
from headrace.provider.v1 import provider_service_pb2
from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from services.edge.pipeline.exchange import HeaderList, Progress, Sink

__all__ = ["Attempt", "Failed"]

FailureClass = provider_service_pb2.FailureClass

_REASONS = {
    provider_service_pb2.FAILURE_CLASS_CUT: Reason.UPSTREAM_CUT,
    provider_service_pb2.FAILURE_CLASS_TIMEOUT: Reason.UPSTREAM_TIMEOUT,
    provider_service_pb2.FAILURE_CLASS_MALFORMED: Reason.UPSTREAM_MALFORMED,
}

_EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt that brought no answer, where another step may."""

    error: GatewayError


@dataclass(slots=True, kw_only=True)
class Whole:
    """An answer that arrived in one piece and was not sent yet."""

    status: int
    headers: HeaderList
    body: bytes


class Attempt:
    """One call of a provider service, and the way of its answer to the client."""

    def __init__(
        self,
        progress: Progress,
        sink: Sink,
        own_headers: Callable[[], HeaderList],
        *,
        finish: Callable[[], None],
        streamed: bool = False,
        keep_bytes: int = 0,
    ) -> None:
        """
        Args:
            progress: Gets what is learned.
            sink: Gets the bytes.
            own_headers: Gives the gateway's own headers of an answer that begins.
            finish: Records the request. Called when all is known of an answer that is under way, and before
                its last bytes are written: a client that has them may close, or we may die.
            streamed: Whether a stream was asked for, whatever its format is.
            keep_bytes: Longest body to keep for the cache, where it does not come in one piece.
        """
        self._progress = progress
        self._sink = sink
        self._own_headers = own_headers
        self._finish = finish
        self._streamed = streamed
        self._keep_bytes = keep_bytes
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._begun = False
        self._headers: HeaderList = []
        self._length: int | None = None
        self._dialect: http_pb2.Dialect.ValueType = http_pb2.DIALECT_UNSPECIFIED
        self._held: bytes | None = None
        self._started_s = time.perf_counter()

    async def run(
        self, answers: AsyncIterator[provider_service_pb2.InvokeResponse], *, may_fail: bool
    ) -> Whole | Failed | None:
        """
        Relay the answer.

        Args:
            answers: The provider service's answer.
            may_fail: Whether a failure may be answered by another step instead of the client being told.

        Returns:
            `Whole` when the answer came in one piece, which the caller sends; `Failed` when there is none;
            None when everything was sent but the end.
        """
        note = log_entry_pb2.Attempt(
            step=self._progress.step, provider=self._progress.provider, model=self._progress.target_model
        )
        self._progress.attempts.append(note)
        try:
            async with aclosing(answers):  # type: ignore[type-var]  # a generator in both topologies
                return await self._relay(answers, note, may_fail=may_fail)
        except GatewayError as error:
            note.error_reason = error.reason
            if not self._begun:
                return Failed(error)
            self._truncated(error)
            self._finish()
            await self._sink.broken(error)
            return None
        finally:
            self._took(note)

    def whole_body(self) -> bytes | None:
        """Give the body of an answer that was sent in pieces, when it was kept as a whole."""
        return b"".join(self._kept) if self._kept and self._kept_bytes <= self._keep_bytes else None

    @property
    def headers(self) -> HeaderList:
        """The provider's headers of the answer."""
        return self._headers

    async def _relay(
        self,
        answers: AsyncIterator[provider_service_pb2.InvokeResponse],
        note: log_entry_pb2.Attempt,
        *,
        may_fail: bool,
    ) -> Whole | Failed | None:
        part = await anext(answers)
        head = part.head
        note.first_byte.FromNanoseconds(int((time.perf_counter() - self._started_s) * 1e9))
        note.status = head.status
        if head.HasField("failure"):
            note.error_reason = _class_name(head.failure)
            if may_fail:
                return Failed(_error(head.failure))
        self._begin(head)
        if self._progress.content_type.startswith(_EVENT_STREAM):
            await self._open()
        while not part.HasField("tail"):
            if part.HasField("chunk"):
                await self._take(part.chunk)
            try:
                part = await anext(answers)
            except StopAsyncIteration:
                raise GatewayError(Reason.UPSTREAM_CUT, "The provider service's answer has no end.") from None
        ended = await self._end(part, note)
        async for trailing in answers:
            # What a provider sends after the end of its own dialect belongs to a native answer all the same.
            await self._sink.write(trailing.chunk.data)
        return ended

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
        self._progress.sent(data)
        if self._keep_bytes:
            self._keep(data)
        await self._sink.write(data)

    def _keep(self, data: bytes) -> None:
        self._kept_bytes += len(data)
        if self._kept_bytes <= self._keep_bytes:
            self._kept.append(data)
        else:
            self._kept.clear()

    def _begin(self, head: provider_service_pb2.Head) -> None:
        progress = self._progress
        progress.status = head.status
        progress.served_model = head.served_model
        progress.notes = tuple(head.translation_notes)
        if head.HasField("failure"):
            progress.outcome = log_entry_pb2.OUTCOME_ERROR
            progress.error_reason = _class_name(head.failure)
        else:
            progress.outcome = log_entry_pb2.OUTCOME_SUCCESS
        self._dialect = head.body_dialect
        self._headers = [(header.name, header.value.decode("latin-1")) for header in head.headers]
        for name, value in self._headers:
            if name == "content-type":
                progress.content_type = value
            elif name == "content-length" and value.isascii() and value.isdigit():
                self._length = int(value)

    async def _open(self) -> None:
        self._begun = True
        headers = [*self._headers, *self._own_headers()]
        await self._sink.begin(self._progress.status, headers, self._dialect)

    async def _end(
        self, part: provider_service_pb2.InvokeResponse, note: log_entry_pb2.Attempt
    ) -> Whole | Failed | None:
        """Take the message with the tail: first what it tells, then the bytes that came with it."""
        progress, tail = self._progress, part.tail
        last = (self._held or b"") + part.chunk.data
        if tail.HasField("usage"):
            progress.usage = tail.usage
        progress.served_model = tail.served_model or progress.served_model
        progress.finish_reason = tail.finish_reason
        error = None
        if tail.HasField("failure"):
            note.error_reason = _class_name(tail.failure)
            error = _error(tail.failure)
            if not self._begun:
                return Failed(error)
            self._truncated(error)
        if not self._begun:
            return Whole(status=progress.status, headers=self._headers, body=last)
        self._keep(last)
        progress.sent(last)
        self._took(note)
        self._finish()
        if last:
            await self._sink.write(last)
        if error is not None and not tail.failure.reported:
            await self._sink.broken(error)
        return None

    def _took(self, note: log_entry_pb2.Attempt) -> None:
        note.duration.FromNanoseconds(int((time.perf_counter() - self._started_s) * 1e9))

    def _truncated(self, error: GatewayError) -> None:
        self._progress.outcome = log_entry_pb2.OUTCOME_TRUNCATED
        self._progress.error_reason = error.reason


def _class(failure: provider_service_pb2.Failure) -> Any:
    # `class` is a keyword of Python's.
    return getattr(failure, "class")


def _class_name(failure: provider_service_pb2.Failure) -> str:
    return FailureClass.Name(_class(failure)).removeprefix("FAILURE_CLASS_")


def _error(failure: provider_service_pb2.Failure) -> GatewayError:
    reason = _REASONS.get(_class(failure), Reason.UPSTREAM_ERROR)
    retry_after_s = failure.retry_after.ToMilliseconds() / 1000 if failure.HasField("retry_after") else None
    message = failure.message or "The provider failed."
    return GatewayError(reason, message, retry_after_s=retry_after_s, status=str(failure.upstream_status))
