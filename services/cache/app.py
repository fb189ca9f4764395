"""Builds the cache. Decides nothing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from headrace.cache.v1.cache_service_pb2_grpc import add_CacheServiceServicer_to_server
from kit.clock import SystemClock
from kit.config import load
from kit.service import Binding, Service
from services.cache.config import CALLERS, CacheConfig
from services.cache.metrics import CacheMetrics, StoreMetrics
from services.cache.server import CacheServicer
from services.cache.store_memory import MemoryAnswerStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.service import Runtime

__all__ = ["build"]


@asynccontextmanager
async def build(runtime: Runtime) -> AsyncIterator[Service]:
    """Build the service for a process."""
    config = load(CacheConfig, runtime.env)
    clock = SystemClock()
    store = MemoryAnswerStore(max_bytes=config.max_bytes, max_entry_bytes=config.max_entry_bytes, clock=clock)
    StoreMetrics(store, runtime.metrics)
    servicer = CacheServicer(store=store, config=config, clock=clock, metrics=CacheMetrics(runtime.metrics))
    sweeper = asyncio.create_task(_sweep(store, config.sweep_interval_s), name="cache sweeper")
    try:
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
            check=store.check,
        )
    finally:
        sweeper.cancel()
        await asyncio.wait((sweeper,))


async def _sweep(store: MemoryAnswerStore, interval_s: float) -> None:
    while True:
        await asyncio.sleep(interval_s)
        while store.sweep():  # noqa: ASYNC110 - it waits for nothing
            await asyncio.sleep(0)  # others have their turn between two handfuls
