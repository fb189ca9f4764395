"""Dynamic routes in a database, through SQLAlchemy Core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update

from kit.audit import Change
from kit.moment import microseconds, moment
from services.router.core.audit_view import route_view
from services.router.core.gateway import is_gateway_id, not_found
from services.router.core.page import is_uuid
from services.router.core.route import (
    MOST_DEPLOYMENTS,
    MOST_ROUTES,
    MOST_VERSIONS,
    Route,
    RouteDeployment,
    RouteVersion,
    name_taken,
    no_such_route,
    no_such_version,
    too_many_routes,
    too_many_versions,
)
from services.router.tables import GATEWAYS, ROUTE_DEPLOYMENTS, ROUTE_VERSIONS, ROUTES
from services.router.transaction import carry_out

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Select, Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from kit.database import Database
    from services.router.core.page import Page
    from services.router.store import By, RouteKey

__all__ = ["SqlRouteStore", "routes_of"]


class SqlRouteStore:
    """
    A `RouteStore` in a database.

    Args:
        database: Has the tables of `tables`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, route: Route, by: By) -> Route:
        """Add a route with its version and its deployment, and return it."""

        async def work(connection: AsyncConnection) -> tuple[Route, Sequence[Change]]:
            await _check_gateway(connection, route.account_id, route.gateway_id)
            await _check_name(connection, route.account_id, route.gateway_id, route.name)
            if await _count(connection, ROUTES, _in(route.account_id, route.gateway_id)) >= MOST_ROUTES:
                raise too_many_routes()
            await connection.execute(insert(ROUTES).values(**_values(route)))
            await _add_version(connection, route.id, route.version)
            await _add_deployment(connection, route.id, route.deployment)
            return route, [_change("create", None, route)]

        return await carry_out(self._database, route.account_id, by, work)

    async def page(self, account_id: str, gateway_id: str, page: Page) -> tuple[list[Route], int]:
        """Return a part of a gateway's routes, newest first, and how many there are in all."""
        async with self._database.read() as connection:
            await _check_gateway(connection, account_id, gateway_id)
            total = await _count(connection, ROUTES, _in(account_id, gateway_id))
            return await routes_of(connection, account_id, gateway_id, page), total

    async def get(self, key: RouteKey) -> Route:
        """Return a route."""
        async with self._database.read() as connection:
            return await _get(connection, key)

    async def find(self, account_id: str, gateway_id: str, name: str) -> Route | None:
        """Return a route by its name."""
        query = _routes().where(_in(account_id, gateway_id), ROUTES.c.name == name)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().first()
        return None if row is None else _route(row)

    async def rename(self, key: RouteKey, name: str, by: By) -> Route:
        """Give a route another name and return it."""

        async def work(connection: AsyncConnection) -> tuple[Route, Sequence[Change]]:
            before = await _get(connection, key)
            if before.name == name:
                return before, []
            await _check_name(connection, key.account_id, key.gateway_id, name)
            values = {"name": name, "updated_at_us": microseconds(by.at)}
            await connection.execute(update(ROUTES).where(ROUTES.c.id == key.route_id).values(**values))
            after = await _get(connection, key)
            return after, [_change("update", before, after)]

        return await carry_out(self._database, key.account_id, by, work)

    async def delete(self, key: RouteKey, by: By) -> Route:
        """Delete a route with its versions and return it as it was."""

        async def work(connection: AsyncConnection) -> tuple[Route, Sequence[Change]]:
            before = await _get(connection, key)
            await connection.execute(delete(ROUTES).where(ROUTES.c.id == key.route_id))
            return before, [_change("delete", before, None)]

        return await carry_out(self._database, key.account_id, by, work)

    async def add_version(self, key: RouteKey, version: RouteVersion, by: By) -> Route:
        """Add a version without deploying it, and return the route."""

        async def work(connection: AsyncConnection) -> tuple[Route, Sequence[Change]]:
            route = await _get(connection, key)
            if await _count(connection, ROUTE_VERSIONS, _of(ROUTE_VERSIONS, key)) >= MOST_VERSIONS:
                raise too_many_versions()
            await _add_version(connection, route.id, version)
            return route, [_change("update", route, route, added=version)]

        return await carry_out(self._database, key.account_id, by, work)

    async def version(self, key: RouteKey, version_id: str) -> tuple[Route, RouteVersion]:
        """Return a route and one of its versions."""
        async with self._database.read() as connection:
            route = await _get(connection, key)
            return route, await _version(connection, route, version_id)

    async def versions(self, key: RouteKey, page: Page) -> tuple[list[RouteVersion], int]:
        """Return a part of a route's versions, newest first, and how many there are in all."""
        query = _newest(select(ROUTE_VERSIONS).where(_of(ROUTE_VERSIONS, key)), ROUTE_VERSIONS, page)
        async with self._database.read() as connection:
            route = await _get(connection, key)
            total = await _count(connection, ROUTE_VERSIONS, _of(ROUTE_VERSIONS, key))
            rows = (await connection.execute(query)).mappings()
            return [_version_of(row, active=row["id"] == route.version.id) for row in rows], total

    async def deploy(self, key: RouteKey, deployment: RouteDeployment, by: By) -> Route:
        """Let a version answer from now on, and return the route."""

        async def work(connection: AsyncConnection) -> tuple[Route, Sequence[Change]]:
            before = await _get(connection, key)
            version = await _version(connection, before, deployment.version_id)
            await _add_deployment(connection, before.id, deployment)
            values = {
                "version_id": version.id,
                "deployment_id": deployment.id,
                "updated_at_us": microseconds(by.at),
            }
            await connection.execute(update(ROUTES).where(ROUTES.c.id == before.id).values(**values))
            after = await _get(connection, key)
            return after, [_change("deploy", before, after)]

        return await carry_out(self._database, key.account_id, by, work)

    async def deployments(self, key: RouteKey, page: Page) -> tuple[list[RouteDeployment], int]:
        """Return a part of a route's deployments, newest first, and how many there are in all."""
        wanted = _of(ROUTE_DEPLOYMENTS, key)
        query = _newest(select(ROUTE_DEPLOYMENTS).where(wanted), ROUTE_DEPLOYMENTS, page)
        async with self._database.read() as connection:
            await _get(connection, key)
            total = await _count(connection, ROUTE_DEPLOYMENTS, wanted)
            return [_deployment_of(row) for row in (await connection.execute(query)).mappings()], total


