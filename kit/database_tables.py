"""
What tables need so that SQLite and PostgreSQL treat them alike: names of constraints, types, upserts.

Knows no table and opens nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import String

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["NAMING", "key_text", "upsert"]

NAMING: Final[Mapping[str, str]] = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
"""Names of constraints, for `MetaData`: a migration can only change what has a name."""


def key_text(length: int) -> String:
    """
    Return the type of an identifier: text that sorts and compares by its bytes.

    SQLite does so by itself; PostgreSQL sorts by a language unless told otherwise, and then a page that goes
    on "after this id" would skip some.
    """
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def upsert(connection: AsyncConnection, table: Table) -> Any:
    """
    Return an `insert` of the dialect in use, which has `on_conflict_do_nothing` and `on_conflict_do_update`.

    The two dialects' classes have these methods in the same form and no common type.
    """
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)
