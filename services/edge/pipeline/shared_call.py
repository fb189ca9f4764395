"""
A call that several requests share: what is known of it, and what each of them makes of how it ended.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from headrace.common.v1 import usage_pb2
from headrace.ledger.v1 import log_entry_pb2
from kit.errors import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from kit.errors import GatewayError
    from services.edge.pipeline.attempts import Call
    from services.edge.pipeline.caching import Wish
    from services.edge.pipeline.exchange import Progress
    from services.edge.pipeline.flight import Flight
    from services.edge.pipeline.relay import Failed
    from services.edge.pipeline.renewals import HeldClaim

__all__ = ["Running", "break_off", "is_of_another", "note_gone", "note_shared", "note_step", "step_of"]

# What router or the edge says of whoever asks.
_WHOSE: Final = frozenset({Reason.RATE_LIMITED, Reason.SPEND_LIMITED, Reason.PERMISSION_DENIED})


class At(NamedTuple):
    """A step that was tried: its place in its plan, its provider, and the model that it asked for."""

    place: int
    provider: str
    target_model: str


@dataclass(slots=True, kw_only=True, eq=False)
class Running:
    """
    A flight under way.

    Attributes:
        flight: What those who follow read.
        call: The request that it was begun for, whose log entry tells of it.
        wish: What the cache may do for it. None: nothing.
        key: Its key in the cache; empty when there is none.
        claim: Set once the answer is ours to fetch.
        ended_at: The step that it ended with, once it is over: its request may go on with other steps then.
        good: Whether it brought a whole answer.
        holds: Whether the cache holds a claim for it, which is to be given back.
        held_claim: That claim, where it is renewed.
        task: What makes it.
        end: Ends it after a while, when all its clients have gone.
    """

    flight: Flight
    call: Call
    wish: Wish | None
    key: bytes
    claim: asyncio.Event = field(default_factory=asyncio.Event)
    ended_at: At | None = None
    good: bool = False
    holds: bool = False
    held_claim: HeldClaim | None = None
    task: asyncio.Task[None] | None = None
    end: asyncio.TimerHandle | None = None

    def take_claim(self) -> None:
        """Take over a claim that the cache gave."""
        self.holds = True
        self.claim.set()

    def stay(self) -> None:
        """Let it not be ended: somebody follows it, or it is over."""
        if self.end is not None:
            self.end.cancel()
            self.end = None


def is_of_another(failed: Failed, made: Call, call: Call) -> bool:
    """
    Say whether a request failed for what is another one's alone.

    Args:
        failed: How the call ended.
        made: The request that it was made for.
        call: One that followed it.
    """
    if failed.error.reason in _WHOSE and not failed.kind:
        return _who(made) != _who(call)
    theirs, own = made.exchange.options.request_timeout_s, call.exchange.options.request_timeout_s
    return failed.error.reason is Reason.UPSTREAM_TIMEOUT and theirs != own


def _who(call: Call) -> tuple[str, dict[str, str]]:
    return call.admission.caller.token_id, call.exchange.options.metadata


def break_off(flight: Flight, progress: Progress, error: GatewayError, finish: Callable[[], None]) -> None:
    """Tell those who follow that nothing more comes, and record what there was of an answer."""
    flight.fail(error)
    if progress.finished:
        return
    if progress.gone:
        note_gone(progress)
        finish()
    elif flight.opening is not None:
        progress.outcome = log_entry_pb2.OUTCOME_TRUNCATED
        progress.error_reason = error.reason
        finish()


def note_gone(progress: Progress) -> None:
    """Take note that a request's client had gone before its answer was whole."""
    progress.outcome = log_entry_pb2.OUTCOME_DISCONNECTED
    progress.error_reason = Reason.CANCELLED


def step_of(progress: Progress) -> At:
    """Give the step that a request tried last."""
    return At(progress.place, progress.provider, progress.target_model)


def note_step(call: Call, at: At) -> None:
    """Take note of the step of another one's call by which a request is answered, or failed."""
    progress = call.progress
    progress.place, progress.provider, progress.target_model = at
    progress.step = at.place if call.number is None else call.number


def note_shared(call: Call, made: Call, flight: Flight) -> None:
    """Take note that a request is answered by another one's call: it used nothing itself."""
    progress, source = call.progress, made.progress
    progress.cached = True
    note_step(call, step_of(source))
    progress.served_model = source.served_model
    progress.finish_reason = source.finish_reason
    progress.content_type = source.content_type
    progress.notes = source.notes
    progress.status = source.status
    progress.saved_nano_usd = 0 if source.cost is None else source.cost.nano_usd
    progress.usage = usage_pb2.Usage(input_tokens=0, output_tokens=0)
    progress.outcome = log_entry_pb2.OUTCOME_SUCCESS
    if flight.error is not None or source.outcome == log_entry_pb2.OUTCOME_TRUNCATED:
        progress.outcome = log_entry_pb2.OUTCOME_TRUNCATED
        progress.error_reason = source.error_reason if flight.error is None else flight.error.reason
