"""Dynamic routes in every kind of database."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import structlog
from sqlalchemy import func, select

from kit.audit import Actor, AuditEntry, AuditQuery
from kit.clock import SystemClock
from kit.errors import GatewayError, Reason
from kit.ids import uuid7
from services.router.core.documents import Documents
from services.router.core.gateway import Gateway, ManagedGateway
from services.router.core.page import Page
from services.router.core.route import Route, RouteDeployment, RouteVersion
from services.router.core.settings import GatewaySettings
from services.router.store import By, RouteKey
from services.router.store_sql import open_store
from services.router.tables import AUDIT, ROUTE_DEPLOYMENTS, ROUTE_VERSIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.database import Location
    from services.router.store_sql import SqlGatewayStore as Store

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ELEMENTS = '[ {"id": "ü", "\\u0000": null} ]'


@pytest.fixture
async def store(database_location: Location) -> AsyncIterator[Store]:
    async with open_store(database_location, clock=SystemClock(), log=structlog.get_logger()) as found:
        for account_id, gateway_id in (("acme", "default"), ("acme", "other"), ("elsewhere", "default")):
            gateway = Gateway(
                account_id=account_id,
                id=gateway_id,
                internal_id=uuid7(),
                settings=GatewaySettings(),
                created_at=NOW,
                updated_at=NOW,
            )
            await found.create(ManagedGateway(gateway=gateway, documents=Documents()), _by())
        yield found


@pytest.fixture
def told() -> list[tuple[int, str]]:
    """The generations and accounts that were told."""
    return []


def _by(told: list[tuple[int, str]] | None = None, at: datetime = NOW) -> By:
    actor = Actor(token_id="t1", interface="api")
    return By(actor=actor, at=at, then=lambda *event: None if told is None else told.append(event))


def _quiet() -> By:
    return By(actor=Actor(), at=LATER, then=lambda *_: pytest.fail("told"))


def _version(*, active: bool = False, comment: str = "") -> RouteVersion:
    return RouteVersion(id=uuid7(), elements=ELEMENTS, active=active, comment=comment, created_at=NOW)


def _route(name: str = "support", gateway_id: str = "default", account_id: str = "acme") -> Route:
    version = _version(active=True)
    return Route(
        id=uuid7(),
        account_id=account_id,
        gateway_id=gateway_id,
        name=name,
        created_at=NOW,
        updated_at=NOW,
        version=version,
        deployment=RouteDeployment(id=uuid7(), version_id=version.id, created_at=NOW),
    )


def _key(route: Route) -> RouteKey:
    return RouteKey(account_id=route.account_id, gateway_id=route.gateway_id, route_id=route.id)


def _deployment(version: RouteVersion) -> RouteDeployment:
    return RouteDeployment(id=uuid7(), version_id=version.id, created_at=LATER)


async def _audit(store: Store) -> list[AuditEntry]:
    async with store.database.read() as connection:
        query = AuditQuery(account_id="acme", resource_type="route")
        return list(await AUDIT.page(connection, query))


async def test_a_route_is_kept_with_its_version_and_deployment(
    store: Store, told: list[tuple[int, str]]
) -> None:
    """Elements come back as they were sent, to the space; the account's plans become void."""
    before = await store.generation()
    route = await store.routes.create(_route(), _by(told))

    assert route == await store.routes.get(_key(route))
    assert ([route.version], 1) == await store.routes.versions(_key(route), Page())
    assert ([route.deployment], 1) == await store.routes.deployments(_key(route), Page())
    assert (route, route.version) == await store.routes.version(_key(route), route.version.id)
    assert [(before + 1, "acme")] == told


