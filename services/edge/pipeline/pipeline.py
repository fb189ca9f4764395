"""
The way of a request through the gateway.

Admit, look into the cache, try the plan's steps, relay the answer, record what happened: in that order, for
HTTP and gRPC callers alike.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from headrace.ledger.v1 import log_entry_pb2
from headrace.router.v1 import gateway_pb2
from kit.errors import GatewayError, Reason
from kit.ids import uuid7
from services.edge import headers as names
from services.edge.pipeline.attempts import Call, tell_broken, told
from services.edge.pipeline.billing import beside, billing_headers, limit_headers
from services.edge.pipeline.exchange import Progress
from services.edge.pipeline.relay import Broken, Failed
from services.edge.pipeline.reservations import limits_told
from services.edge.pipeline.sharing import Sharing
from services.edge.wire.errors import HTTP

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.edge.config import EdgeConfig
    from services.edge.pipeline.access import Access, Admission
    from services.edge.pipeline.attempts import Attempts
    from services.edge.pipeline.caching import Caching
    from services.edge.pipeline.exchange import Exchange, HeaderList, Sink
    from services.edge.pipeline.record import Recorder
    from services.edge.pipeline.reservations import Reservations
    from services.edge.pipeline.sharing import Reshape

    Serve = Callable[[Call], Awaitable[None]]

__all__ = ["Pipeline"]

# Of the grace that a stop leaves, what it takes to tell clients that their answers end here.
_TELLING_S = 0.3


class Pipeline:
    """
    Takes requests from admission to record.

    Args:
        access: Decides who may do what.
        caching: Finds and keeps answers.
        attempts: Makes the calls of providers.
        reservations: Told of what was really used.
        reshape: Gives a kept answer in its other form.
        recorder: Keeps what happened.
        config: Limits.
        observe: Told of every request once it has ended.
        log: Where defects are told.
    """

    def __init__(
        self,
        *,
        access: Access,
        caching: Caching,
        attempts: Attempts,
        reservations: Reservations,
        reshape: Reshape,
        recorder: Recorder,
        config: EdgeConfig,
        observe: Callable[[Exchange, Progress], None],
        log: Any,
    ) -> None:
        self._access = access
        self._caching = caching
        self._attempts = attempts
        self._sharing = Sharing(
            attempts=attempts,
            caching=caching,
            keep_bytes=config.max_cached_bytes,
            reshape=reshape,
            refreshed=self._refreshed,
            log=log,
        )
        self._reservations = reservations
        self._recorder = recorder
        self._config = config
        self._observe = observe
        self._running: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def run(self, exchange: Exchange, sink: Sink, serve: Serve | None = None) -> None:
        """
        Answer a request.

        The client is told of failures through the sink; what a sink raises itself goes through.

        Args:
            exchange: What the client asked for.
            sink: Where its answer goes.
            serve: Answers it once it is admitted, where that is no matter of attempts and answers; whatever
                it did not record when it ends in an error is recorded here.
        """
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await self._run(exchange, sink, serve)
        finally:
            self._running.discard(task)

    @property
    def running(self) -> int:
        """Requests that run."""
        return len(self._running)

    async def stop(self, grace_s: float) -> None:
        """Let running requests end within the grace; end the others so that their clients know."""
        until_s = time.monotonic() + grace_s - _TELLING_S
        # Again and again: on connections that are open, requests come as long as their clients do not know.
        while (tasks := self._running | self._sharing.tasks) and (left_s := until_s - time.monotonic()) > 0:
            await asyncio.wait(tasks, timeout=left_s)
        self._stopping = True
        # Those who follow a call are told by it.
        for task in self._sharing.tasks:
            task.cancel()
        if self._sharing.tasks:
            await asyncio.wait(self._sharing.tasks, timeout=_TELLING_S / 2)
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=_TELLING_S)

    async def _run(self, exchange: Exchange, sink: Sink, serve: Serve | None) -> None:
        log_id = uuid7()
        progress = Progress(log_id=log_id, event_id=exchange.options.event_id or log_id)
        while True:
            try:
                admission = await self._admit(exchange, progress)
                break
            except GatewayError as error:
                if exchange.alternatives and _is_used_up(error):
                    exchange = _without_first(exchange)
                    continue
                _failed(progress, error)
                progress.limits = limits_told(error)
                self._observe(exchange, progress)
                await sink.refuse(error, _own_headers(progress))
                return
        try:
            if serve is None:
                await self._answer(exchange, admission, progress, sink)
            else:
                await serve(self._call(exchange, admission, progress, sink))
        except GatewayError as error:
            _failed(progress, error)
            self._finish(exchange, progress)
            await sink.refuse(error, _own_headers(progress))
        except asyncio.CancelledError:
            if not self._stopping:
                self._gone(exchange, progress)
                raise
            await self._interrupt(exchange, progress, sink)
        except ConnectionError:
            self._gone(exchange, progress)
            raise
        except Exception:
            _failed(progress, GatewayError(Reason.INTERNAL, ""))
            self._finish(exchange, progress)
            raise

    def _gone(self, exchange: Exchange, progress: Progress) -> None:
        """Record that the client went away; nothing here waits, as the task may be on its way out."""
        progress.gone = True
        if not progress.finished and not progress.in_flight:
            progress.outcome = log_entry_pb2.OUTCOME_DISCONNECTED
            progress.error_reason = Reason.CANCELLED
            self._finish(exchange, progress)

    async def _interrupt(self, exchange: Exchange, progress: Progress, sink: Sink) -> None:
        """Tell the client that we are stopping before its answer is whole."""
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()
        error = GatewayError(Reason.SERVICE_UNAVAILABLE, "Headrace is stopping.", retry_after_s=1.0)
        if not progress.finished:
            _failed(progress, error)
            progress.outcome = log_entry_pb2.OUTCOME_TRUNCATED
            self._finish(exchange, progress)
        await sink.interrupt(error, _own_headers(progress))

    async def _admit(self, exchange: Exchange, progress: Progress) -> Admission:
        admission = await self._access.admit(exchange)
        self._begin(exchange, admission, progress)
        return admission

    def _begin(self, exchange: Exchange, admission: Admission, progress: Progress) -> None:
        """Write the intent of a request that may go on."""
        plan, options = admission.plan, exchange.options
        settings, step = plan.settings, plan.steps[0]
        progress.token_id = admission.caller.token_id
        progress.metadata = options.metadata
        progress.provider = step.provider
        progress.target_model = step.model
        progress.decided(plan)
        collect = settings.collect_logs if options.collect_log is None else options.collect_log
        keep = settings.collect_payloads if options.collect_payload is None else options.collect_payload
        progress.keep_bodies = collect and keep
        progress.payload_bytes = self._config.payload_bytes
        if exchange.upload is not None:
            exchange.upload.keep_bytes = progress.payload_bytes if progress.keep_bodies else 0
        progress.logged = collect
        self._recorder.begin(exchange, progress)

    async def _answer(self, exchange: Exchange, admission: Admission, progress: Progress, sink: Sink) -> None:
        number = exchange.number if exchange.numbered else None
        call = self._call(exchange, admission, progress, sink, number)
        try:
            failed = await self._serve(call)
        except GatewayError as error:
            if not exchange.alternatives or progress.finished or error.reason is Reason.CONFLICT:
                raise
            failed = Failed(error)
        for index, other in enumerate(exchange.alternatives, exchange.number + 1):
            if failed is None:
                return
            broken = failed if isinstance(failed, Broken) else None
            if broken is not None and not _may_go_on(exchange, other):
                continue
            try:
                admission = await self._access.admit(other)
                progress.decided(admission.plan)
                self._recorder.goes_on(other, progress)
                call = self._call(other, admission, progress, sink, index)
                failed = await self._serve(call, broken)
            except GatewayError as error:
                if error.reason is Reason.CONFLICT and broken is None:
                    raise
                if broken is None:
                    progress.step, failed = index, Failed(error)
        if failed is None:
            return
        if isinstance(failed, Broken):
            await tell_broken(call, failed)
            return
        if failed.answer is None:
            raise failed.error
        answer = told(failed, progress)
        self._finish(exchange, progress)
        headers = beside(answer.headers, _own_headers(progress), progress.limits)
        await sink.whole(answer.status, headers, answer.body)

    def _call(
        self,
        exchange: Exchange,
        admission: Admission,
        progress: Progress,
        sink: Sink,
        number: int | None = None,
    ) -> Call:
        return Call(
            exchange=exchange,
            admission=admission,
            progress=progress,
            sink=sink,
            own_headers=lambda: _own_headers(progress),
            finish=lambda: self._finish(exchange, progress),
            number=number,
        )

    async def _serve(self, call: Call, broken: Broken | None = None) -> Failed | Broken | None:
        """Answer a call, or go on with an answer that broke off; tells why there is none, or no whole one."""
        if broken is None:
            wish = self._caching.wish(call.exchange, call.admission, call.number or 0)
            if wish is not None or _outlives(call):
                return await self._sharing.serve(call, wish)
        outcome = await self._attempts.run(call, broken)
        if isinstance(outcome, Failed | Broken):
            return outcome
        call.finish()
        whole = outcome.whole
        if whole is None:
            await call.sink.end()
        else:
            headers = beside(whole.headers, call.own_headers(), call.progress.limits)
            await call.sink.whole(whole.status, headers, whole.body)
        return None

    def _refreshed(self, call: Call) -> Call:
        log_id = uuid7()
        progress = Progress(log_id=log_id, event_id=call.exchange.options.event_id or log_id, gone=True)
        self._begin(call.exchange, call.admission, progress)
        return self._call(call.exchange, call.admission, progress, call.sink, call.number)

    def _finish(self, exchange: Exchange, progress: Progress) -> None:
        """Record the request and count it, once."""
        if progress.finished:
            return
        progress.finished = True
        self._recorder.finish(exchange, progress)
        self._reservations.settle(progress)
        if progress.returnable and progress.cached:
            self._reservations.give_back(exchange, progress)
        self._observe(exchange, progress)


def _is_used_up(error: GatewayError) -> bool:
    """Say whether a route ended in an error of its own, so that another step may still be taken."""
    if error.reason is Reason.ALL_STEPS_FAILED:
        return error.metadata.get("resource") != "route"  # else there is no such route
    return error.reason is Reason.RATE_LIMITED


def _without_first(exchange: Exchange) -> Exchange:
    """Give a request without its first step, whose word on the whole of it stands."""
    following, *others = exchange.alternatives
    whole, own = exchange.options, following.options
    options = replace(
        own,
        event_id=whole.event_id,
        metadata=whole.metadata,
        collect_log=whole.collect_log,
        collect_payload=whole.collect_payload,
    )
    return replace(
        following,
        headers=replace(following.headers, options=options),
        alternatives=tuple(others),
        numbered=exchange.numbered,
        number=exchange.number + 1,
    )


def _may_go_on(first: Exchange, other: Exchange) -> bool:
    """Say whether the answer to one step of a request can be continued by that to another."""
    return other.streamed and other.dialect == first.dialect and other.upload is None


def _outlives(call: Call) -> bool:
    """Say whether a call is to be read to its end after its client has gone."""
    policy = call.admission.plan.settings.on_disconnect
    return policy == gateway_pb2.DISCONNECT_POLICY_DRAIN and call.exchange.upload is None


def _failed(progress: Progress, error: GatewayError) -> None:
    progress.outcome = log_entry_pb2.OUTCOME_ERROR
    progress.error_reason = error.reason
    progress.status = HTTP[error.reason].status


def _own_headers(progress: Progress) -> HeaderList:
    """Give the gateway's own headers; those that say nothing yet are left out."""
    headers = [(names.EVENT_ID, progress.event_id), (names.REQUEST_ID, progress.log_id)]
    if progress.provider:
        headers += [
            (names.STEP, str(progress.step)),
            (names.PROVIDER, progress.provider),
            (names.CACHE_STATUS, _cache_status(progress)),
        ]
    if progress.entry is not None:
        headers.append((names.LOG_ID, progress.log_id))
    if model := progress.target_model or progress.served_model:
        headers.append((names.MODEL, model))
    if progress.limits:
        headers += limit_headers(progress.limits)
    if progress.notes:
        headers.append((names.TRANSLATION, "; ".join(progress.notes)))
    if progress.finished:
        headers += billing_headers(progress)
    return headers


def _cache_status(progress: Progress) -> str:
    if not progress.cached:
        return "MISS"
    return "STALE" if progress.stale else "HIT"
