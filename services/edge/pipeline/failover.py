"""
A stream that broke off, continued by another attempt so that the client has one complete answer.

What is read and written here are the client's own bytes: `splice` knows what is in them.
"""

from __future__ import annotations

import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from headrace.common.v1 import http_pb2
from headrace.ledger.v1 import log_entry_pb2
from headrace.provider.v1 import provider_service_pb2
from kit.errors import GatewayError, Reason
from services.edge.pipeline.relay import Broken, Failed, class_name, class_of, error_of
from services.edge.splice.dialects import observe
from services.edge.splice.joiner import Joiner
from services.edge.splice.verdict import Dialect, Mode, Spent, Verdict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from headrace.common.v1 import usage_pb2
    from headrace.router.v1 import router_service_pb2
    from services.edge.pipeline.attempts import Call
    from services.edge.splice.sent import Sent

__all__ = ["Continuation", "Mismatch", "followed", "may_fail_over", "spent_so_far", "splice_dialect"]

_DIALECTS: Final[Mapping[http_pb2.Dialect.ValueType, Dialect]] = {
    http_pb2.DIALECT_OPENAI_CHAT: Dialect.CHAT,
    http_pb2.DIALECT_OPENAI_RESPONSES: Dialect.RESPONSES,
    http_pb2.DIALECT_ANTHROPIC_MESSAGES: Dialect.MESSAGES,
    http_pb2.DIALECT_GEMINI: Dialect.GEMINI,
}
_EVENT_STREAM: Final = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A fallback that says something else than the client has. Nothing of it was sent."""


def splice_dialect(dialect: http_pb2.Dialect.ValueType) -> Dialect | None:
    """Name a dialect as `splice` does; None when its streams cannot be followed."""
    return _DIALECTS.get(dialect)


def may_fail_over(call: Call, step: router_service_pb2.Step) -> bool:
    """Say whether a stream of this step that breaks off is to be continued; its own word comes first."""
    exchange = call.exchange
    if not exchange.streamed or exchange.dialect not in _DIALECTS:
        return False
    if step.HasField("stream_failover"):
        return step.stream_failover
    return call.admission.plan.settings.stream_failover


def followed(dialect: http_pb2.Dialect.ValueType, content_type: str) -> Sent | None:
    """Make what follows a stream on its way to the client; None where nothing can."""
    known = _DIALECTS.get(dialect)
    if known is None:
        return None
    return observe(known, array=not content_type.startswith(_EVENT_STREAM))


def spent_so_far(broken: Broken, before: Broken | None, usage: usage_pb2.Usage | None) -> Spent:
    """
    Say what the attempts used whose words the client has.

    Args:
        broken: How the last of them broke off; its `spent` is what those before it add to.
        before: What it went on from. None: it was the first.
        usage: What it used itself. None: not known.
    """
    first, earlier = before.spent if before else Spent(), broken.spent
    given = made = None
    if usage is not None:
        given = usage.input_tokens if usage.HasField("input_tokens") else None
        made = usage.output_tokens if usage.HasField("output_tokens") else None
    if made is not None and earlier.output_tokens is not None:
        made += earlier.output_tokens
    return Spent(input_tokens=given if first.input_tokens is None else first.input_tokens, output_tokens=made)


class Continuation:
    """
    One call of a provider service whose answer goes on where an earlier one broke off.

    Attributes:
        note: What the log keeps of it.
        kind: Class of the provider's failure, where a provider service told one.
        reason: Why it did not help, where no class was told. Empty: it did, or a class was told.

    Args:
        call: The request.
        broken: What the client has.
        mode: What the provider is asked for.
    """

    def __init__(self, call: Call, broken: Broken, mode: Mode) -> None:
        progress = call.progress
        self._call = call
        self._broken = broken
        self._mode = mode
        self._joiner = Joiner(broken.sent, mode, broken.spent)
        self._held = b""
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
    ) -> Failed | Broken | Mismatch | None:
        """
        Give the client the rest of its answer.

        Returns:
            None when it has all of it but the end of the connection; `Mismatch` or `Failed` when it got
            nothing here; `Broken` when this one broke off as well.
        """
        progress, note = self._call.progress, self.note
        note.begin.FromNanoseconds(int((self._started_s - progress.started_s) * 1e9))
        progress.attempts.append(note)
        try:
            async with aclosing(answers):  # type: ignore[type-var]  # a generator in both topologies
                return await self._join(answers)
        except GatewayError as error:
            note.error_reason = self.reason = error.reason
            note.key = error.metadata.pop("key", note.key)
            return self._ended_badly(error)
        finally:
            note.duration.FromNanoseconds(int((time.perf_counter() - self._started_s) * 1e9))

    async def _join(
        self, answers: AsyncIterator[provider_service_pb2.InvokeResponse]
    ) -> Failed | Broken | Mismatch | None:
        note, progress = self.note, self._call.progress
        came = 0
        try:
            async for part in answers:
                if part.HasField("head"):
                    note.first_byte.FromNanoseconds(int((time.perf_counter() - self._started_s) * 1e9))
                    note.status = part.head.status
                    if part.head.HasField("failure"):
                        return self._refused(part.head.failure)
                    progress.served_model = part.head.served_model
                came = part.chunk.output_tokens
                if part.chunk.HasField("usage"):
                    progress.usage = part.chunk.usage
                joined = self._joiner.feed(part.chunk.data)
                if joined.verdict is Verdict.MISMATCH:
                    note.error_reason = "MISMATCH"
                    return Mismatch()
                if part.HasField("tail"):
                    came = 0
                    return await self._end(part.tail, joined.data)
                if joined.verdict is Verdict.WHOLE or self._held:
                    # What it used is told with the tail, and recorded before the client has everything.
                    self._held += joined.data
                elif joined.data:
                    progress.sent(joined.data)
                    await self._call.sink.write(joined.data)
                if joined.verdict is Verdict.BROKEN:
                    break
        finally:
            progress.cut_short(came)
        return self._ended_badly(
            GatewayError(Reason.UPSTREAM_CUT, "The provider's answer stopped before its end.")
        )

    async def _end(self, tail: provider_service_pb2.Tail, data: bytes) -> Failed | Broken | Mismatch | None:
        note, progress = self.note, self._call.progress
        note.key = tail.key
        if tail.HasField("usage"):
            progress.usage = tail.usage
        progress.served_model = tail.served_model or progress.served_model
        rest = self._joiner.finish()
        data = self._held + data + rest.data
        if self._joiner.verdict is Verdict.MISMATCH:
            note.error_reason = "MISMATCH"
            return Mismatch()
        whole = self._joiner.verdict is Verdict.WHOLE
        if whole:
            progress.finish_reason = tail.finish_reason
            progress.outcome = log_entry_pb2.OUTCOME_SUCCESS
            progress.error_reason = ""
        progress.sent(data)
        if whole:
            self._call.finish()
        if data:
            await self._call.sink.write(data)
        if whole:
            return None
        if tail.HasField("failure"):
            note.error_reason = class_name(tail.failure)
            self.kind = class_of(tail.failure)
            return self._ended_badly(error_of(tail.failure))
        return self._ended_badly(
            GatewayError(Reason.UPSTREAM_CUT, "The provider's answer stopped before its end.")
        )

    def _refused(self, failure: provider_service_pb2.Failure) -> Failed:
        self.note.error_reason = class_name(failure)
        self.note.key = failure.key
        self.kind = class_of(failure)
        return Failed(error_of(failure), self.kind, failure.upstream_status)

    def _ended_badly(self, error: GatewayError) -> Failed | Broken:
        if self._joiner.verdict is Verdict.UNDECIDED:
            return Failed(error, self.kind)
        if self._mode is Mode.SPLICE:
            # It wrote all that the client has itself.
            return Broken(error, self.kind, sent=self._broken.sent)
        return Broken(error, self.kind, sent=self._broken.sent, spent=self._broken.spent)
