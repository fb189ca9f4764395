"""
Tries what the plan says, step by step and as often as each may be tried, until there is an answer.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from headrace.ledger.v1 import log_entry_pb2
from kit.errors import GatewayError, Reason
from services.edge.health_reports import outcome_of
from services.edge.pipeline.failover import (
    Continuation,
    followed,
    may_fail_over,
    spent_so_far,
    splice_dialect,
)
from services.edge.pipeline.invocation import invocation
from services.edge.pipeline.relay import Attempt, Broken, Failed
from services.edge.pipeline.retry import is_refusal, may_retry, pause_s, rule_of
from services.edge.pipeline.walk import Walk
from services.edge.splice.continuation import continuation_request
from services.edge.splice.verdict import Mode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from headrace.provider.v1 import provider_service_pb2
    from headrace.router.v1 import router_service_pb2
    from services.edge.config import EdgeConfig
    from services.edge.health_reports import HealthReports
    from services.edge.pipeline.access import Access, Admission
    from services.edge.pipeline.exchange import Exchange, HeaderList, Progress, Sink
    from services.edge.pipeline.providers import Providers
    from services.edge.pipeline.record import Recorder
    from services.edge.pipeline.relay import Whole
    from services.edge.pipeline.reservations import Reservations

__all__ = ["Answer", "Attempts", "Call", "tell_broken", "told"]


@dataclass(slots=True)  # made for each request; freezing would cost most of it
class Answer:
    """
    An answer.

    Attributes:
        whole: It came in one piece and was not sent yet. None: all of it was sent but the end.
    """

    whole: Whole | None


@dataclass(slots=True, kw_only=True)  # made for each request; freezing would cost most of it
class Call:
    """
    One request under way.

    Attributes:
        exchange: What the client asked for.
        admission: By which plan.
        progress: What became of it.
        sink: Where its answer goes.
        own_headers: Gives the gateway's own headers of an answer that begins.
        finish: Records the request.
        number: Index that every step of it is told by, where the client numbered its steps itself.
    """

    exchange: Exchange
    admission: Admission
    progress: Progress
    sink: Sink
    own_headers: Callable[[], HeaderList]
    finish: Callable[[], None]
    number: int | None = None


class Attempts:
    """
    Makes attempts.

    Args:
        access: Goes on with plans.
        providers: Reaches the provider services.
        reservations: Asks whether limits leave room for a step.
        health: Told how each attempt ended.
        recorder: Prices attempts that are paid for without being the last.
        config: Limits.
        log: Where it is told that a route could not be gone on with.
    """

    def __init__(
        self,
        *,
        access: Access,
        providers: Providers,
        reservations: Reservations,
        health: HealthReports,
        recorder: Recorder,
        config: EdgeConfig,
        log: Any,
    ) -> None:
        self._access = access
        self._providers = providers
        self._reservations = reservations
        self._health = health
        self._recorder = recorder
        self._log = log
        self._config = config

    async def run(self, call: Call, broken: Broken | None = None) -> Answer | Failed | Broken:
        """
        Try the steps of a call's plan, and what the plan says after they failed.

        Args:
            call: The request.
            broken: A stream that an earlier call of the same request left broken, to be continued.

        Returns:
            `Failed` when none brought an answer; nothing was sent to the client then. `Broken` when one broke
            off, and nobody could go on with it.
        """
        if broken is not None and not broken.sent.continuable:
            return broken
        walk = Walk(self._access, call)
        failed: Failed | None = None
        try:
            while (step := await walk.next(failed)) is not None:
                outcome = await self._try_step(call, walk, step, broken)
                if isinstance(outcome, Answer):
                    return outcome
                if isinstance(outcome, Broken):
                    broken, failed = outcome, outcome.failed
                    if not broken.sent.continuable:
                        return broken
                else:
                    failed = outcome
                if call.exchange.upload is not None:
                    # What was sent on while it came is not there for another step.
                    break
        except GatewayError as error:
            if broken is None:
                raise
            self._log.debug("route not gone on with", reason=error.reason)
        if broken is not None:
            return broken
        return failed or Failed(GatewayError(Reason.ALL_STEPS_FAILED, "The plan has no step."))

    async def _try_step(
        self, call: Call, walk: Walk, step: router_service_pb2.Step, broken: Broken | None
    ) -> Answer | Failed | Broken:
        plan = walk.plan
        try:
            if not walk.checked:
                self._access.check_step(call.admission, call.exchange, step)
            if plan.limited:
                await self._reservations.reserve(call, plan, step)
        except GatewayError as error:
            return Failed(error)
        request = invocation(call.exchange, call.admission, step, own_provider=walk.own_provider)
        if broken is None:
            outcome = await self._try_often(call, step, request)
        else:
            outcome = await self._continue(call, step, request, broken)
        if isinstance(outcome, Broken):
            outcome = replace(outcome, spent=spent_so_far(outcome, broken, call.progress.usage))
            # What it used is paid for, whoever goes on.
            self._recorder.charge(call.exchange, call.progress)
            self._reservations.settle(call.progress)
        elif isinstance(outcome, Failed):
            self._reservations.release(call.progress)
        return outcome

    async def _try_often(
        self, call: Call, step: router_service_pb2.Step, request: provider_service_pb2.InvokeRequest
    ) -> Answer | Failed | Broken:
        exchange, progress = call.exchange, call.progress
        rule = rule_of(step, exchange.options, call.admission.plan.settings)
        follow = followed if may_fail_over(call, step) else None
        tries = 0
        while True:
            tries += 1
            attempt = Attempt(
                progress,
                call.sink,
                call.own_headers,
                finish=call.finish,
                streamed=exchange.streamed,
                follow=follow,
            )
            outcome = await attempt.run(self._invoke(exchange, step, request))
            self._note_health(call, step, attempt, outcome)
            if isinstance(outcome, Broken):
                return outcome
            if not isinstance(outcome, Failed):
                if outcome is not None:
                    progress.sent(outcome.body)
                return Answer(outcome)
            # What it told of usage is its own, and not the next one's.
            self._recorder.charge(exchange, progress)
            if tries >= rule.max_attempts or exchange.upload is not None or not may_retry(outcome):
                return outcome
            wait_s = pause_s(
                rule,
                tries,
                retry_after_s=outcome.error.retry_after_s,
                longest_s=self._config.longest_retry_pause_s,
                draw=random.random(),  # noqa: S311 - spreads tries, hides nothing
            )
            if wait_s is None:
                return outcome
            await self._pause(wait_s, progress)

    async def _pause(self, wait_s: float, progress: Progress) -> None:
        try:
            await asyncio.sleep(wait_s)
        except asyncio.CancelledError:
            # No attempt is under way whose use is not known.
            self._reservations.release(progress)
            raise

    async def _continue(
        self,
        call: Call,
        step: router_service_pb2.Step,
        request: provider_service_pb2.InvokeRequest,
        broken: Broken,
    ) -> Answer | Failed | Broken:
        """Let a step go on with what broke off: first with its own answer, then from what the client has."""
        failed = Failed(GatewayError(Reason.UPSTREAM_CUT, "Nobody could go on with the answer."))
        dialect = splice_dialect(call.exchange.dialect)
        assert dialect is not None
        for mode in (Mode.SPLICE, Mode.CONTINUE):
            if mode is Mode.CONTINUE:
                body = continuation_request(dialect, request.body, broken.sent.text)
                if body is None:
                    break
                request.body = body
            attempt = Continuation(call, broken, mode)
            outcome = await attempt.run(self._invoke(call.exchange, step, request))
            self._note_health(call, step, attempt, outcome)
            if outcome is None:
                return Answer(None)
            if isinstance(outcome, Broken):
                return outcome
            # A fallback that said something else is paid for all the same.
            self._recorder.charge(call.exchange, call.progress)
            if isinstance(outcome, Failed):
                failed = outcome
                if not is_refusal(outcome):
                    break
        return failed

    def _invoke(
        self,
        exchange: Exchange,
        step: router_service_pb2.Step,
        request: provider_service_pb2.InvokeRequest,
    ) -> AsyncIterator[provider_service_pb2.InvokeResponse]:
        if exchange.upload is None:
            return self._providers.invoke(step.provider, request)
        return self._providers.upload(step.provider, request, exchange.upload)

    def _note_health(
        self,
        call: Call,
        step: router_service_pb2.Step,
        attempt: Attempt | Continuation,
        outcome: object,
    ) -> None:
        note = attempt.note
        own = (
            call.exchange.options.request_timeout_s is not None
            or step.HasField("timeouts")
            or call.admission.plan.settings.HasField("timeouts")
        )
        retry_after_s = outcome.error.retry_after_s if isinstance(outcome, Failed) else None
        self._health.note(
            step.provider,
            step.model,
            note.key,
            call.exchange.account_id,
            outcome_of(note.status, attempt.kind, attempt.reason),
            first_byte_s=note.first_byte.seconds + note.first_byte.nanos / 1e9,
            retry_after_s=retry_after_s or 0.0,
            own=own,
        )


def told(failed: Failed, progress: Progress) -> Whole:
    """Give the provider's own error as the answer, for a client whom nothing else was found for."""
    assert failed.answer is not None
    answer = failed.answer
    progress.status = answer.status
    progress.outcome = log_entry_pb2.OUTCOME_ERROR
    progress.error_reason = failed.reason
    progress.notes = failed.notes
    progress.content_type = next((value for name, value in answer.headers if name == "content-type"), "")
    progress.sent(answer.body)
    return answer


async def tell_broken(call: Call, broken: Broken) -> None:
    """Tell a client that its stream broke off and that nobody could go on with it, and end it."""
    progress = call.progress
    progress.outcome = log_entry_pb2.OUTCOME_TRUNCATED
    progress.error_reason = broken.error.reason
    call.finish()
    withheld = broken.sent.withheld
    if broken.reported and withheld:
        progress.sent(withheld)
        await call.sink.write(withheld)
        await call.sink.reported(broken.error)
    else:
        await call.sink.broken(broken.error)
    await call.sink.end()
