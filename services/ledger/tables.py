"""The tables of the ledger's database."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

from kit.database import NAMING, Migrations, key_text

__all__ = ["ENTRIES", "METADATA", "MIGRATIONS", "PAYLOADS"]

METADATA: Final = MetaData(naming_convention=NAMING)
MIGRATIONS: Final = Migrations(package="services.ledger.migrations", head="0001", oldest="0001")

# Sorted by its bytes on both databases, as `key_text` is, and of any length: it is what clients sent.
_SORTED: Final = Text().with_variant(Text(collation="C"), "postgresql")

# What can be searched for, and the whole entry beside it. Keys and values of metadata are joined text, as
# `core.text` makes it; `searched` is all that a search looks in, without difference of case.
ENTRIES: Final = Table(
    "entries",
    METADATA,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),  # order of recording
    Column("id", key_text(64), nullable=False, unique=True),
    Column("account_id", _SORTED, nullable=False),
    Column("gateway_id", _SORTED, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("duration_us", BigInteger, nullable=False),
    Column("provider", _SORTED, nullable=False),
    Column("model", _SORTED, nullable=False),
    Column("status", Integer, nullable=False),
    Column("success", Boolean, nullable=False),
    Column("cached", Boolean, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("tokens_in", BigInteger),
    Column("tokens_out", BigInteger),
    Column("tokens", BigInteger),
    Column("cost_nano_usd", BigInteger),
    Column("feedback", Double),
    Column("request_content_type", Text, nullable=False),
    Column("response_content_type", Text, nullable=False),
    Column("user_agent", Text, nullable=False),
    Column("authentication", Boolean, nullable=False),
    Column("metadata_keys", Text, nullable=False),
    Column("metadata_values", Text, nullable=False),
    Column("searched", Text, nullable=False),
    Column("entry", LargeBinary, nullable=False),
)
Index("entries_by_account", ENTRIES.c.account_id, ENTRIES.c.created_us)
Index("entries_by_gateway", ENTRIES.c.account_id, ENTRIES.c.gateway_id, ENTRIES.c.created_us)

PAYLOADS: Final = Table(
    "payloads",
    METADATA,
    Column("id", key_text(64), primary_key=True),
    Column("payload", LargeBinary, nullable=False),
)
