"""Gateways in a database, through SQLAlchemy Core."""

from __future__ import annotations

import dataclasses
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update

from kit.audit import Actor, Change
from kit.database import open_database
from kit.moment import microseconds, moment
from services.router.core.audit_view import gateway_view, route_view
from services.router.core.documents import Documents
from services.router.core.gateway import (
    MOST_GATEWAYS,
    Gateway,
    ManagedGateway,
    exists,
    is_gateway_id,
    not_found,
    too_many,
)
from services.router.core.settings import (
    Backoff,
    DisconnectPolicy,
    GatewaySettings,
    LogStrategy,
    Retry,
    Technique,
    Timeouts,
)
from services.router.custom_store_sql import SqlCustomProviderStore
from services.router.route_store_sql import SqlRouteStore, routes_of
from services.router.tables import AUDIT, GATEWAYS, GENERATION, METADATA, MIGRATIONS
from services.router.transaction import carry_out

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from kit.clock import Clock
    from kit.database import Database, Location
    from services.router.core.page import Page
    from services.router.store import By

__all__ = ["SqlGatewayStore", "open_store"]

# What plans need.
_FOR_PLANS = tuple(column for column in GATEWAYS.c if column.name != "documents")


@asynccontextmanager
async def open_store(location: Location, *, clock: Clock, log: Any) -> AsyncIterator[SqlGatewayStore]:
    """
    Open the store, making it where it is missing.

    Raises:
        DatabaseUnusableError: It cannot be used.
    """
    async with open_database(
        location, METADATA, name="router", log=log, migrations=MIGRATIONS, whole=True
    ) as database:
        async with database.write() as connection:
            await GENERATION.begin(connection, now_s=clock.now_s())
        yield SqlGatewayStore(database)


class SqlGatewayStore:
    """
    A `GatewayStore` in a database.

    Args:
        database: Has the tables of `tables`.

    Attributes:
        database: The same.
        custom_providers: What else is in it.
        routes: What else is in it.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.custom_providers = SqlCustomProviderStore(database)
        self.routes = SqlRouteStore(database)

    async def generation(self) -> int:
        """Return the generation of what is stored."""
        async with self.database.read() as connection:
            return await GENERATION.read(connection)

    async def find(self, account_id: str, gateway_id: str) -> tuple[Gateway | None, int]:
        """Return a gateway as far as plans need it, and the generation that it was read at."""
        query = select(*_FOR_PLANS).where(_is(account_id, gateway_id))
        async with self.database.read() as connection:
            generation = await GENERATION.read(connection)
            row = (await connection.execute(query)).mappings().first()
        return (None if row is None else _gateway(row)), generation

    async def find_managed(self, account_id: str, gateway_id: str) -> tuple[ManagedGateway | None, int]:
        """Return a gateway with all its settings, and the generation that it was read at."""
        async with self.database.read() as connection:
            generation = await GENERATION.read(connection)
            row = await _row(connection, account_id, gateway_id)
            return (None if row is None else _managed(row)), generation

    async def ensure(self, gateway: Gateway, actor: Actor) -> tuple[Gateway, int]:
        """Add a gateway unless there is one of its name; return the one that there is."""

        async def work(connection: AsyncConnection) -> tuple[Gateway, int]:
            generation = await GENERATION.hold(connection)
            row = await _row(connection, gateway.account_id, gateway.id)
            if row is not None:
                return _gateway(row), generation
            made = ManagedGateway(gateway=gateway, documents=Documents())
            await connection.execute(insert(GATEWAYS).values(**_values(made)))
            await AUDIT.write(connection, _change("create", None, made), actor, at=gateway.created_at)
            return gateway, generation

        return await self.database.change(work)

    async def get(self, account_id: str, gateway_id: str) -> ManagedGateway:
        """Return a gateway."""
        async with self.database.read() as connection:
            return _managed(await _existing(connection, account_id, gateway_id))

    async def page(
        self, account_id: str, page: Page, *, search: str = "", ids: Collection[str] = ()
    ) -> tuple[list[ManagedGateway], int]:
        """Return a part of an account's gateways, by id, and how many there are in all."""
        wanted = [GATEWAYS.c.account_id == account_id]
        if search:
            # Ids have no capitals.
            wanted.append(GATEWAYS.c.id.contains(search.lower(), autoescape=True))
        if ids:
            wanted.append(GATEWAYS.c.id.in_([each for each in ids if is_gateway_id(each)]))
        query = select(GATEWAYS).where(*wanted).order_by(GATEWAYS.c.id).limit(page.size).offset(page.offset)
        count = select(func.count()).select_from(GATEWAYS).where(*wanted)
        async with self.database.read() as connection:
            total = (await connection.execute(count)).scalar_one()
            return [_managed(row) for row in (await connection.execute(query)).mappings()], total

    async def create(self, gateway: ManagedGateway, by: By) -> ManagedGateway:
        """Add a gateway and return it."""
        account_id, gateway_id = gateway.gateway.account_id, gateway.gateway.id

        async def work(connection: AsyncConnection) -> tuple[ManagedGateway, Sequence[Change]]:
            if await _row(connection, account_id, gateway_id) is not None:
                raise exists(gateway_id)
            count = select(func.count()).select_from(GATEWAYS).where(GATEWAYS.c.account_id == account_id)
            if (await connection.execute(count)).scalar_one() >= MOST_GATEWAYS:
                raise too_many()
            await connection.execute(insert(GATEWAYS).values(**_values(gateway)))
            return gateway, [_change("create", None, gateway)]

        return await carry_out(self.database, account_id, by, work)

    async def replace(
        self, account_id: str, gateway_id: str, settings: GatewaySettings, documents: Documents, by: By
    ) -> ManagedGateway:
        """Replace all settings of a gateway and return it."""

        async def work(connection: AsyncConnection) -> tuple[ManagedGateway, Sequence[Change]]:
            row = await _existing(connection, account_id, gateway_id)
            before = _managed(row)
            if (settings, documents) == (before.gateway.settings, before.documents):
                return before, []
            gateway = dataclasses.replace(before.gateway, settings=settings, updated_at=by.at)
            after = ManagedGateway(gateway=gateway, documents=documents)
            values = _values(after)
            for name in ("settings", "documents"):
                values[name] = json.dumps(_overlaid(json.loads(row[name]), json.loads(values[name])))
            await connection.execute(update(GATEWAYS).where(_is(account_id, gateway_id)).values(**values))
            return after, [_change("update", before, after)]

        return await carry_out(self.database, account_id, by, work)

    async def delete(self, account_id: str, gateway_id: str, by: By) -> ManagedGateway:
        """Delete a gateway with its routes and return it as it was."""

        async def work(connection: AsyncConnection) -> tuple[ManagedGateway, Sequence[Change]]:
            before = _managed(await _existing(connection, account_id, gateway_id))
            changes = [
                Change(
                    account_id=account_id,
                    action="delete",
                    resource_type="route",
                    resource_id=route.id,
                    gateway_id=gateway_id,
                    old=route_view(route),
                    new=None,
                )
                for route in await routes_of(connection, account_id, gateway_id)
            ]
            await connection.execute(delete(GATEWAYS).where(_is(account_id, gateway_id)))
            return before, [*changes, _change("delete", before, None)]

        return await carry_out(self.database, account_id, by, work)

    async def write_down(self, change: Change, by: By) -> None:
        """Add an entry to the audit log about something that is kept elsewhere."""
        await self.database.change(lambda connection: AUDIT.write(connection, change, by.actor, at=by.at))

    async def check(self) -> None:
        """Raise when the store does not answer."""
        await self.database.check()


