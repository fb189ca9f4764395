"""Providers that accounts named themselves, in a database, through SQLAlchemy Core."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, or_, select, update

from kit.audit import Change
from kit.moment import microseconds, moment
from services.router.core.audit_view import custom_provider_view
from services.router.core.custom_provider import (
    MOST_PROVIDERS,
    CustomProvider,
    Order,
    Query,
    no_such_provider,
    slug_taken,
    too_many,
)
from services.router.core.page import is_uuid
from services.router.tables import CUSTOM_PROVIDERS
from services.router.transaction import carry_out

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from kit.database import Database
    from services.router.store import By

__all__ = ["SqlCustomProviderStore"]

_COLUMNS = CUSTOM_PROVIDERS.c
_ORDERS = {
    Order.SLUG: _COLUMNS.slug,
    Order.NAME: _COLUMNS.name,
    Order.CREATE_TIME: _COLUMNS.created_at_us,
    Order.POSITION: _COLUMNS.position,
}


class SqlCustomProviderStore:
    """
    A `CustomProviderStore` in a database.

    Args:
        database: Has the tables of `tables`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, account_id: str, slug: str) -> CustomProvider | None:
        """Return a provider by its slug."""
        async with self._database.read() as connection:
            return await _find(connection, account_id, slug)

    async def slugs(self, account_id: str) -> frozenset[str]:
        """Return the slugs of an account's providers."""
        query = select(_COLUMNS.slug).where(_COLUMNS.account_id == account_id)
        async with self._database.read() as connection:
            return frozenset((await connection.execute(query)).scalars())

    async def get(self, account_id: str, provider_id: str) -> CustomProvider:
        """Return a provider by its id."""
        async with self._database.read() as connection:
            return await _get(connection, account_id, provider_id)

    async def page(self, account_id: str, query: Query) -> tuple[list[CustomProvider], int]:
        """Return a part of an account's providers, and how many satisfy the query in all."""
        wanted = [_COLUMNS.account_id == account_id]
        if query.enabled is not None:
            wanted.append(_COLUMNS.enabled.is_(query.enabled))
        if query.beta is not None:
            wanted.append(_COLUMNS.beta.is_(query.beta))
        if query.search:
            text = query.search.casefold()
            found_in = (_COLUMNS.folded, _COLUMNS.id)
            wanted.append(or_(*(column.contains(text, autoescape=True) for column in found_in)))
        # The slug, which nobody else has, makes every order a whole one.
        orders = [_ORDERS[query.order], _COLUMNS.slug]
        found = select(CUSTOM_PROVIDERS).where(*wanted)
        found = found.order_by(*(order.desc() if query.descending else order for order in orders))
        found = found.limit(query.page.size).offset(query.page.offset)
        count = select(func.count()).select_from(CUSTOM_PROVIDERS).where(*wanted)
        async with self._database.read() as connection:
            total = (await connection.execute(count)).scalar_one()
            return [_provider(row) for row in (await connection.execute(found)).mappings()], total

    async def create(self, provider: CustomProvider, by: By) -> CustomProvider:
        """Add a provider and return it."""

        async def work(connection: AsyncConnection) -> tuple[CustomProvider, Sequence[Change]]:
            if await _find(connection, provider.account_id, provider.slug) is not None:
                raise slug_taken(provider.slug)
            await _check_room(connection, provider.account_id)
            await connection.execute(insert(CUSTOM_PROVIDERS).values(**_values(provider)))
            return provider, [_change("create", None, provider)]

        return await carry_out(self._database, provider.account_id, by, work)

    async def change(
        self, account_id: str, provider_id: str, edit: Callable[[CustomProvider], CustomProvider], by: By
    ) -> CustomProvider:
        """Change a provider and return it."""

        async def work(connection: AsyncConnection) -> tuple[CustomProvider, Sequence[Change]]:
            before = await _get(connection, account_id, provider_id)
            after = edit(before)
            if after == before:
                return before, []
            if after.slug != before.slug and await _find(connection, account_id, after.slug) is not None:
                raise slug_taken(after.slug)
            after = replace(after, updated_at=by.at)
            values = _values(after)
            # What only a newer release knows stays.
            kept = json.loads(await _document(connection, provider_id))
            values["document"] = json.dumps({**kept, **json.loads(values["document"])})
            statement = update(CUSTOM_PROVIDERS).where(_COLUMNS.id == provider_id)
            await connection.execute(statement.values(**values))
            return after, [_change("update", before, after)]

        return await carry_out(self._database, account_id, by, work)

    async def delete(self, account_id: str, provider_id: str, by: By) -> CustomProvider:
        """Delete a provider and return it as it was."""

        async def work(connection: AsyncConnection) -> tuple[CustomProvider, Sequence[Change]]:
            before = await _get(connection, account_id, provider_id)
            await connection.execute(delete(CUSTOM_PROVIDERS).where(_COLUMNS.id == provider_id))
            return before, [_change("delete", before, None)]

        return await carry_out(self._database, account_id, by, work)