async def test_a_name_is_there_once_in_a_gateway(store: Store) -> None:
    """Neither a new route nor another name takes it; other gateways have their own."""
    await store.routes.create(_route(), _by())
    await store.routes.create(_route(gateway_id="other"), _by())
    await store.routes.create(_route(account_id="elsewhere"), _by())
    second = await store.routes.create(_route("second"), _by())
    for work in (
        store.routes.create(_route(), _quiet()),
        store.routes.rename(_key(second), "support", _quiet()),
    ):
        with pytest.raises(GatewayError) as caught:
            await work
        assert (Reason.CONFLICT, {"resource": "route", "param": "name"}) == (
            caught.value.reason,
            caught.value.metadata,
        )

    assert second == await store.routes.get(_key(second))


async def test_a_route_is_made_once(store: Store) -> None:
    """However many make it at the same time, one does, whole."""
    done = await asyncio.gather(
        *(store.routes.create(_route(), _by()) for _ in range(10)), return_exceptions=True
    )
    made = [each for each in done if isinstance(each, Route)]
    refused = [each.reason for each in done if isinstance(each, GatewayError)]

    assert [Reason.CONFLICT] * 9 == refused
    assert (made, 1) == await store.routes.page("acme", "default", Page())
    assert 1 == len(await _audit(store))


@pytest.mark.parametrize("gateway_id", ["nope", "", "a\x00b"])
async def test_a_route_needs_its_gateway(store: Store, gateway_id: str) -> None:
    """Where there is none, that is said first."""
    key = replace(_key(_route()), gateway_id=gateway_id)
    for work in (
        store.routes.create(_route(gateway_id=gateway_id), _quiet()),
        store.routes.page("acme", gateway_id, Page()),
        store.routes.get(key),
        store.routes.versions(key, Page()),
        store.routes.deployments(key, Page()),
    ):
        with pytest.raises(GatewayError) as caught:
            await work
        assert Reason.GATEWAY_NOT_FOUND == caught.value.reason


@pytest.mark.parametrize("wrong", ["another gateway", "another account", "an unknown id", "no id", "NUL"])
async def test_a_route_that_is_not_there(store: Store, wrong: str) -> None:
    """Each method says so, and nothing is told; those of others are not there either."""
    route = await store.routes.create(_route(), _by())
    changes: dict[str, dict[str, str]] = {
        "another gateway": {"gateway_id": "other"},
        "another account": {"account_id": "elsewhere"},
        "an unknown id": {"route_id": uuid7()},
        "no id": {"route_id": "support"},
        "NUL": {"route_id": "\x00"},
    }
    key = replace(_key(route), **changes[wrong])
    for work in (
        store.routes.get(key),
        store.routes.rename(key, "x", _quiet()),
        store.routes.delete(key, _quiet()),
        store.routes.add_version(key, _version(), _quiet()),
        store.routes.version(key, route.version.id),
        store.routes.versions(key, Page()),
        store.routes.deploy(key, _deployment(route.version), _quiet()),
        store.routes.deployments(key, Page()),
    ):
        with pytest.raises(GatewayError) as caught:
            await work
        assert (Reason.NOT_FOUND, "route") == (caught.value.reason, caught.value.metadata["resource"])


async def test_routes_are_listed_newest_first(store: Store) -> None:
    """In parts; the count is of all of the gateway's."""
    made = [await store.routes.create(_route(f"r{index}"), _by()) for index in range(3)]
    await store.routes.create(_route("r9", "other"), _by())

    assert (made[::-1], 3) == await store.routes.page("acme", "default", Page())
    assert ([made[1]], 3) == await store.routes.page("acme", "default", Page(size=1, offset=1))
    assert ([], 3) == await store.routes.page("acme", "default", Page(offset=3))


async def test_a_route_gets_another_name(store: Store, told: list[tuple[int, str]]) -> None:
    """The time of change moves; the same name is no change."""
    route = await store.routes.create(_route(), _by())
    found = await store.routes.rename(_key(route), "help", _by(told, LATER))

    assert replace(route, name="help", updated_at=LATER) == found == await store.routes.get(_key(route))
    assert found == await store.routes.rename(_key(route), "help", _quiet())
    assert 1 == len(told)


