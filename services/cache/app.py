"""Builds the cache. Decides nothing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from headrace.cache.v1.cache_service_pb2_grpc import add_CacheServiceServicer_to_server
from kit.background import going_on
from kit.clock import SystemClock
from kit.config import load
from kit.service import Binding, Service
from kit.valkey import Valkey
from kit.valkey_config import ValkeyConfig
from services.cache.config import CALLERS, CacheConfig
from services.cache.metrics import CacheMetrics, StoreMetrics
from services.cache.packing import Packing
from services.cache.server import CacheServicer
from services.cache.store_memory import MemoryAnswerStore
from services.cache.store_valkey import ValkeyAnswerStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.clock import Clock
    from kit.secret import Secret
    from kit.service import Runtime
    from services.cache.store import AnswerStore

__all__ = ["build"]


@asynccontextmanager
async def build(runtime: Runtime) -> AsyncIterator[Service]:
    """Build the service for a process."""
    config = load(CacheConfig, runtime.env)
    clock = SystemClock()
    metrics = CacheMetrics(runtime.metrics)
    packing = Packing(
        level=config.compress_level,
        from_bytes=config.compress_from_bytes,
        most_bytes=config.max_entry_bytes,
    )
    async with _store(runtime, config, clock, metrics) as store:
        servicer = CacheServicer(store=store, packing=packing, config=config, clock=clock, metrics=metrics)
        yield Service(
            name="cache",
            bindings=(
                Binding(
                    service="headrace.cache.v1.CacheService",
                    add=add_CacheServiceServicer_to_server,
                    servicer=servicer,
                    callers=CALLERS,
                ),
            ),
            check=_check,
        )


@asynccontextmanager
async def _store(
    runtime: Runtime, config: CacheConfig, clock: Clock, metrics: CacheMetrics
) -> AsyncIterator[AnswerStore]:
    if config.valkey_url is not None:
        async with _in_valkey(config.valkey_url, runtime, config, clock, metrics) as shared:
            yield shared
        return
    store = MemoryAnswerStore(max_bytes=config.max_bytes, claim_s=config.claim_s, clock=clock)
    StoreMetrics(store, runtime.metrics)
    async with going_on(_sweep(store, config.sweep_interval_s)):
        yield store


@asynccontextmanager
async def _in_valkey(
    url: Secret, runtime: Runtime, config: CacheConfig, clock: Clock, metrics: CacheMetrics
) -> AsyncIterator[ValkeyAnswerStore]:
    settings = load(ValkeyConfig, runtime.env)
    valkey = Valkey(url, settings, clock=clock)
    store = ValkeyAnswerStore(
        valkey, timeout_s=settings.timeout_s, claim_s=config.claim_s, trouble=metrics.trouble
    )
    try:
        yield store
    finally:
        await store.close()
        await valkey.close()


async def _check() -> None:
    """Succeed: memory answers, and a Valkey that does not is only a miss."""


async def _sweep(store: MemoryAnswerStore, interval_s: float) -> None:
    while True:
        await asyncio.sleep(interval_s)
        while store.sweep():  # noqa: ASYNC110 - it waits for nothing
            await asyncio.sleep(0)  # others have their turn between two handfuls
