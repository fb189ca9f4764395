"""Builds the ledger. Decides nothing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from headrace.ledger.v1.ledger_service_pb2_grpc import add_LedgerServiceServicer_to_server
from kit.config import load
from kit.database import location_of
from kit.pricing.pricer import Pricer
from kit.pricing.table import PriceTable
from kit.service import Binding, Service
from services.ledger.config import CALLERS, LedgerConfig
from services.ledger.metrics import LedgerMetrics
from services.ledger.retention import keep_within_limit
from services.ledger.server import LedgerServicer
from services.ledger.store_sql import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.service import Runtime

__all__ = ["build"]


@asynccontextmanager
async def build(runtime: Runtime) -> AsyncIterator[Service]:
    """Build the service for a process."""
    config = load(LedgerConfig, runtime.env)
    log = runtime.log("ledger")
    metrics = LedgerMetrics(runtime.metrics)
    async with open_store(location_of(runtime, synchronous=config.synchronous), log=log) as store:
        servicer = LedgerServicer(store=store, pricer=Pricer(PriceTable(), log=log), metrics=metrics)
        retention = asyncio.create_task(
            keep_within_limit(store, config, metrics, log), name="ledger retention"
        )
        try:
            yield Service(
                name="ledger",
                bindings=(
                    Binding(
                        service="headrace.ledger.v1.LedgerService",
                        add=add_LedgerServiceServicer_to_server,
                        servicer=servicer,
                        callers=CALLERS,
                    ),
                ),
                check=store.check,
            )
        finally:
            retention.cancel()
            await asyncio.wait((retention,))
