"""Gateways in SQLite, through SQLAlchemy Core."""

from __future__ import annotations

import dataclasses
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from kit.moment import microseconds, moment
from kit.sqlite import open_database
from services.router.core.gateway import (
    Backoff,
    DisconnectPolicy,
    Gateway,
    GatewaySettings,
    Retry,
    Timeouts,
    changed,
    not_found,
)
from services.router.custom_store_sqlite import SqliteCustomProviderStore
from services.router.tables import GATEWAYS, GENERATION, METADATA

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from kit.clock import Clock
    from kit.sqlite import Database

__all__ = ["SqliteGatewayStore", "open_store"]


@asynccontextmanager
async def open_store(path: Path, *, clock: Clock, log: Any) -> AsyncIterator[SqliteGatewayStore]:
    """
    Open the store in a file, making it where it is missing.

    Raises:
        DatabaseUnusableError: The file cannot be used.
    """
    async with open_database(path, METADATA, name="router", log=log) as database:
        async with database.write() as connection:
            await GENERATION.begin(connection, now_s=clock.now_s())
        yield SqliteGatewayStore(database)


class SqliteGatewayStore:
    """
    A `GatewayStore` in one SQLite file.

    Args:
        database: Has the tables of `tables`.

    Attributes:
        custom_providers: What else is in the file.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.custom_providers = SqliteCustomProviderStore(database)

    async def generation(self) -> int:
        """Return the generation of what is stored."""
        async with self._database.read() as connection:
            return await GENERATION.read(connection)

    async def find(self, account_id: str, gateway_id: str) -> tuple[Gateway | None, int]:
        """Return a gateway, and the generation that it was read at."""
        async with self._database.read() as connection:
            generation = await GENERATION.read(connection)
            row = await _row(connection, account_id, gateway_id)
        return (None if row is None else _gateway(row)), generation

    async def ensure(self, gateway: Gateway) -> tuple[Gateway, int]:
        """Add a gateway unless there is one of its name; return the one that there is."""

        async def work(connection: AsyncConnection) -> tuple[Gateway, int]:
            generation = await GENERATION.read(connection)
            row = await _row(connection, gateway.account_id, gateway.id)
            if row is not None:
                return _gateway(row), generation
            await connection.execute(
                insert(GATEWAYS).values(
                    account_id=gateway.account_id,
                    id=gateway.id,
                    settings=json.dumps(dataclasses.asdict(gateway.settings)),
                    created_at_us=microseconds(gateway.created_at),
                    updated_at_us=microseconds(gateway.updated_at),
                )
            )
            return gateway, generation

        return await self._database.change(work)

    async def change(
        self,
        account_id: str,
        gateway_id: str,
        values: Mapping[tuple[str, ...], object],
        *,
        at: datetime,
        then: Callable[[int, str], None],
    ) -> Gateway:
        """Change settings of a gateway and return it."""

        async def work(connection: AsyncConnection) -> tuple[Gateway, int | None]:
            row = await _row(connection, account_id, gateway_id)
            if row is None:
                raise not_found(gateway_id)
            before = _gateway(row)
            settings = changed(before.settings, values)
            if settings == before.settings:
                return before, None
            document = _overlaid(json.loads(row["settings"]), dataclasses.asdict(settings))
            statement = update(GATEWAYS).where(_is(account_id, gateway_id))
            statement = statement.values(settings=json.dumps(document), updated_at_us=microseconds(at))
            await connection.execute(statement)
            after = dataclasses.replace(before, settings=settings, updated_at=at)
            return after, await GENERATION.advance(connection)

        def tell(result: tuple[Gateway, int | None]) -> None:
            if result[1] is not None:
                then(result[1], account_id)

        return (await self._database.change(work, tell))[0]

    async def check(self) -> None:
        """Raise when the store does not answer."""
        await self._database.check()


def _is(account_id: str, gateway_id: str) -> Any:
    return (GATEWAYS.c.account_id == account_id) & (GATEWAYS.c.id == gateway_id)


async def _row(connection: AsyncConnection, account_id: str, gateway_id: str) -> Any:
    query = select(GATEWAYS).where(_is(account_id, gateway_id))
    return (await connection.execute(query)).mappings().first()


def _gateway(row: Any) -> Gateway:
    document = _known(GatewaySettings, json.loads(row["settings"]))
    return Gateway(
        account_id=row["account_id"],
        id=row["id"],
        settings=GatewaySettings(**document),
        created_at=moment(row["created_at_us"]),
        updated_at=moment(row["updated_at_us"]),
    )


_READERS: dict[str, Callable[[Any], object]] = {
    "timeouts": lambda document: Timeouts(**_known(Timeouts, document)),
    "retry": lambda document: Retry(**_known(Retry, document)),
    "backoff": Backoff,
    "on_disconnect": DisconnectPolicy,
}


def _known(kind: type, document: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    return {
        name: _READERS[name](value) if name in _READERS else value
        for name, value in document.items()
        if name in names
    }


def _overlaid(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    result = {**old, **new}
    for name, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(name), dict):
            result[name] = {**old[name], **value}
    return result
