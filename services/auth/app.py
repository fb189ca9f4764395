"""Builds auth. Decides nothing."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from headrace.audit.v1.audit_service_pb2_grpc import add_AuditServiceServicer_to_server
from headrace.auth.v1.account_pb2_grpc import add_AccountServiceServicer_to_server
from headrace.auth.v1.auth_service_pb2_grpc import add_AuthServiceServicer_to_server
from headrace.auth.v1.credential_pb2_grpc import add_CredentialServiceServicer_to_server
from headrace.auth.v1.provider_config_pb2_grpc import add_ProviderConfigServiceServicer_to_server
from headrace.auth.v1.token_pb2_grpc import add_TokenServiceServicer_to_server
from headrace.auth.v1.vault_pb2_grpc import add_VaultServiceServicer_to_server
from kit.account import ACCOUNT_ID
from kit.audit_service import AUDIT_CALLERS, AuditServicer
from kit.clock import SystemClock
from kit.config import ConfigError, load
from kit.database import location_of
from kit.database_watch import watch_changes
from kit.generation import WatchHub
from kit.service import Binding, Service
from services.auth.account_store_sql import SqlAccountStore
from services.auth.config import ACCOUNT_CALLERS, AUTH_CALLERS, TOKEN_CALLERS, AuthConfig
from services.auth.first_token import TOKEN_FILE, GivenToken, TokenFile, ensure_first_token
from services.auth.last_use import LastUse
from services.auth.server import AccountServicer, AuthServicer, TokenServicer
from services.auth.store_sql import open_store
from services.auth.tables import AUDIT, GENERATION
from services.auth.vault.build import open_vault
from services.auth.vault.config import CREDENTIAL_CALLERS, PROVIDER_CONFIG_CALLERS, VAULT_CALLERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.service import Runtime
    from services.auth.vault.build import Vault

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

    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(location_of(runtime), clock=clock, log=log))
        first = (
            TokenFile(runtime.settings.data_dir / TOKEN_FILE)
            if config.first_token is None
            else GivenToken(config.first_token)
        )
        await ensure_first_token(store, first, account_id=account_id, clock=clock, log=log)
        hub = WatchHub(await store.generation())
        stack.callback(hub.close)
        await stack.enter_async_context(watch_changes(store.database, GENERATION, hub))
        last_use = LastUse(store, every_s=config.last_use_every_s, log=log)
        await stack.enter_async_context(last_use.storing())
        opened = open_vault(runtime, store.database, config=config, hub=hub, clock=clock, log=log)
        vault = await stack.enter_async_context(opened)

        async def drain(_: float) -> None:
            # Watches never end by themselves; everything else is over in a moment.
            hub.close()

        yield Service(
            name="auth",
            bindings=(
                Binding(
                    service="headrace.auth.v1.AuthService",
                    add=add_AuthServiceServicer_to_server,
                    servicer=AuthServicer(
                        store=store, hub=hub, last_use=last_use, config=config, clock=clock
                    ),
                    callers=AUTH_CALLERS,
                ),
                Binding(
                    service="headrace.auth.v1.TokenService",
                    add=add_TokenServiceServicer_to_server,
                    servicer=TokenServicer(store=store, hub=hub, clock=clock, log=log),
                    callers=TOKEN_CALLERS,
                ),
                Binding(
                    service="headrace.auth.v1.AccountService",
                    add=add_AccountServiceServicer_to_server,
                    servicer=AccountServicer(
                        store=SqlAccountStore(store.database),
                        hub=hub,
                        own_account_id=account_id,
                        references=vault.references,
                        clock=clock,
                        log=log,
                    ),
                    callers=ACCOUNT_CALLERS,
                ),
                *_vault_bindings(vault),
                Binding(
                    service="headrace.audit.v1.AuditService",
                    add=add_AuditServiceServicer_to_server,
                    servicer=AuditServicer(database=store.database, trail=AUDIT),
                    callers=AUDIT_CALLERS,
                ),
            ),
            check=store.check,
            drain=drain,
        )


def _vault_bindings(vault: Vault) -> tuple[Binding, ...]:
    return (
        Binding(
            service="headrace.auth.v1.ProviderConfigService",
            add=add_ProviderConfigServiceServicer_to_server,
            servicer=vault.provider_configs,
            callers=PROVIDER_CONFIG_CALLERS,
        ),
        Binding(
            service="headrace.auth.v1.CredentialService",
            add=add_CredentialServiceServicer_to_server,
            servicer=vault.credentials,
            callers=CREDENTIAL_CALLERS,
        ),
        Binding(
            service="headrace.auth.v1.VaultService",
            add=add_VaultServiceServicer_to_server,
            servicer=vault.vault,
            callers=VAULT_CALLERS,
        ),
    )
