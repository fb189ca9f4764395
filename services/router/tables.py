"""The tables of router's database."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, MetaData, String, Table, Text

from kit.generation import GenerationCounter

__all__ = ["CUSTOM_PROVIDERS", "GATEWAYS", "GENERATION", "METADATA"]

METADATA: Final = MetaData()
# Of everything that a plan depends on.
GENERATION: Final = GenerationCounter(METADATA)

# Settings are one JSON document: a new setting needs no new column, and a setting that only a newer
# release knows survives a change made by an older one.
GATEWAYS: Final = Table(
    "gateways",
    METADATA,
    Column("account_id", String(64), primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("settings", Text, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
)

# What a provider is, but for its name in URLs, is one JSON document likewise.
CUSTOM_PROVIDERS: Final = Table(
    "custom_providers",
    METADATA,
    Column("account_id", String(64), primary_key=True),
    Column("slug", String(50), primary_key=True),
    Column("document", Text, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
)
