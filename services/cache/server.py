"""The cache's servicer: decode, look up, wait, encode."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from headrace.cache.v1 import cache_service_pb2 as pb
from headrace.cache.v1.cache_service_pb2_grpc import CacheServiceServicer
from kit.errors import GatewayError, Reason
from services.cache import convert
from services.cache.core.key import derive

if TYPE_CHECKING:
    from kit.clock import Clock
    from services.cache.config import CacheConfig
    from services.cache.core.key import Key
    from services.cache.metrics import CacheMetrics
    from services.cache.packing import Packing
    from services.cache.store import AnswerStore, Found, Wanted

__all__ = ["CacheServicer"]

# Hashing this much takes about as long as handing it to a thread; more would hold up other requests.
_HASH_INLINE_BYTES = 256 * 1024


class CacheServicer(CacheServiceServicer):
    """
    Answers `headrace.cache.v1.CacheService`.

    Args:
        store: The answers.
        packing: Makes them smaller.
        config: Limits.
        clock: The time.
        metrics: Counts.
    """

    def __init__(
        self,
        *,
        store: AnswerStore,
        packing: Packing,
        config: CacheConfig,
        clock: Clock,
        metrics: CacheMetrics,
    ) -> None:
        self._store = store
        self._packing = packing
        self._config = config
        self._clock = clock
        self._metrics = metrics

    async def Lookup(self, request: pb.LookupRequest, context: Any) -> pb.LookupResponse:
        """Find a stored answer."""
        if len(request.body) > self._config.max_entry_bytes:
            limit = str(self._config.max_entry_bytes)
            raise GatewayError(Reason.TOO_LARGE, "The request is too large to cache.", limit_bytes=limit)
        question, wanted = convert.question(request), convert.wanted(request)
        if len(question.body) > _HASH_INLINE_BYTES:
            key = await asyncio.to_thread(derive, question)
        else:
            key = derive(question)
        found = await self._store.find(key, wanted)
        if found.taken and (wait_s := min(convert.seconds(request.wait), self._config.max_wait_s)) > 0:
            found = await self._wait(key, wanted, found, wait_s)
        if found.conflict:
            self._metrics.conflict.inc()
            raise GatewayError(
                Reason.CONFLICT, "This Idempotency-Key was used for another request.", resource="request"
            )
        return await self._answer(key, wanted, found)

    async def Store(self, request: pb.StoreRequest, context: Any) -> pb.StoreResponse:
        """Store an answer."""
        key = convert.key(request.key)
        raw = convert.entry(request, self._clock)
        if len(raw) > self._config.max_entry_bytes:
            await self._store.release(key)
            self._metrics.too_large.inc()
            return pb.StoreResponse(stored=False)
        answer = convert.answer(request, await self._packing.pack(raw))
        stored = await self._store.put(key, answer)
        (self._metrics.stored if stored else self._metrics.not_kept).inc()
        if stored:
            self._metrics.bytes_taken.inc(len(raw))
            self._metrics.bytes_packed.inc(len(answer.value))
        return pb.StoreResponse(stored=stored)

    async def Release(self, request: pb.ReleaseRequest, context: Any) -> pb.ReleaseResponse:
        """End the claim on a key."""
        await self._store.release(convert.key(request.key))
        self._metrics.released.inc()
        return pb.ReleaseResponse()

    async def Renew(self, request: pb.RenewRequest, context: Any) -> pb.RenewResponse:
        """Let claims last longer."""
        kept = await self._store.renew(convert.claims(request))
        renewed = sum(kept)
        self._metrics.renewed.inc(renewed)
        self._metrics.lost.inc(len(kept) - renewed)
        return pb.RenewResponse(kept=kept)

    async def Purge(self, request: pb.PurgeRequest, context: Any) -> pb.PurgeResponse:
        """Forget answers."""
        await self._store.purge(convert.scope(request))
        self._metrics.purges.inc()
        return pb.PurgeResponse()

    async def _wait(self, key: Key, wanted: Wanted, found: Found, wait_s: float) -> Found:
        """Look again whenever something happened, until nobody else fetches the answer or time is up."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + wait_s
        while found.taken and (left_s := end_s - loop.time()) > 0:
            await self._store.changed(key, left_s)
            found = await self._store.find(key, wanted)
        if found.taken:
            self._metrics.wait_ended.inc()
        elif found.claimed:
            self._metrics.wait_claimed.inc()
        else:
            self._metrics.wait_answered.inc()
        return found

    async def _answer(self, key: Key, wanted: Wanted, found: Found) -> pb.LookupResponse:
        packed_key, value = key.pack(found.born), None
        try:
            if found.value is not None:
                value = await self._packing.unpack(found.value)
            answer = convert.response(
                packed_key,
                value,
                stale=found.stale,
                claimed=found.claimed,
                claim_id=found.claim_id,
                claim_s=self._config.claim_s,
            )
            self._metrics.bytes_given.inc(len(value or b""))
        except ValueError:
            # Of another release, or not ours at all: it is fetched again.
            self._metrics.unreadable.inc()
            value = None
            answer = convert.response(packed_key, None, claimed=wanted.claims)
        except asyncio.CancelledError:
            if found.claimed:
                await self._store.release(replace(key, born=found.born))
            raise
        if answer.claimed:
            self._metrics.claimed.inc()
        self._metrics.looked_up(read=wanted.read, hit=value is not None, stale=found.stale)
        return answer