async def routes_of(
    connection: AsyncConnection, account_id: str, gateway_id: str, page: Page | None = None
) -> list[Route]:
    """Return routes of a gateway, newest first: a part of them, or all."""
    query = _routes().where(_in(account_id, gateway_id))
    query = query.order_by(ROUTES.c.id.desc()) if page is None else _newest(query, ROUTES, page)
    return [_route(row) for row in (await connection.execute(query)).mappings()]


def _in(account_id: str, gateway_id: str) -> Any:
    return (ROUTES.c.account_id == account_id) & (ROUTES.c.gateway_id == gateway_id)


def _of(table: Table, key: RouteKey) -> Any:
    return table.c.route_id == key.route_id


def _newest(query: Select[Any], table: Table, page: Page) -> Select[Any]:
    # Ids are made in the order of time.
    return query.order_by(table.c.id.desc()).limit(page.size).offset(page.offset)


def _routes() -> Select[Any]:
    """Return the query for routes with what answers."""
    return (
        select(
            ROUTES,
            ROUTE_VERSIONS.c.elements,
            ROUTE_VERSIONS.c.comment,
            ROUTE_VERSIONS.c.created_at_us.label("version_created_at_us"),
            ROUTE_DEPLOYMENTS.c.created_at_us.label("deployment_created_at_us"),
        )
        .join(ROUTE_VERSIONS, ROUTE_VERSIONS.c.id == ROUTES.c.version_id)
        .join(ROUTE_DEPLOYMENTS, ROUTE_DEPLOYMENTS.c.id == ROUTES.c.deployment_id)
    )


async def _check_gateway(connection: AsyncConnection, account_id: str, gateway_id: str) -> None:
    if is_gateway_id(gateway_id):
        columns = GATEWAYS.c
        query = select(columns.id).where(columns.account_id == account_id, columns.id == gateway_id)
        if (await connection.execute(query)).first() is not None:
            return
    raise not_found(gateway_id)


async def _check_name(connection: AsyncConnection, account_id: str, gateway_id: str, name: str) -> None:
    query = select(ROUTES.c.id).where(_in(account_id, gateway_id), ROUTES.c.name == name)
    if (await connection.execute(query)).first() is not None:
        raise name_taken(name)