def _is(account_id: str, gateway_id: str) -> Any:
    return (GATEWAYS.c.account_id == account_id) & (GATEWAYS.c.id == gateway_id)


async def _row(connection: AsyncConnection, account_id: str, gateway_id: str) -> Any:
    query = select(GATEWAYS).where(_is(account_id, gateway_id))
    return (await connection.execute(query)).mappings().first()


async def _existing(connection: AsyncConnection, account_id: str, gateway_id: str) -> Any:
    row = await _row(connection, account_id, gateway_id) if is_gateway_id(gateway_id) else None
    if row is None:
        raise not_found(gateway_id)
    return row


def _change(action: str, before: ManagedGateway | None, after: ManagedGateway | None) -> Change:
    found = before or after
    assert found is not None
    return Change(
        account_id=found.gateway.account_id,
        action=action,
        resource_type="gateway",
        resource_id=found.gateway.id,
        gateway_id=found.gateway.id,
        old=None if before is None else gateway_view(before),
        new=None if after is None else gateway_view(after),
    )


def _values(found: ManagedGateway) -> dict[str, Any]:
    gateway = found.gateway
    return {
        "account_id": gateway.account_id,
        "id": gateway.id,
        "internal_id": gateway.internal_id,
        "settings": json.dumps(dataclasses.asdict(gateway.settings)),
        "documents": json.dumps(dataclasses.asdict(found.documents)),
        "created_at_us": microseconds(gateway.created_at),
        "updated_at_us": microseconds(gateway.updated_at),
    }


def _managed(row: Any) -> ManagedGateway:
    documents = Documents(**_known(Documents, json.loads(row["documents"])))
    return ManagedGateway(gateway=_gateway(row), documents=documents)


def _gateway(row: Any) -> Gateway:
    return Gateway(
        account_id=row["account_id"],
        id=row["id"],
        internal_id=row["internal_id"],
        settings=GatewaySettings(**_known(GatewaySettings, json.loads(row["settings"]))),
        created_at=moment(row["created_at_us"]),
        updated_at=moment(row["updated_at_us"]),
    )


_READERS: dict[str, Callable[[Any], object]] = {
    "timeouts": lambda document: Timeouts(**_known(Timeouts, document)),
    "retry": lambda document: Retry(**_known(Retry, document)),
    "backoff": lambda value: None if value is None else Backoff(value),
    "on_disconnect": DisconnectPolicy,
    "rate_limit_technique": Technique,
    "log_management_strategy": LogStrategy,
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