async def test_a_route_is_found_by_its_name(store: Store) -> None:
    """The one of the gateway and the account that are asked for, with the version that answers; else none."""
    route = await store.routes.create(_route(), _by())
    places = [("acme", "default", "support"), ("acme", "default", "Support"), ("acme", "other", "support"),
              ("emca", "default", "support")]  # fmt: skip

    assert [route, None, None, None] == [await store.routes.find(*place) for place in places]
    renamed = await store.routes.rename(_key(route), "help", _by())
    assert [None, renamed] == [
        await store.routes.find("acme", "default", name) for name in ("support", "help")
    ]


async def test_a_new_version_does_not_answer_until_it_is_deployed(store: Store) -> None:
    """It is in the list, newest first; one version is active at any time, and an older one can come back."""
    route = await store.routes.create(_route(), _by())
    key, first, second = _key(route), route.version, _version(comment="try this\n")

    assert route == await store.routes.add_version(key, second, _by(at=LATER))
    assert ([second, first], 2) == await store.routes.versions(key, Page())
    assert ([first], 2) == await store.routes.versions(key, Page(size=1, offset=1))
    assert (route, second) == await store.routes.version(key, second.id)

    forward = _deployment(second)
    deployed = await store.routes.deploy(key, forward, _by(at=LATER))
    expected = replace(route, version=replace(second, active=True), deployment=forward, updated_at=LATER)
    assert expected == deployed == await store.routes.get(key)
    assert ([replace(second, active=True), replace(first, active=False)], 2) == await store.routes.versions(
        key, Page()
    )

    back = _deployment(first)
    returned = await store.routes.deploy(key, back, _by())
    assert (first, back) == (returned.version, returned.deployment)
    assert ([back, forward, route.deployment], 3) == await store.routes.deployments(key, Page())
    assert ([forward], 3) == await store.routes.deployments(key, Page(size=1, offset=1))


@pytest.mark.parametrize("version_id", ["0198f3c2-7a10-7000-8000-000000000001", "", "\x00", "first"])
async def test_a_version_that_is_not_there(store: Store, version_id: str) -> None:
    """That of another route is not there either; what answers stays."""
    route = await store.routes.create(_route(), _by())
    other = await store.routes.create(_route("other"), _by())
    key = _key(route)
    for wanted in (version_id, other.version.id):
        deployment = RouteDeployment(id=uuid7(), version_id=wanted, created_at=LATER)
        for work in (store.routes.version(key, wanted), store.routes.deploy(key, deployment, _quiet())):
            with pytest.raises(GatewayError) as caught:
                await work
            assert (Reason.NOT_FOUND, "route_version") == (
                caught.value.reason,
                caught.value.metadata["resource"],
            )

    assert route == await store.routes.get(key)


async def test_parallel_deployments_leave_one_version(store: Store) -> None:
    """The one that the newest deployment names."""
    route = await store.routes.create(_route(), _by())
    versions = [_version() for _ in range(8)]
    for version in versions:
        await store.routes.add_version(_key(route), version, _by())
    await asyncio.gather(
        *(store.routes.deploy(_key(route), _deployment(version), _by()) for version in versions)
    )
    found = await store.routes.get(_key(route))
    listed, _ = await store.routes.versions(_key(route), Page())

    assert found.version.id == found.deployment.version_id
    assert [found.version.id] == [version.id for version in listed if version.active]
    assert 9 == (await store.routes.deployments(_key(route), Page()))[1]


async def test_a_route_is_deployed_or_deleted_first(store: Store) -> None:
    """Whoever comes too late is told that there is none; nothing is left of it."""
    for index in range(5):
        route = await store.routes.create(_route(f"r{index}"), _by())
        deployments = (store.routes.deploy(_key(route), _deployment(route.version), _by()) for _ in range(4))
        deleted, *done = await asyncio.gather(
            store.routes.delete(_key(route), _by()), *deployments, return_exceptions=True
        )
        assert isinstance(deleted, Route)
        late = [each for each in done if not isinstance(each, Route)]
        assert [Reason.NOT_FOUND] * len(late) == [getattr(each, "reason", each) for each in late]

    assert [0, 0] == await _left(store)


