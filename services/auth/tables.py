"""
Tables of auth's database: accounts and their tokens.

Times are microseconds since 1970: exact, sortable, and the same in every database.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from kit.audit import AuditTrail
from kit.database import NAMING, Migrations, key_text
from kit.generation import GenerationCounter

__all__ = ["ACCOUNTS", "AUDIT", "GENERATION", "METADATA", "MIGRATIONS", "TOKENS", "TOKEN_ORDER"]

METADATA: Final = MetaData(naming_convention=NAMING)
GENERATION: Final = GenerationCounter(METADATA)
AUDIT: Final = AuditTrail(METADATA)
MIGRATIONS: Final = Migrations(package="services.auth.migrations", head="0001", oldest="0001")

ACCOUNTS: Final = Table(
    "accounts",
    METADATA,
    Column("id", key_text(64), primary_key=True),
    Column("name", String(120), nullable=False),
    Column("unified", Boolean, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
    # A deleted account's row stays, so that nobody else ever gets its id, and what is logged under it.
    Column("deleted_at_us", BigInteger),
)

# Grants and restrictions are JSON: they are read and written as a whole, and nothing is found by them.
TOKENS: Final = Table(
    "tokens",
    METADATA,
    Column("id", key_text(64), primary_key=True),
    Column("account_id", key_text(64), ForeignKey(ACCOUNTS.c.id)),
    Column("user_id", key_text(120)),
    Column("name", String(120), nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Column("grants", Text, nullable=False),
    Column("restrictions", Text, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("bootstrap", Boolean, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
    Column("not_before_us", BigInteger),
    Column("expires_at_us", BigInteger),
    Column("revoked_at_us", BigInteger),
    Column("last_used_at_us", BigInteger),
    CheckConstraint("(account_id IS NULL) <> (user_id IS NULL)", name="one_owner"),
)

TOKEN_ORDER: Final = (TOKENS.c.created_at_us, TOKENS.c.id)
"""What lists of tokens are ordered by, newest first."""

Index("tokens_by_account", TOKENS.c.account_id, *TOKEN_ORDER)
Index("tokens_by_user", TOKENS.c.user_id, *TOKEN_ORDER)