async def _find(connection: AsyncConnection, account_id: str, slug: str) -> CustomProvider | None:
    query = select(CUSTOM_PROVIDERS).where(_COLUMNS.account_id == account_id, _COLUMNS.slug == slug)
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else _provider(row)


async def _get(connection: AsyncConnection, account_id: str, provider_id: str) -> CustomProvider:
    if not is_uuid(provider_id):
        raise no_such_provider(provider_id)
    query = select(CUSTOM_PROVIDERS).where(_COLUMNS.id == provider_id, _COLUMNS.account_id == account_id)
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        raise no_such_provider(provider_id)
    return _provider(row)


async def _document(connection: AsyncConnection, provider_id: str) -> str:
    query = select(_COLUMNS.document).where(_COLUMNS.id == provider_id)
    return str((await connection.execute(query)).scalar_one())


async def _check_room(connection: AsyncConnection, account_id: str) -> None:
    query = select(func.count()).select_from(CUSTOM_PROVIDERS)
    count = await connection.execute(query.where(_COLUMNS.account_id == account_id))
    if count.scalar_one() >= MOST_PROVIDERS:
        raise too_many()


def _change(action: str, before: CustomProvider | None, after: CustomProvider | None) -> Change:
    found = before or after
    assert found is not None
    return Change(
        account_id=found.account_id,
        action=action,
        resource_type="custom_provider",
        resource_id=found.id,
        gateway_id="",
        old=None if before is None else custom_provider_view(before),
        new=None if after is None else custom_provider_view(after),
    )


def _values(provider: CustomProvider) -> dict[str, Any]:
    document = {
        "base_url": provider.base_url,
        "headers": [[name, value.decode("latin-1")] for name, value in provider.headers],
        "description": provider.description,
        "link": provider.link,
        "curl_example": provider.curl_example,
        "js_example": provider.js_example,
    }
    return {
        "id": provider.id,
        "account_id": provider.account_id,
        "slug": provider.slug,
        "name": provider.name,
        "folded": f"{provider.slug}\n{provider.name.casefold()}",
        "enabled": provider.enabled,
        "beta": provider.beta,
        "position": provider.position,
        "document": json.dumps(document),
        "created_at_us": microseconds(provider.created_at),
        "updated_at_us": microseconds(provider.updated_at),
    }


def _provider(row: Any) -> CustomProvider:
    document = json.loads(row["document"])
    return CustomProvider(
        account_id=row["account_id"],
        id=row["id"],
        slug=row["slug"],
        base_url=document["base_url"],
        name=row["name"],
        headers=tuple((name, value.encode("latin-1")) for name, value in document.get("headers", ())),
        enabled=row["enabled"],
        created_at=moment(row["created_at_us"]),
        updated_at=moment(row["updated_at_us"]),
        beta=row["beta"],
        description=document.get("description", ""),
        link=document.get("link", ""),
        curl_example=document.get("curl_example", ""),
        js_example=document.get("js_example", ""),
        position=row["position"],
    )