async def _count(connection: AsyncConnection, table: Table, wanted: Any) -> int:
    query = select(func.count()).select_from(table).where(wanted)
    return int((await connection.execute(query)).scalar_one())


async def _get(connection: AsyncConnection, key: RouteKey) -> Route:
    await _check_gateway(connection, key.account_id, key.gateway_id)
    if is_uuid(key.route_id):
        query = _routes().where(_in(key.account_id, key.gateway_id), ROUTES.c.id == key.route_id)
        row = (await connection.execute(query)).mappings().first()
        if row is not None:
            return _route(row)
    raise no_such_route(key.route_id)


async def _version(connection: AsyncConnection, route: Route, version_id: str) -> RouteVersion:
    if is_uuid(version_id):
        columns = ROUTE_VERSIONS.c
        query = select(ROUTE_VERSIONS).where(columns.route_id == route.id, columns.id == version_id)
        row = (await connection.execute(query)).mappings().first()
        if row is not None:
            return _version_of(row, active=version_id == route.version.id)
    raise no_such_version(version_id)


async def _add_version(connection: AsyncConnection, route_id: str, version: RouteVersion) -> None:
    await connection.execute(
        insert(ROUTE_VERSIONS).values(
            id=version.id,
            route_id=route_id,
            elements=version.elements,
            comment=version.comment,
            created_at_us=microseconds(version.created_at),
        )
    )


async def _add_deployment(connection: AsyncConnection, route_id: str, deployment: RouteDeployment) -> None:
    await connection.execute(
        insert(ROUTE_DEPLOYMENTS).values(
            id=deployment.id,
            route_id=route_id,
            version_id=deployment.version_id,
            created_at_us=microseconds(deployment.created_at),
        )
    )
    columns = ROUTE_DEPLOYMENTS.c
    kept = select(columns.id).where(columns.route_id == route_id).order_by(columns.id.desc())
    kept = kept.limit(MOST_DEPLOYMENTS)
    # Where clocks differ, the newest may look like the oldest, and without it the route would not be there.
    surplus = delete(ROUTE_DEPLOYMENTS).where(
        columns.route_id == route_id, columns.id.not_in(kept), columns.id != deployment.id
    )
    await connection.execute(surplus)


def _change(
    action: str, before: Route | None, after: Route | None, *, added: RouteVersion | None = None
) -> Change:
    found = before or after
    assert found is not None
    return Change(
        account_id=found.account_id,
        action=action,
        resource_type="route",
        resource_id=found.id,
        gateway_id=found.gateway_id,
        old=None if before is None else route_view(before),
        new=None if after is None else route_view(after, added),
    )


def _values(route: Route) -> dict[str, Any]:
    return {
        "id": route.id,
        "account_id": route.account_id,
        "gateway_id": route.gateway_id,
        "name": route.name,
        "version_id": route.version.id,
        "deployment_id": route.deployment.id,
        "created_at_us": microseconds(route.created_at),
        "updated_at_us": microseconds(route.updated_at),
    }


def _route(row: Mapping[Any, Any]) -> Route:
    return Route(
        id=row["id"],
        account_id=row["account_id"],
        gateway_id=row["gateway_id"],
        name=row["name"],
        created_at=moment(row["created_at_us"]),
        updated_at=moment(row["updated_at_us"]),
        version=RouteVersion(
            id=row["version_id"],
            elements=row["elements"],
            active=True,
            comment=row["comment"],
            created_at=moment(row["version_created_at_us"]),
        ),
        deployment=RouteDeployment(
            id=row["deployment_id"],
            version_id=row["version_id"],
            created_at=moment(row["deployment_created_at_us"]),
        ),
    )


def _version_of(row: Mapping[Any, Any], *, active: bool) -> RouteVersion:
    return RouteVersion(
        id=row["id"],
        elements=row["elements"],
        active=active,
        comment=row["comment"],
        created_at=moment(row["created_at_us"]),
    )


def _deployment_of(row: Mapping[Any, Any]) -> RouteDeployment:
    return RouteDeployment(
        id=row["id"], version_id=row["version_id"], created_at=moment(row["created_at_us"])
    )
