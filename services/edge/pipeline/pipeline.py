"""
The way of a request through the gateway.

Admit, look into the cache, try the plan's steps, relay the answer, record what happened: in that order, for
HTTP and gRPC callers alike.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headrace.common.v1 import usage_pb2
from headrace.ledger.v1 import log_entry_pb2
from headrace.provider.v1 import provider_service_pb2
from kit.errors import GatewayError, Reason
from kit.ids import uuid7
from kit.tokens import CREDENTIAL_HEADERS
from services.edge import headers as names
from services.edge.pipeline.billing import billing_headers
from services.edge.pipeline.exchange import Progress
from services.edge.pipeline.relay import Attempt, Failed, Whole
from services.edge.wire.errors import HTTP

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.cache.v1 import cache_service_pb2
    from headrace.common.v1 import caller_pb2
    from headrace.router.v1 import gateway_pb2, router_service_pb2
    from services.edge.config import EdgeConfig
    from services.edge.pipeline.access import Access, Admission
    from services.edge.pipeline.caching import Caching
    from services.edge.pipeline.exchange import Exchange, HeaderList, Sink
    from services.edge.pipeline.providers import Providers
    from services.edge.pipeline.record import Recorder

__all__ = ["Pipeline"]

# Of the grace that a stop leaves, what it takes to tell clients that their answers end here.
_TELLING_S = 0.3


class Pipeline:
    """
    Takes requests from admission to record.

    Args:
        access: Decides who may do what.
        caching: Finds and keeps answers.
        providers: Reaches the provider services.
        recorder: Keeps what happened.
        config: Limits.
        observe: Told of every request once it has ended.
    """

    def __init__(
        self,
        *,
        access: Access,
        caching: Caching,
        providers: Providers,
        recorder: Recorder,
        config: EdgeConfig,
        observe: Callable[[Exchange, Progress], None],
    ) -> None:
        self._access = access
        self._caching = caching
        self._providers = providers
        self._recorder = recorder
        self._config = config
        self._observe = observe
        self._running: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def run(self, exchange: Exchange, sink: Sink) -> None:
        """
        Answer a request.

        The client is told of failures through the sink; what a sink raises itself goes through.
        """
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await self._run(exchange, sink)
        finally:
            self._running.discard(task)

    async def stop(self, grace_s: float) -> None:
        """Let running requests end within the grace; end the others so that their clients know."""
        if self._running:
            await asyncio.wait(self._running, timeout=max(0.0, grace_s - _TELLING_S))
        self._stopping = True
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=_TELLING_S)

    async def _run(self, exchange: Exchange, sink: Sink) -> None:
        log_id = uuid7()
        progress = Progress(log_id=log_id, event_id=exchange.options.event_id or log_id)
        try:
            admission = await self._admit(exchange, progress)
        except GatewayError as error:
            _failed(progress, error)
            self._observe(exchange, progress)
            await sink.refuse(error, _own_headers(progress))
            return
        try:
            await self._answer(exchange, admission, progress, sink)
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
        if not progress.finished:
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
        settings, step = admission.plan.settings, admission.plan.steps[0]
        options = exchange.options
        progress.token_id = admission.caller.token_id
        progress.metadata = options.metadata
        progress.provider = step.provider
        progress.target_model = step.model
        collect = settings.collect_logs if options.collect_log is None else options.collect_log
        keep = settings.collect_payloads if options.collect_payload is None else options.collect_payload
        progress.keep_bodies = collect and keep
        progress.payload_bytes = self._config.payload_bytes
        if exchange.upload is not None:
            exchange.upload.keep_bytes = progress.payload_bytes if progress.keep_bodies else 0
        progress.logged = collect
        self._recorder.begin(exchange, progress)
        return admission

    async def _answer(self, exchange: Exchange, admission: Admission, progress: Progress, sink: Sink) -> None:
        ttl_s = self._caching.ttl_s(exchange, admission.plan.settings)
        found = None
        if ttl_s:
            found = await self._caching.lookup(exchange, admission)
            if found is not None and found.HasField("entry"):
                await self._answer_from_cache(exchange, found.entry, progress, sink)
                return
        key = found.key if found is not None else b""
        whole, attempt = await self._try_steps(exchange, admission, progress, sink, keep=bool(key))
        self._finish(exchange, progress)
        body = attempt.whole_body() if whole is None else whole.body
        if key and body is not None and progress.outcome == log_entry_pb2.OUTCOME_SUCCESS:
            self._caching.store(key, ttl_s, attempt.headers, body, progress)
        if whole is None:
            await sink.end()
        else:
            await sink.whole(whole.status, [*whole.headers, *_own_headers(progress)], whole.body)

    async def _answer_from_cache(
        self, exchange: Exchange, entry: cache_service_pb2.Entry, progress: Progress, sink: Sink
    ) -> None:
        kept = [(header.name, header.value.decode("latin-1")) for header in entry.headers]
        headers = [header for header in kept if header[0] != names.TRANSLATION]
        progress.notes = tuple(
            note for name, value in kept if name == names.TRANSLATION for note in value.split("; ")
        )
        progress.cached = True
        progress.status = entry.status
        progress.provider = entry.provider
        progress.served_model = entry.model
        progress.outcome = log_entry_pb2.OUTCOME_SUCCESS
        progress.content_type = next((value for name, value in headers if name == "content-type"), "")
        progress.usage = usage_pb2.Usage(input_tokens=0, output_tokens=0)
        progress.sent(entry.body)
        self._finish(exchange, progress)
        await sink.whole(entry.status, [*headers, *_own_headers(progress)], entry.body)

    async def _try_steps(
        self, exchange: Exchange, admission: Admission, progress: Progress, sink: Sink, *, keep: bool
    ) -> tuple[Whole | None, Attempt]:
        steps = admission.plan.steps
        failed = Failed(GatewayError(Reason.ALL_STEPS_FAILED, "The plan has no step."))
        for index, step in enumerate(steps):
            progress.step, progress.provider, progress.target_model = index, step.provider, step.model
            request = self._invoke_request(exchange, admission.caller, admission.plan.settings, step)
            if not admission.may_spend:
                request.credential.request_only = True
            if step.provider != steps[0].provider:
                _without_credentials(request)
            attempt = Attempt(
                progress,
                sink,
                lambda: _own_headers(progress),
                finish=lambda: self._finish(exchange, progress),
                streamed=exchange.streamed,
                keep_bytes=self._config.max_cached_bytes if keep else 0,
            )
            if exchange.upload is None:
                answers = self._providers.invoke(step.provider, request)
            else:
                answers = self._providers.upload(step.provider, request, exchange.upload)
            # What was sent on while it came is not there for another step.
            may_fail = index + 1 < len(steps) and exchange.upload is None
            outcome = await attempt.run(answers, may_fail=may_fail)
            if not isinstance(outcome, Failed):
                if outcome is not None:
                    progress.sent(outcome.body)
                return outcome, attempt
            failed = outcome
            if exchange.upload is not None:
                break
        raise failed.error

    def _invoke_request(
        self,
        exchange: Exchange,
        caller: caller_pb2.Caller,
        settings: gateway_pb2.GatewaySettings,
        step: router_service_pb2.Step,
    ) -> provider_service_pb2.InvokeRequest:
        options = exchange.options
        request = provider_service_pb2.InvokeRequest(
            caller=caller,
            provider=step.provider,
            model=step.model,
            client_dialect=exchange.dialect,
            operation=exchange.operation,
            body=exchange.body,
            stream=exchange.streamed,
            native=exchange.native,
            strict_translation=exchange.strict(settings),
        )
        # In place: a list of messages made first takes several times as long.
        for name, value in exchange.headers.forwarded:
            request.headers.add(name=name, value=value)
        if step.HasField("custom"):
            request.custom.CopyFrom(step.custom)
        if exchange.upload is not None and exchange.upload.length is not None:
            request.headers.add(name="content-length", value=str(exchange.upload.length).encode())
        if options.byok_alias:
            request.credential.alias = options.byok_alias
        if settings.byok_only or options.no_wholesale or _sells_nothing(settings):
            request.credential.no_operator = True
        timeouts = step.timeouts if step.HasField("timeouts") else settings.timeouts
        if timeouts.ByteSize():
            request.timeouts.CopyFrom(timeouts)
        if options.request_timeout_s is not None:
            request.timeouts.first_byte.FromNanoseconds(int(options.request_timeout_s * 1e9))
        return request

    def _finish(self, exchange: Exchange, progress: Progress) -> None:
        """Record the request and count it, once."""
        if progress.finished:
            return
        progress.finished = True
        self._recorder.finish(exchange, progress)
        self._observe(exchange, progress)


def _sells_nothing(settings: gateway_pb2.GatewaySettings) -> bool:
    return settings.HasField("wholesale") and not settings.wholesale


def _without_credentials(request: provider_service_pb2.InvokeRequest) -> None:
    """Take out the client's own keys: they are the first step's provider's, and no other may see them."""
    kept = [header for header in request.headers if header.name not in CREDENTIAL_HEADERS]
    del request.headers[:]
    request.headers.extend(kept)


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
            (names.CACHE_STATUS, "HIT" if progress.cached else "MISS"),
        ]
    if progress.entry is not None:
        headers.append((names.LOG_ID, progress.log_id))
    if model := progress.target_model or progress.served_model:
        headers.append((names.MODEL, model))
    if progress.notes:
        headers.append((names.TRANSLATION, "; ".join(progress.notes)))
    if progress.finished:
        headers += billing_headers(progress)
    return headers
