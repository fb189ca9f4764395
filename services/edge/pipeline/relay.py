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
    from collections.abc import AsyncIterator

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

    def __init__(self, progress: Progress, sink: Sink, own_headers: HeaderList) -> None:
        """
        Args:
            progress: Gets what is learned.
            sink: Gets the bytes.
            own_headers: The gateway's own headers of the answer.
        """
        self._progress = progress
        self._sink = sink
        self._own_headers = own_headers
        self._begun = False
        self._headers: HeaderList = []
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
        try:
            async with aclosing(answers):  # type: ignore[type-var]  # a generator in both topologies
                return await self._relay(answers, note, may_fail=may_fail)
        except GatewayError as error:
            note.error_reason = error.reason
            if not self._begun:
                return Failed(error)
            await self._break_off(error)
            return None
        finally:
            note.duration.FromNanoseconds(int((time.perf_counter() - self._started_s) * 1e9))
            self._progress.attempts.append(note)

    async def _relay(
        self,
        answers: AsyncIterator[provider_service_pb2.InvokeResponse],
        note: log_entry_pb2.Attempt,
        *,
        may_fail: bool,
    ) -> Whole | Failed | None:
        first = await anext(answers)
        head = first.head
        note.first_byte.FromNanoseconds(int((time.perf_counter() - self._started_s) * 1e9))
        note.status = head.status
        if head.HasField("failure"):
            note.error_reason = _class_name(head.failure)
            if may_fail:
                return Failed(_error(head.failure))
        self._begin(head)
        if self._progress.content_type.startswith(_EVENT_STREAM):
            await self._open()
        await self._take(first)
        if first.HasField("tail"):
            return await self._end(first.tail, note)
        async for part in answers:
            await self._take(part)
            if part.HasField("tail"):
                return await self._end(part.tail, note)
        raise GatewayError(Reason.UPSTREAM_CUT, "The provider service's answer has no end.")

    async def _take(self, part: provider_service_pb2.InvokeResponse) -> None:
        if not part.HasField("chunk"):
            return
        if part.chunk.HasField("usage"):
            self._progress.usage = part.chunk.usage
        if self._begun:
            await self._send(part.chunk.data)
        else:
            await self._hold(part.chunk.data)

    async def _hold(self, data: bytes) -> None:
        """Keep a first piece back: when it is the only one, the answer can be sent with its length."""
        if self._held is None:
            self._held = data
            return
        # More than one piece: an answer that is being produced as we speak, or a long one.
        await self._open()
        await self._send(self._held)
        await self._send(data)

    async def _send(self, data: bytes) -> None:
        self._progress.sent(data)
        await self._sink.write(data)

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
        progress.content_type = next((value for name, value in self._headers if name == "content-type"), "")

    async def _open(self) -> None:
        self._begun = True
        headers = [*self._headers, *self._own_headers]
        await self._sink.begin(self._progress.status, headers, self._dialect)

    async def _end(
        self, tail: provider_service_pb2.Tail, note: log_entry_pb2.Attempt
    ) -> Whole | Failed | None:
        progress = self._progress
        if tail.HasField("usage"):
            progress.usage = tail.usage
        progress.served_model = tail.served_model or progress.served_model
        progress.finish_reason = tail.finish_reason
        if tail.HasField("failure"):
            note.error_reason = _class_name(tail.failure)
            error = _error(tail.failure)
            if not self._begun:
                return Failed(error)
            await self._break_off(error, reported=tail.failure.reported)
        if self._begun:
            return None
        return Whole(status=progress.status, headers=self._headers, body=self._held or b"")

    async def _break_off(self, error: GatewayError, *, reported: bool = False) -> None:
        """Tell the client that what it has is not the whole answer."""
        progress = self._progress
        progress.outcome = log_entry_pb2.OUTCOME_TRUNCATED
        progress.error_reason = error.reason
        if not reported:
            await self._sink.broken(error)


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
