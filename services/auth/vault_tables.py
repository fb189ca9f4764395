"""Tables of the vault: provider configs with their sealed keys, and which master key is in use."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from kit.database_tables import key_text
from services.auth.tables import ACCOUNTS, METADATA

__all__ = ["PROVIDER_CONFIGS", "VAULT"]

PROVIDER_CONFIGS: Final = Table(
    "provider_configs",
    METADATA,
    Column("id", key_text(64), primary_key=True),
    Column("account_id", key_text(64), ForeignKey(ACCOUNTS.c.id), nullable=False),
    Column("gateway_id", key_text(64), nullable=False),
    Column("provider", key_text(64), nullable=False),
    Column("alias", key_text(64), nullable=False),
    Column("default_config", Boolean, nullable=False),
    Column("secret_ref", Text, nullable=False),
    Column("secret_preview", String(8), nullable=False),
    Column("secret_fingerprint", String(16), nullable=False),
    Column("weight", Integer, nullable=False),
    Column("rate_limit", BigInteger),
    Column("rate_limit_period_ms", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
    Column("last_used_at_us", BigInteger),
    # All three are there, or none: then the key is where `secret_ref` says.
    Column("sealed_secret", LargeBinary),
    Column("sealed_data_key", LargeBinary),
    Column("master_key_id", key_text(8)),
)
Index(
    "provider_configs_by_pool",
    PROVIDER_CONFIGS.c.account_id,
    PROVIDER_CONFIGS.c.gateway_id,
    PROVIDER_CONFIGS.c.provider,
    PROVIDER_CONFIGS.c.alias,
)
Index("provider_configs_by_master_key", PROVIDER_CONFIGS.c.master_key_id, PROVIDER_CONFIGS.c.id)

# One row, from the first key that was sealed on.
VAULT: Final = Table(
    "vault",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("master_key_id", key_text(8), nullable=False),
)
