"""The cache's servicer: decode, look up, encode."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from headrace.cache.v1 import cache_service_pb2 as pb
from headrace.cache.v1.cache_service_pb2_grpc import CacheServiceServicer
from kit.errors import GatewayError, Reason
from services.cache import convert
from services.cache.core.key import derive
from services.cache.core.lifetime import checked_ttl_s

if TYPE_CHECKING:
    from kit.clock import Clock
    from services.cache.config import CacheConfig
    from services.cache.metrics import CacheMetrics
    from services.cache.store import AnswerStore

__all__ = ["CacheServicer"]

# Hashing this much takes about as long as handing it to a thread; more would hold up other requests.
_HASH_INLINE_BYTES = 256 * 1024


class CacheServicer(CacheServiceServicer):
    """
    Answers `headrace.cache.v1.CacheService`.

    Args:
        store: The answers.
        config: Limits.
        clock: The time.
        metrics: Counts.
    """

    def __init__(
        self, *, store: AnswerStore, config: CacheConfig, clock: Clock, metrics: CacheMetrics
    ) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._metrics = metrics

    async def Lookup(self, request: pb.LookupRequest, context: Any) -> pb.LookupResponse:
        """Find a stored answer."""
        if len(request.body) > self._config.max_entry_bytes:
            limit = str(self._config.max_entry_bytes)
            raise GatewayError(Reason.TOO_LARGE, "The request is too large to cache.", limit_bytes=limit)
        question = convert.question(request)
        if len(question.body) > _HASH_INLINE_BYTES:
            key = await asyncio.to_thread(derive, question)
        else:
            key = derive(question)
        if not request.read:
            self._metrics.not_read.inc()
            return convert.answer(key, None)
        found = await self._store.get(key)
        (self._metrics.miss if found is None else self._metrics.hit).inc()
        return convert.answer(key, found)

    async def Store(self, request: pb.StoreRequest, context: Any) -> pb.StoreResponse:
        """Store an answer."""
        key, ttl_s = convert.key(request), checked_ttl_s(convert.ttl_s(request))
        stored = await self._store.put(key, convert.value(request, self._clock), ttl_s=ttl_s)
        (self._metrics.stored if stored else self._metrics.too_large).inc()
        return pb.StoreResponse(stored=stored)
