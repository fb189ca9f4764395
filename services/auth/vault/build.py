"""Builds the vault from its settings. Decides nothing."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.config import ConfigError, load
from services.auth.core.secret_ref import References, RefKind
from services.auth.vault.config import HashicorpConfig, VaultConfig
from services.auth.vault.credentials import Credentials
from services.auth.vault.master_keys import MASTER_KEY_FILE, KeyRing, MasterKeyError
from services.auth.vault.rotation import Rotation, make_first_key
from services.auth.vault.secret_store import EnvironmentStore, FileStore, ReferencedStore, SealedStore
from services.auth.vault.server import CredentialServicer, ProviderConfigServicer, VaultServicer
from services.auth.vault.store_sql import SqlVaultStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from kit.clock import Clock
    from kit.database import Database
    from kit.generation import WatchHub
    from kit.service import Runtime
    from services.auth.config import AuthConfig
    from services.auth.vault.secret_store import ReferenceReader

__all__ = ["Vault", "open_vault"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """What answers the vault's gRPC services, and which keys in other stores may be named."""

    references: References
    provider_configs: ProviderConfigServicer
    credentials: CredentialServicer
    vault: VaultServicer


@asynccontextmanager
async def open_vault(
    runtime: Runtime, database: Database, *, config: AuthConfig, hub: WatchHub, clock: Clock, log: Any
) -> AsyncIterator[Vault]:
    """
    Open the vault in auth's database, making a master key where there never was one.

    Args:
        runtime: Environment, data directory and the operator's own account.
        database: Has the tables of auth.
        config: How long answers hold.
        hub: Is told of changes.
        clock: The time.
        log: Where it is told what happens.

    Raises:
        ConfigError: The settings are not usable.
        MasterKeyError: The file of master keys cannot be read or written.
    """
    env, account_id = runtime.env, runtime.settings.account
    ring = _ring(load(VaultConfig, env), env, runtime.settings.data_dir)
    await make_first_key(database, ring, log)
    store = SqlVaultStore(database, ring)
    async with _references(env, account_id, clock) as readers:
        credentials = Credentials(
            store, sealed=SealedStore(ring), referenced=ReferencedStore(readers), log=log
        )
        references = References(operator_account=account_id, kinds=frozenset(readers))
        yield Vault(
            references=references,
            provider_configs=ProviderConfigServicer(
                store=store, references=references, hub=hub, clock=clock, log=log
            ),
            credentials=CredentialServicer(credentials=credentials, store=store, config=config),
            vault=VaultServicer(rotation=Rotation(database, ring, log), ring=ring),
        )


def _ring(config: VaultConfig, env: Mapping[str, str], data_dir: Path) -> KeyRing:
    file = _path(env, "HEADRACE_MASTER_KEY_FILE")
    if file is not None:
        return KeyRing.of_file(file)
    if config.master_key is None:
        return KeyRing.of_file(data_dir / MASTER_KEY_FILE)
    try:
        return KeyRing.of_environment(config.master_key)
    except MasterKeyError as error:
        raise ConfigError([str(error)]) from error


def _path(env: Mapping[str, str], name: str) -> Path | None:
    # What the file holds was read as a setting; where it is matters for what may change.
    file = env.get(name, "").strip()
    return Path(file).expanduser().absolute() if file else None


@asynccontextmanager
async def _references(
    env: Mapping[str, str], account_id: str, clock: Clock
) -> AsyncIterator[Mapping[RefKind, ReferenceReader]]:
    config, hashicorp = load(VaultConfig, env), load(HashicorpConfig, env)
    readers: dict[RefKind, ReferenceReader] = {RefKind.ENV: EnvironmentStore(env, account_id)}
    if config.secrets_dir is not None:
        readers[RefKind.FILE] = FileStore(config.secrets_dir)
    async with AsyncExitStack() as stack:
        if hashicorp.address is not None:
            # Here, because its client is large, and most installations have no Vault.
            from services.auth.vault.hashicorp import open_hashicorp

            token_file = _path(env, "HEADRACE_AUTH_VAULT_TOKEN_FILE")
            opened = open_hashicorp(hashicorp, token_file=token_file, clock=clock)
            readers[RefKind.VAULT] = await stack.enter_async_context(opened)
        yield readers
