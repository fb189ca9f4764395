"""
Asks the cache before the provider, and tells it afterwards.

A cache that is down or slow is a miss: nothing here fails a request, but an `Idempotency-Key` that was used
for another one.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.cache.v1 import cache_service_pb2, cache_service_pb2_grpc
from headrace.common.v1 import http_pb2, usage_pb2
from kit import tokens
from kit.clock import SystemClock
from kit.errors import GatewayError, Reason
from services.edge import headers as names
from services.edge.pipeline.renewals import Renewals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Sequence

    from headrace.router.v1 import router_service_pb2
    from kit.service import Runtime
    from services.edge.config import EdgeConfig
    from services.edge.pipeline.access import Admission
    from services.edge.pipeline.exchange import Exchange, HeaderList, Progress
    from services.edge.pipeline.flight import Flight

__all__ = ["Caching", "Wish"]

_SHORTEST_TTL_S = 60
# Stores that may wait at once; a cache that does not keep up loses answers rather than memory of ours.
_STORES_AT_ONCE = 256

# Headers by which clients choose between answers to one call: a format, a version, another address.
_CHOOSING = frozenset(
    {
        "accept", "anthropic-beta", "anthropic-version", "cartesia-version", "openai-beta", "prefer",
        "x-fal-target-url",
    }
)  # fmt: skip
_NOBODYS = hashlib.sha256(b"").digest()
_CHOOSING_PREFIX = "x-amzn-bedrock-"
# What SDKs and tools accept that choose nothing.
_ANY_FORMAT = frozenset({b"*/*", b"application/json"})
_WITH_USAGE = re.compile(rb'"include_usage"\s*:\s*true')
_LONGEST_IDEMPOTENCY_KEY = 255
# What an answer that is already being fetched is waited for; a stream's client sees nothing meanwhile.
# Whoever fetches it is alive, or its claim would be over.
_WAIT_S = 300
_WAIT_STREAMED_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """
    What the cache may do for a request.

    Attributes:
        ttl_s: How long its answer may be kept.
        revalidate_s: How long after that it is still given while a new one is fetched.
        if_error_s: How long after that it is still given when the provider fails.
        reads: Whether a kept answer may be given.
        shares: Whether the request may share an upstream call.
        idempotency_key: What the client knows the request by; None where that means nothing.
    """

    ttl_s: int
    revalidate_s: int = 0
    if_error_s: int = 0
    reads: bool = True
    shares: bool = True
    idempotency_key: str | None = None

    def may_give(self, entry: cache_service_pb2.Entry) -> bool:
        """Say whether an answer past its time may be given without waiting for the provider."""
        if not self.revalidate_s:
            return False
        age_s = time.time() - entry.store_time.seconds
        return age_s <= self.ttl_s + self.revalidate_s


class Caching:
    """
    The edge's view of the cache service.

    Attributes:
        renewals: Keeps what the cache told us to fetch our own while the calls run.
    """

    def __init__(self, runtime: Runtime, config: EdgeConfig) -> None:
        self._stub = cache_service_pb2_grpc.CacheServiceStub(runtime.channel("cache"))
        self._timeout_s = config.cache_timeout_s
        self._log = runtime.log("caching")
        self.renewals = Renewals(
            self._stub, timeout_s=config.cache_timeout_s * 4, clock=SystemClock(), log=self._log
        )
        self._storing: set[asyncio.Task[None]] = set()

    def wish(self, exchange: Exchange, admission: Admission, number: int = 0) -> Wish | None:
        """
        Say what the cache may do for a request; None for nothing.

        Args:
            exchange: The request.
            admission: On whose behalf.
            number: Its place among those that are tried one after the other.
        """
        settings, options = admission.plan.settings, exchange.options
        if exchange.upload is not None or (exchange.native is not None and exchange.native.method != "POST"):
            return None
        if settings.HasField("idempotency_ttl") and (key := _idempotency_key(exchange, admission, number)):
            return Wish(ttl_s=settings.idempotency_ttl.seconds, idempotency_key=key)
        ttl_s = options.effective_cache_ttl_s(settings.cache_ttl.seconds)
        if not ttl_s or _may_not_share(admission):
            return None
        reads = not options.skip_cache
        return Wish(
            ttl_s=ttl_s,
            revalidate_s=settings.cache_stale_while_revalidate.seconds,
            if_error_s=settings.cache_stale_if_error.seconds,
            reads=reads,
            shares=reads and not settings.cache_no_sharing,
        )

    async def lookup(
        self, exchange: Exchange, admission: Admission, wish: Wish, *, waits: bool = False
    ) -> cache_service_pb2.LookupResponse | None:
        """
        Look for an answer; None when the cache is away.

        Args:
            exchange: The request.
            admission: On whose behalf.
            wish: What the cache may do for it.
            waits: Whether to wait for an answer that somebody else fetches.

        Raises:
            GatewayError: CONFLICT; its `Idempotency-Key` stands for another request.
        """
        step = admission.plan.steps[0]
        wait_s = (_WAIT_STREAMED_S if exchange.streamed else _WAIT_S) if waits else 0
        request = cache_service_pb2.LookupRequest(
            caller=admission.caller,
            custom_key=_custom_key(exchange, admission),
            # Which model a route chooses may be another when a client asks again.
            provider=step.provider if wish.idempotency_key is None else exchange.provider,
            model=step.model if wish.idempotency_key is None else exchange.requested_model,
            endpoint=_endpoint(exchange, step, strict=exchange.strict(admission.plan.settings)),
            credential_digest=_credential_digest(exchange, admission),
            body=exchange.body,
            read=wish.reads,
            claim=wish.shares,
            stream=exchange.streamed,
            idempotency_key=wish.idempotency_key,
        )
        request.wait.seconds = wait_s
        request.stale.seconds = max(wish.revalidate_s, wish.if_error_s)
        try:
            asked = self._stub.Lookup(request, timeout=self._timeout_s + wait_s)
            return await (self._claiming(asked) if wish.shares and not waits else asked)
        except GatewayError as error:
            if error.reason is Reason.CONFLICT and wish.idempotency_key is not None:
                raise
            self._log.debug("lookup failed", reason=error.reason)
            return None

    async def _claiming(
        self, asked: Awaitable[cache_service_pb2.LookupResponse]
    ) -> cache_service_pb2.LookupResponse:
        """Wait for an answer; when nobody waits any more, what it claims is given back."""
        asking = asyncio.ensure_future(asked)
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(self._give_back)
            raise

    def _give_back(self, asked: asyncio.Future[cache_service_pb2.LookupResponse]) -> None:
        if not asked.cancelled() and asked.exception() is None and asked.result().claimed:
            self.release(asked.result().key)

    def release(self, key: bytes) -> None:
        """Begin to give back the claim on a key; nothing waits for it."""
        self._begin(self._release(key))

    def store_flight(
        self, key: bytes, wish: Wish, flight: Flight, progress: Progress, *, streamed: bool
    ) -> bool:
        """Begin to store the answer that a flight brought; false when there is none that could be kept."""
        answer = flight.answer
        if answer is not None:
            return self._store_answer(
                key, wish, answer.headers, answer.body, progress, dialect=answer.dialect
            )
        opening, body = flight.opening, flight.body()
        if opening is None or body is None or flight.error is not None:
            return False
        pieces = []
        if streamed:
            pieces = [
                cache_service_pb2.Piece(size=size, at_ms=int(at_s * 1000))
                for size, at_s in zip(flight.sizes(), flight.times_s, strict=True)
            ]
        return self._store_answer(
            key, wish, opening.headers, body, progress, pieces=pieces, dialect=opening.dialect
        )

    def _store_answer(
        self,
        key: bytes,
        wish: Wish,
        headers: HeaderList,
        body: bytes,
        progress: Progress,
        *,
        pieces: Sequence[cache_service_pb2.Piece] = (),
        dialect: http_pb2.Dialect.ValueType = http_pb2.DIALECT_UNSPECIFIED,
    ) -> bool:
        if len(self._storing) >= _STORES_AT_ONCE:
            return False
        if progress.notes:
            # What was lost in the answer's making was lost for whoever gets it later, too.
            headers = [*headers, (names.TRANSLATION, "; ".join(progress.notes))]
        entry = cache_service_pb2.Entry(
            status=progress.status,
            headers=[
                http_pb2.Header(name=name, value=value.encode("latin-1", "replace"))
                for name, value in headers
            ],
            body=body,
            provider=progress.provider,
            model=progress.served_model or progress.target_model,
            usage=progress.usage or usage_pb2.Usage(),
            cost=progress.cost,
            finish_reason=progress.finish_reason,
            pieces=pieces,
            dialect=dialect,
            step=progress.place,
            target_model=progress.target_model,
        )
        request = cache_service_pb2.StoreRequest(key=key, entry=entry)
        request.ttl.seconds = max(wish.ttl_s, _SHORTEST_TTL_S)
        request.stale.seconds = max(wish.revalidate_s, wish.if_error_s)
        self._begin(self._store(request))
        return True

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)

    async def close(self) -> None:
        """Wait for what is being stored, and renew nothing more."""
        await self.renewals.close()
        if self._storing:
            await asyncio.wait(self._storing, timeout=self._timeout_s)

    async def _store(self, request: cache_service_pb2.StoreRequest) -> None:
        try:
            await self._stub.Store(request, timeout=self._timeout_s * 4)
        except GatewayError as error:
            self._log.debug("store failed", reason=error.reason)
            # Others wait for what will not be there.
            await self._release(request.key)

    async def _release(self, key: bytes) -> None:
        try:
            await self._stub.Release(cache_service_pb2.ReleaseRequest(key=key), timeout=self._timeout_s)
        except GatewayError as error:
            self._log.debug("release failed", reason=error.reason)


def _endpoint(exchange: Exchange, step: router_service_pb2.Step, *, strict: bool) -> str:
    """
    Give all that an answer depends on beside model, key and body.

    Lines follow each other, since a path and a header's value hold no line feed. An exchange's own `endpoint`
    is cut for the log.
    """
    lines = [exchange.endpoint]
    if exchange.dialect == http_pb2.DIALECT_GEMINI and exchange.operation:
        # Its streams are of two formats at one path.
        lines.append(exchange.operation)
    if (native := exchange.native) is not None:
        path = f"{exchange.provider}/{native.path}"
        lines = [f"{path}?{native.query}" if native.query else path]
    if exchange.streamed and _WITH_USAGE.search(exchange.body):
        # Its last chunk is one that others did not ask for.
        lines.append("include_usage")
    for name, value in exchange.headers.forwarded:
        if (name in _CHOOSING or name.startswith(_CHOOSING_PREFIX)) and value not in _ANY_FORMAT:
            lines.append(f"{name}: {value.decode('latin-1')}")
    if strict:
        lines.append(names.STRICT)
    if alias := exchange.options.byok_alias:
        # Whose account at the provider it is may change what is answered.
        lines.append(f"{names.BYOK_ALIAS}: {alias}")
    if step.HasField("custom"):
        # The account may have its provider call another address by now.
        lines.append(hashlib.sha256(step.custom.SerializeToString(deterministic=True)).hexdigest())
    return "\n".join(lines)


def _custom_key(exchange: Exchange, admission: Admission) -> str | None:
    """
    Give the name that the client chose for an answer, if it did.

    Under a name alone an answer of any model is found, paid for by anybody. So those who are not known, and
    those whose tokens are for some models only, have names of their own; no header's value holds a line feed.
    """
    name = exchange.options.cache_key
    narrowed = None if admission.principal is None else admission.principal.restrictions
    if name is None:
        return None
    if not admission.may_spend:
        return f"{name}\n"
    if narrowed is not None and (narrowed.providers or narrowed.models):
        found = repr((sorted(narrowed.providers), sorted(narrowed.models)))
        return f"{name}\n{hashlib.sha256(found.encode()).hexdigest()}"
    return name


def _idempotency_key(exchange: Exchange, admission: Admission, number: int) -> str:
    """
    Give what the client knows the request by, apart from what other clients do; empty for nothing.

    Those that are tried one after the other are one request to the client, and have different bodies. No
    header's value holds a line feed.
    """
    headers = exchange.headers
    own = (value for name, value in headers.forwarded if name == names.IDEMPOTENCY_KEY)
    value = next(own, headers.whole_key)
    if value is None:
        return ""
    if not 1 <= len(value) <= _LONGEST_IDEMPOTENCY_KEY:
        raise GatewayError(
            Reason.INVALID_REQUEST,
            f"An Idempotency-Key has 1 to {_LONGEST_IDEMPOTENCY_KEY} characters.",
            param=names.IDEMPOTENCY_KEY,
        )
    who = admission.caller.token_id or _credential_digest(exchange, admission).hex()
    return f"{who}\n{value.decode('latin-1')}" + (f"\n{number}" if number else "")


def _may_not_share(admission: Admission) -> bool:
    """Say whether a token is narrowed within a route, whose answers may be of any model in it."""
    if not admission.plan.HasField("decision") or admission.principal is None:
        return False
    narrowed = admission.principal.restrictions
    return bool(narrowed.providers or narrowed.models)


def _credential_digest(exchange: Exchange, admission: Admission) -> bytes:
    """Tell apart who pays. Whoever brings no key and may spend no other's sees nothing that was paid for."""
    values = [value for name, value in exchange.headers.forwarded if name in tokens.CREDENTIAL_HEADERS]
    if values:
        return hashlib.sha256(b"\0".join(values)).digest()
    return b"" if admission.may_spend else _NOBODYS
