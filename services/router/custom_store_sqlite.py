"""Providers that accounts named themselves, in SQLite, through SQLAlchemy Core."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update

from kit.moment import microseconds, moment
from services.router.core.custom_provider import MOST_PROVIDERS, CustomProvider, no_such_provider, too_many
from services.router.tables import CUSTOM_PROVIDERS, GENERATION

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from kit.sqlite import Database

__all__ = ["SqliteCustomProviderStore"]


class SqliteCustomProviderStore:
    """
    A `CustomProviderStore` in one SQLite file.

    Args:
        database: Has the tables of `tables`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, account_id: str, slug: str) -> CustomProvider | None:
        """Return a provider."""
        async with self._database.read() as connection:
            return await _find(connection, account_id, slug)

    async def of(self, account_id: str) -> list[CustomProvider]:
        """Return an account's providers, by slug."""
        columns = CUSTOM_PROVIDERS.c
        query = select(CUSTOM_PROVIDERS).where(columns.account_id == account_id).order_by(columns.slug)
        async with self._database.read() as connection:
            return [_provider(row) for row in (await connection.execute(query)).mappings()]

    async def put(self, provider: CustomProvider, *, then: Callable[[int, str], None]) -> CustomProvider:
        """Keep a provider, in place of the one of its slug, and return it as it is kept."""

        async def work(connection: AsyncConnection) -> tuple[CustomProvider, int | None]:
            before = await _find(connection, provider.account_id, provider.slug)
            if before is None:
                await _check_room(connection, provider.account_id)
                await connection.execute(insert(CUSTOM_PROVIDERS).values(**_row(provider)))
                return provider, await GENERATION.advance(connection)
            after = replace(provider, created_at=before.created_at)
            if replace(after, updated_at=before.updated_at) == before:
                return before, None
            statement = update(CUSTOM_PROVIDERS).where(_is(provider.account_id, provider.slug))
            await connection.execute(statement.values(**_row(after)))
            return after, await GENERATION.advance(connection)

        def tell(result: tuple[CustomProvider, int | None]) -> None:
            if result[1] is not None:
                then(result[1], provider.account_id)

        return (await self._database.change(work, tell))[0]

    async def delete(self, account_id: str, slug: str, *, then: Callable[[int, str], None]) -> None:
        """Delete a provider."""

        async def work(connection: AsyncConnection) -> int:
            done = await connection.execute(delete(CUSTOM_PROVIDERS).where(_is(account_id, slug)))
            if not done.rowcount:
                raise no_such_provider(slug)
            return await GENERATION.advance(connection)

        await self._database.change(work, lambda generation: then(generation, account_id))


def _is(account_id: str, slug: str) -> Any:
    return (CUSTOM_PROVIDERS.c.account_id == account_id) & (CUSTOM_PROVIDERS.c.slug == slug)


async def _find(connection: AsyncConnection, account_id: str, slug: str) -> CustomProvider | None:
    query = select(CUSTOM_PROVIDERS).where(_is(account_id, slug))
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else _provider(row)


async def _check_room(connection: AsyncConnection, account_id: str) -> None:
    query = select(func.count()).select_from(CUSTOM_PROVIDERS)
    count = await connection.execute(query.where(CUSTOM_PROVIDERS.c.account_id == account_id))
    if count.scalar_one() >= MOST_PROVIDERS:
        raise too_many()


def _row(provider: CustomProvider) -> dict[str, Any]:
    document = {
        "base_url": provider.base_url,
        "name": provider.name,
        "headers": [[name, value.decode("latin-1")] for name, value in provider.headers],
        "enabled": provider.enabled,
    }
    return {
        "account_id": provider.account_id,
        "slug": provider.slug,
        "document": json.dumps(document),
        "created_at_us": microseconds(provider.created_at),
        "updated_at_us": microseconds(provider.updated_at),
    }


def _provider(row: Any) -> CustomProvider:
    document = json.loads(row["document"])
    return CustomProvider(
        account_id=row["account_id"],
        slug=row["slug"],
        base_url=document["base_url"],
        name=document.get("name", ""),
        headers=tuple((name, value.encode("latin-1")) for name, value in document.get("headers", ())),
        enabled=document.get("enabled", False),
        created_at=moment(row["created_at_us"]),
        updated_at=moment(row["updated_at_us"]),
    )
