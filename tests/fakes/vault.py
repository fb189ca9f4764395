"""A vault in a database of its own, without a server: what tests of its store and of rotations begin with."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import insert

from kit.audit import Actor
from kit.clock import SystemClock
from kit.database import open_database
from kit.secret import Secret
from services.auth.core.provider_config import ProviderConfig
from services.auth.tables import ACCOUNTS, GENERATION, METADATA
from services.auth.vault.rotation import Rotation, make_first_key
from services.auth.vault.secret_store import SealedStore
from services.auth.vault.store_sql import SqlVaultStore
from services.auth.vault_tables import PROVIDER_CONFIGS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.database import Database
    from kit.database_location import Location
    from services.auth.vault.master_keys import KeyRing

__all__ = ["NOW", "OpenVault", "open_vault", "provider_config"]

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
assert PROVIDER_CONFIGS.metadata is METADATA  # its import makes the table one of auth's


@dataclass(slots=True, kw_only=True)
class OpenVault:
    """A vault's parts, and what its store told watchers."""

    database: Database
    ring: KeyRing
    store: SqlVaultStore
    rotation: Rotation
    told: list[tuple[int, str]] = field(default_factory=list)

    async def keep(self, config: ProviderConfig, secret: str | None) -> ProviderConfig:
        """Keep a key."""
        return await self.store.create(config, secret and Secret(secret), Actor(interface="cli"), self.tell)  # type: ignore[arg-type]  # None stays None

    def tell(self, generation: int, scope: str) -> None:
        """Take note of a change."""
        self.told.append((generation, scope))

    async def opened(self, account_id: str = "acme") -> dict[str, str]:
        """Return every sealed key of an account's gateway `prod` at OpenAI, by the config's id."""
        sealed = SealedStore(self.ring)
        found = await self.store.keys(account_id, "prod", "openai")
        return {key.config.id: (await sealed.read(key)).reveal() for key in found.keys if key.sealed}


@asynccontextmanager
async def open_vault(location: Location, ring: KeyRing) -> AsyncIterator[OpenVault]:
    """Open a vault with the accounts `acme` and `umbrella`, the latter unified."""
    log = structlog.get_logger()
    async with open_database(location, METADATA, name="auth", log=log, migrations=None) as database:
        async with database.write() as connection:
            await GENERATION.begin(connection, now_s=SystemClock().now_s())
        if not await _has_accounts(database):
            await _add_accounts(database)
        await make_first_key(database, ring, log)
        yield OpenVault(
            database=database,
            ring=ring,
            store=SqlVaultStore(database, ring),
            rotation=Rotation(database, ring, log),
        )


def provider_config(name: str = "one", *, age_s: float = 0, **fields: object) -> ProviderConfig:
    """Return a config of `acme`."""
    when = NOW - timedelta(seconds=age_s)
    made = {
        "id": name,
        "account_id": "acme",
        "gateway_id": "prod",
        "provider": "openai",
        "alias": "default",
        "created_at": when,
        "updated_at": when,
        **fields,
    }
    return ProviderConfig(**made)  # type: ignore[arg-type]  # whoever calls knows the fields


async def _has_accounts(database: Database) -> bool:
    async with database.read() as connection:
        return (await connection.execute(ACCOUNTS.select())).first() is not None


async def _add_accounts(database: Database) -> None:
    async with database.write() as connection:
        for name in ("acme", "umbrella"):
            await connection.execute(
                insert(ACCOUNTS).values(
                    id=name, name=name, unified=name == "umbrella", created_at_us=0, updated_at_us=0
                )
            )