async def test_a_deleted_route_leaves_nothing(store: Store, told: list[tuple[int, str]]) -> None:
    """It is returned as it was; its versions and deployments go with it, those of others stay."""
    route = await store.routes.create(_route(), _by())
    other = await store.routes.create(_route("other"), _by())
    await store.routes.add_version(_key(route), _version(), _by())

    assert route == await store.routes.delete(_key(route), _by(told))
    assert ([other], 1) == await store.routes.page("acme", "default", Page())
    assert [1, 1] == await _left(store)
    assert 1 == len(told)


async def test_routes_go_with_their_gateway(store: Store) -> None:
    """And each is written down."""
    route = await store.routes.create(_route(), _by())
    await store.routes.create(_route(gateway_id="other"), _by())
    await store.delete("acme", "default", _by())

    assert [1, 1] == await _left(store)
    assert ("delete", route.id) == ((await _audit(store))[0].action, (await _audit(store))[0].resource_id)


async def _left(store: Store) -> list[int]:
    async with store.database.read() as connection:
        return [
            int((await connection.execute(select(func.count()).select_from(table))).scalar_one())
            for table in (ROUTE_VERSIONS, ROUTE_DEPLOYMENTS)
        ]


async def test_routes_and_versions_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused; of deployments the oldest are forgotten."""
    monkeypatch.setattr("services.router.route_store_sql.MOST_ROUTES", 1)
    monkeypatch.setattr("services.router.route_store_sql.MOST_VERSIONS", 1)
    monkeypatch.setattr("services.router.route_store_sql.MOST_DEPLOYMENTS", 2)
    route = await store.routes.create(_route(), _by())
    for work in (
        store.routes.create(_route("more"), _quiet()),
        store.routes.add_version(_key(route), _version(), _quiet()),
    ):
        with pytest.raises(GatewayError) as caught:
            await work
        assert Reason.INVALID_REQUEST == caught.value.reason
    deployments = [_deployment(route.version) for _ in range(3)]
    for deployment in deployments:
        await store.routes.deploy(_key(route), deployment, _by())

    assert (deployments[:0:-1], 2) == await store.routes.deployments(_key(route), Page())


async def test_a_deployment_that_looks_old_is_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that was set back must not make a route lose the deployment that answers, and so itself."""
    monkeypatch.setattr("services.router.route_store_sql.MOST_DEPLOYMENTS", 2)
    route = await store.routes.create(_route(), _by())
    await store.routes.deploy(_key(route), _deployment(route.version), _by())
    late = replace(_deployment(route.version), id="00000000-7a10-7000-8000-000000000001")

    assert late == (await store.routes.deploy(_key(route), late, _by())).deployment


async def test_changes_of_routes_are_written_down(store: Store) -> None:
    """With the elements, before and after, and by whom."""
    route = await store.routes.create(_route(), _by())
    version = _version(comment="why")
    await store.routes.add_version(_key(route), version, _by())
    await store.routes.deploy(_key(route), _deployment(version), _by())
    await store.routes.rename(_key(route), "help", _by())
    await store.routes.delete(_key(route), _by())
    entries = (await _audit(store))[::-1]

    assert ["create", "update", "deploy", "update", "delete"] == [entry.action for entry in entries]
    assert {(route.id, "default", "t1")} == {
        (entry.resource_id, entry.gateway_id, entry.actor.token_id) for entry in entries
    }
    created, added, deployed, _, deleted = entries
    assert json.loads(ELEMENTS) == json.loads(created.new_json)["version"]["elements"]
    assert (version.id, "why") == tuple(
        json.loads(added.new_json)["added_version"][name] for name in ("version_id", "comment")
    )
    assert (route.version.id, version.id) == tuple(
        json.loads(text)["version"]["version_id"] for text in (deployed.old_json, deployed.new_json)
    )
    assert ("help", "") == (json.loads(deleted.old_json)["name"], deleted.new_json)
