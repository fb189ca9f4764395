"""Builds auth. Decides nothing."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from headrace.auth.v1.auth_service_pb2_grpc import (
    add_AuthServiceServicer_to_server,
    add_TokenServiceServicer_to_server,
)
from kit.account import ACCOUNT_ID
from kit.clock import SystemClock
from kit.config import ConfigError, load
from kit.generation import WatchHub
from kit.service import Binding, Service
from services.auth.config import AUTH_CALLERS, TOKEN_CALLERS, AuthConfig
from services.auth.first_token import TOKEN_FILE, TokenFile, ensure_first_token
from services.auth.server import AuthServicer, TokenServicer
from services.auth.store_sqlite import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.service import Runtime

__all__ = ["build"]


@asynccontextmanager
async def build(runtime: Runtime) -> AsyncIterator[Service]:
    """Build the service for a process."""
    config = load(AuthConfig, runtime.env)
    account_id = runtime.settings.account
    if not ACCOUNT_ID.fullmatch(account_id):
        raise ConfigError([f"HEADRACE_ACCOUNT must have 1 to 64 of A-Z a-z 0-9 _ -, but is {account_id!r}"])
    log = runtime.log("auth")
    clock = SystemClock()

    data_dir = runtime.settings.data_dir
    async with open_store(data_dir / "auth.db", clock=clock, log=log) as store:
        file = TokenFile(data_dir / TOKEN_FILE)
        await ensure_first_token(store, file, account_id=account_id, clock=clock, log=log)
        hub = WatchHub(await store.generation())

        auth = AuthServicer(store=store, hub=hub, config=config, clock=clock)
        tokens = TokenServicer(store=store, hub=hub, clock=clock, log=log)

        async def drain(_: float) -> None:
            # Watches never end by themselves; everything else is over in a moment.
            hub.close()

        yield Service(
            name="auth",
            bindings=(
                Binding(
                    service="headrace.auth.v1.AuthService",
                    add=add_AuthServiceServicer_to_server,
                    servicer=auth,
                    callers=AUTH_CALLERS,
                ),
                Binding(
                    service="headrace.auth.v1.TokenService",
                    add=add_TokenServiceServicer_to_server,
                    servicer=tokens,
                    callers=TOKEN_CALLERS,
                ),
            ),
            check=store.check,
            drain=drain,
        )
        hub.close()
