"""
Tells router how attempts at providers ended: counted up, and many at once.

A report that is lost costs precision and nothing else, so that no request waits for one.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from headrace.provider.v1 import provider_service_pb2 as provider_pb
from headrace.router.v1 import router_service_pb2 as pb
from kit.background import going_on
from kit.errors import GatewayError, Reason
from kit.providers import is_custom

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from kit.clock import Clock

__all__ = ["HealthReports", "Outcome", "outcome_of"]

# Models and keys that are asked for within a few seconds; names of models come from clients.
_MOST: Final = 2_000
# Older news would be taken for what happens now.
_STALE_S: Final = 30.0
_OPERATOR: Final = "operator"
_NANO: Final = 1e9

# A row's columns: the outcomes in their order, then these.
_TIME: Final = 4
_TIMED: Final = 5
_RETRY_AFTER: Final = 6


class Outcome(IntEnum):
    """What an attempt says about its provider."""

    SUCCESS = 0
    CLIENT_ERROR = 1
    FAILURE = 2
    REFUSED = 3
    NOTHING = 4


_UPSTREAM: Final = frozenset(
    {
        Reason.UPSTREAM_UNREACHABLE,
        Reason.UPSTREAM_TIMEOUT,
        Reason.UPSTREAM_MALFORMED,
        Reason.UPSTREAM_CUT,
        Reason.UPSTREAM_ERROR,
    }
)
_CLASSES: Final = {
    provider_pb.FAILURE_CLASS_INVALID_REQUEST: Outcome.CLIENT_ERROR,
    provider_pb.FAILURE_CLASS_AUTHENTICATION: Outcome.CLIENT_ERROR,
    # Anybody can ask for what there is not: nothing is kept under such names.
    provider_pb.FAILURE_CLASS_NOT_FOUND: Outcome.NOTHING,
    provider_pb.FAILURE_CLASS_CONTEXT_LENGTH: Outcome.CLIENT_ERROR,
    provider_pb.FAILURE_CLASS_CONTENT_POLICY: Outcome.CLIENT_ERROR,
    provider_pb.FAILURE_CLASS_RATE_LIMIT: Outcome.REFUSED,
    provider_pb.FAILURE_CLASS_SERVER: Outcome.FAILURE,
    provider_pb.FAILURE_CLASS_CUT: Outcome.FAILURE,
    provider_pb.FAILURE_CLASS_TIMEOUT: Outcome.FAILURE,
    provider_pb.FAILURE_CLASS_MALFORMED: Outcome.FAILURE,
}
_STATUSES: Final = {
    404: Outcome.NOTHING,
    408: Outcome.FAILURE,
    # A state that the client would have to change, and something that is not offered.
    409: Outcome.CLIENT_ERROR,
    425: Outcome.FAILURE,
    429: Outcome.REFUSED,
    501: Outcome.CLIENT_ERROR,
}


def outcome_of(
    attempt_status: int, failure_class: provider_pb.FailureClass.ValueType, reason: str | None
) -> Outcome:
    """
    Say what an attempt says about its provider.

    Args:
        attempt_status: HTTP status of its answer; 0 when there was none.
        failure_class: Class of the failure in the answer's head or tail; 0 when there was none.
        reason: Why there was no answer, or why it broke off; None or empty when neither.
    """
    if reason:
        # All else is our own doing, or the operator's; refusals for the rate were counted when they came.
        return Outcome.FAILURE if reason in _UPSTREAM else Outcome.NOTHING
    if failure_class == provider_pb.FAILURE_CLASS_SERVER:
        return _STATUSES.get(attempt_status, Outcome.FAILURE)
    if failure_class:
        return _CLASSES.get(failure_class, Outcome.NOTHING)
    if attempt_status < 400:
        return Outcome.SUCCESS if attempt_status else Outcome.NOTHING
    return _STATUSES.get(attempt_status, Outcome.FAILURE if attempt_status >= 500 else Outcome.CLIENT_ERROR)


class HealthReports:
    """
    Counts attempts.

    Args:
        send: Gives the counts to router.
        clock: The time.
    """

    def __init__(self, send: Callable[[pb.ReportHealthRequest], Awaitable[object]], clock: Clock) -> None:
        self._send = send
        self._clock = clock
        self._rows: dict[tuple[str, str, str, str, bool], list[float]] = {}
        self._failing_since_s: float | None = None

    def note(
        self,
        provider: str,
        model: str,
        key: str,
        account_id: str,
        outcome: Outcome,
        *,
        first_byte_s: float = 0.0,
        retry_after_s: float = 0.0,
        own: bool = False,
    ) -> None:
        """
        Take note of an attempt.

        Args:
            provider: Slug of the provider.
            model: In its naming; empty on native calls.
            key: A stored key's id, `operator` or `request`; empty when none was used, or it is not known.
            account_id: Who asked.
            outcome: How it ended.
            first_byte_s: Time to the first byte; zero when not known.
            retry_after_s: How long a refusal asked to wait; zero when it did not say.
            own: The account, or the request, chose its time-outs: what is too slow for it need not be for
                others.
        """
        if outcome is Outcome.NOTHING:
            return
        slot = (provider, model, key, account_id, own)
        row = self._rows.get(slot)
        if row is None:
            if len(self._rows) >= _MOST:
                return
            row = self._rows[slot] = [0, 0, 0, 0, 0.0, 0, 0.0]
        row[outcome] += 1
        if outcome is Outcome.SUCCESS:
            if first_byte_s > 0.0:
                row[_TIME] += first_byte_s
                row[_TIMED] += 1
        elif retry_after_s > row[_RETRY_AFTER] and outcome is Outcome.REFUSED:
            row[_RETRY_AFTER] = retry_after_s

    @asynccontextmanager
    async def sending(self, every_s: float) -> AsyncIterator[None]:
        """Send what was counted now and then while the context is open, and what is left at its end."""
        try:
            async with going_on(self._run(every_s)):
                yield
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Send what was counted; what cannot be sent goes with the next, unless it is too old by then."""
        if not self._rows:
            return
        sent, self._rows = self._rows, {}
        try:
            await self._send(_request(sent))
        except GatewayError:
            self._keep(sent)
        else:
            self._failing_since_s = None

    async def _run(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            await self.flush()

    def _keep(self, sent: dict[tuple[str, str, str, str, bool], list[float]]) -> None:
        now_s = self._clock.monotonic_s()
        if self._failing_since_s is None:
            self._failing_since_s = now_s
        elif now_s - self._failing_since_s > _STALE_S:
            self._failing_since_s = None
            return
        for slot, row in sent.items():
            newer = self._rows.get(slot)
            if newer is not None:
                retry_after_s = max(row[_RETRY_AFTER], newer[_RETRY_AFTER])
                newer[:] = [before + since for before, since in zip(row, newer, strict=True)]
                newer[_RETRY_AFTER] = retry_after_s
            elif len(self._rows) < _MOST:
                self._rows[slot] = row


def _request(rows: dict[tuple[str, str, str, str, bool], list[float]]) -> pb.ReportHealthRequest:
    request = pb.ReportHealthRequest()
    for (provider, model, key, account_id, own), row in rows.items():
        succeeded, at_fault, failed, refused, first_byte_s, timed, retry_after_s = row
        count = request.counts.add(
            provider=provider,
            model=model,
            key=key,
            account_id="" if _shared(provider, key, own=own) else account_id,
            successes=int(succeeded + at_fault),
            failures=int(failed),
            refusals=int(refused),
            timed=int(timed),
        )
        count.first_byte.FromNanoseconds(int(first_byte_s * _NANO))
        if retry_after_s:
            count.retry_after.FromNanoseconds(int(min(retry_after_s, 86_400.0) * _NANO))
    return request


def _shared(provider: str, key: str, *, own: bool) -> bool:
    """Tell whether what happened concerns all accounts: only what an account has no hand in does."""
    return not own and (key == _OPERATOR or (not key and not is_custom(provider)))
