"""What every store of router does alike. A store joins by one more parameter of `store`."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import structlog

from kit.clock import SystemClock
from kit.errors import GatewayError, Reason
from services.router.core.custom_provider import MOST_PROVIDERS, CustomProvider
from services.router.core.gateway import (
    Backoff,
    DisconnectPolicy,
    Gateway,
    GatewaySettings,
    Retry,
    Timeouts,
)
from services.router.store_sqlite import open_store
from tests.fakes.gateway_store import MemoryGatewayStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from services.router.store_sqlite import SqliteGatewayStore

    Store = MemoryGatewayStore | SqliteGatewayStore

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
SETTINGS = GatewaySettings(
    authentication=False,
    cache_ttl_s=3600,
    collect_logs=False,
    collect_payloads=False,
    timeouts=Timeouts(connect_ms=1, total_ms=2),
    retry=Retry(max_attempts=3, delay_ms=4, backoff=Backoff.EXPONENTIAL),
    on_disconnect=DisconnectPolicy.DRAIN,
    strict_translation=True,
    byok_only=True,
)
GATEWAY = Gateway(account_id="acme", id="default", settings=SETTINGS, created_at=NOW, updated_at=NOW)
CUSTOM = CustomProvider(
    account_id="acme",
    slug="mine",
    base_url="https://llm.example/v1",
    name="Mein Modell",
    headers=(("x-team", b"a"), ("x-team", b"b")),
    enabled=True,
    created_at=NOW,
    updated_at=NOW,
)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryGatewayStore()
        return
    async with open_store(tmp_path / "router.db", clock=SystemClock(), log=structlog.get_logger()) as found:
        yield found


async def test_what_was_added_is_found(store: Store) -> None:
    """Every setting comes back as it was, with the generation."""
    generation = await store.generation()

    assert (GATEWAY, generation) == await store.ensure(GATEWAY)
    assert (GATEWAY, generation) == await store.find("acme", "default")


async def test_what_was_not_added_is_not_found(store: Store) -> None:
    """The gateway of another account, or of another name, is not there."""
    await store.ensure(GATEWAY)
    generation = await store.generation()

    assert (None, generation) == await store.find("other", "default")
    assert (None, generation) == await store.find("acme", "nope")


async def test_a_gateway_is_made_once(store: Store) -> None:
    """Making it again gives the one that is there, however many do it at the same time."""
    others = [
        replace(GATEWAY, settings=GatewaySettings(cache_ttl_s=60 + index), created_at=LATER)
        for index in range(20)
    ]
    found = await asyncio.gather(*map(store.ensure, others))

    assert {others[0]} == {gateway for gateway, _ in found}
    assert others[0] == (await store.ensure(GATEWAY))[0]


async def test_a_change_is_kept_and_told(store: Store) -> None:
    """Named values change, others stay, and the new generation is told with the account."""
    told: list[tuple[int, str]] = []
    await store.ensure(GATEWAY)
    before = await store.generation()
    values = {("cache_ttl_s",): 60, ("retry", "backoff"): Backoff.LINEAR, ("timeouts",): Timeouts(idle_ms=5)}
    found = await store.change("acme", "default", values, at=LATER, then=lambda *event: told.append(event))
    expected = replace(
        GATEWAY,
        updated_at=LATER,
        settings=replace(
            SETTINGS,
            cache_ttl_s=60,
            retry=replace(SETTINGS.retry, backoff=Backoff.LINEAR),
            timeouts=Timeouts(idle_ms=5),
        ),
    )

    assert expected == found
    assert (expected, before + 1) == await store.find("acme", "default")
    assert [(before + 1, "acme")] == told


async def test_a_change_to_the_same_is_no_change(store: Store) -> None:
    """Nothing becomes void and the time of the last change stays."""
    await store.ensure(GATEWAY)
    generation = await store.generation()
    found = await store.change(
        "acme", "default", {("cache_ttl_s",): 3600}, at=LATER, then=lambda *_: pytest.fail("told")
    )

    assert (GATEWAY, generation) == (found, await store.generation())


async def test_what_is_not_there_cannot_be_changed(store: Store) -> None:
    """Changing an unknown gateway, `default` included, makes none."""
    with pytest.raises(GatewayError) as caught:
        await store.change(
            "acme", "default", {("byok_only",): True}, at=NOW, then=lambda *_: pytest.fail("told")
        )

    assert (Reason.GATEWAY_NOT_FOUND, {"gateway_id": "default"}) == (
        caught.value.reason,
        caught.value.metadata,
    )
    assert (None, await store.generation()) == await store.find("acme", "default")


async def test_parallel_changes_lose_nothing(store: Store) -> None:
    """Changes of different settings at the same time are all there afterwards."""
    await store.ensure(replace(GATEWAY, settings=GatewaySettings()))
    told: list[int] = []
    values: list[dict[tuple[str, ...], object]] = [
        {("cache_ttl_s",): 3600},
        {("timeouts", "connect_ms"): 1},
        {("timeouts", "total_ms"): 2},
        {("retry", "max_attempts"): 3},
        {("retry", "delay_ms"): 4},
        {("retry", "backoff"): Backoff.EXPONENTIAL},
        {("on_disconnect",): DisconnectPolicy.DRAIN},
        {("authentication",): False},
        {("collect_logs",): False},
        {("collect_payloads",): False},
        {("strict_translation",): True},
        {("byok_only",): True},
    ]
    first = await store.generation()

    async def change(each: dict[tuple[str, ...], object]) -> None:
        await store.change("acme", "default", each, at=LATER, then=lambda number, _: told.append(number))

    await asyncio.gather(*map(change, values))
    found, _ = await store.find("acme", "default")

    assert found is not None
    assert SETTINGS == found.settings
    assert list(range(first + 1, first + 1 + len(values))) == told


async def test_settings_of_a_newer_release_survive(tmp_path: Path) -> None:
    """A setting that this release does not know is ignored, and kept by its changes."""
    path = tmp_path / "router.db"
    log = structlog.get_logger()
    async with open_store(path, clock=SystemClock(), log=log) as store:
        await store.ensure(GATEWAY)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "UPDATE gateways SET settings = json_set(settings, '$.future', 7, '$.retry.jitter', 'yes')"
        )
        connection.commit()
    async with open_store(path, clock=SystemClock(), log=log) as store:
        assert GATEWAY == (await store.find("acme", "default"))[0]
        await store.change("acme", "default", {("retry", "max_attempts"): 2}, at=LATER, then=lambda *_: None)
    with closing(sqlite3.connect(path)) as connection:
        document = json.loads(connection.execute("SELECT settings FROM gateways").fetchone()[0])

    assert (7, "yes", 2) == (
        document["future"],
        document["retry"]["jitter"],
        document["retry"]["max_attempts"],
    )


async def test_settings_of_an_older_release_get_defaults(tmp_path: Path) -> None:
    """A setting that was not stored yet has its default."""
    path = tmp_path / "router.db"
    log = structlog.get_logger()
    async with open_store(path, clock=SystemClock(), log=log) as store:
        await store.ensure(GATEWAY)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE gateways SET settings = '{\"cache_ttl_s\": 60}'")
        connection.commit()
    async with open_store(path, clock=SystemClock(), log=log) as store:
        found, _ = await store.find("acme", "default")

    assert found is not None
    assert GatewaySettings(cache_ttl_s=60) == found.settings


async def test_a_provider_of_an_accounts_own_is_kept(store: Store) -> None:
    """Everything comes back as it was, for its account alone, and the new generation is told."""
    told: list[tuple[int, str]] = []
    before = await store.generation()
    kept = await store.custom_providers.put(CUSTOM, then=lambda *event: told.append(event))

    assert (CUSTOM, CUSTOM, None, None) == (
        kept,
        await store.custom_providers.find("acme", "mine"),
        await store.custom_providers.find("other", "mine"),
        await store.custom_providers.find("acme", "min"),
    )
    assert ([(before + 1, "acme")], before + 1) == (told, await store.generation())


async def test_a_provider_is_replaced(store: Store) -> None:
    """What is put again takes the place of what was there, which keeps the time when it was made."""
    await store.custom_providers.put(CUSTOM, then=lambda *_: None)
    changed = replace(CUSTOM, enabled=False, headers=(), created_at=LATER, updated_at=LATER)
    told: list[int] = []
    kept = await store.custom_providers.put(changed, then=lambda number, _: told.append(number))

    assert replace(changed, created_at=NOW) == kept == await store.custom_providers.find("acme", "mine")
    assert len(told) == 1


async def test_a_provider_put_as_it_is_changes_nothing(store: Store) -> None:
    """Nothing becomes void and the time of the last change stays."""
    await store.custom_providers.put(CUSTOM, then=lambda *_: None)
    again = replace(CUSTOM, created_at=LATER, updated_at=LATER)

    assert CUSTOM == await store.custom_providers.put(again, then=lambda *_: pytest.fail("told"))


async def test_an_accounts_providers_are_listed_by_slug(store: Store) -> None:
    """Those of others are not among them."""
    for account_id, slug in (("acme", "b"), ("acme", "a"), ("other", "c")):
        await store.custom_providers.put(
            replace(CUSTOM, account_id=account_id, slug=slug), then=lambda *_: None
        )

    assert ["a", "b"] == [found.slug for found in await store.custom_providers.of("acme")]


async def test_a_deleted_provider_is_gone(store: Store) -> None:
    """It is told once; deleting it again, or for another account, is an error and tells nobody."""
    told: list[str] = []
    await store.custom_providers.put(CUSTOM, then=lambda *_: None)
    with pytest.raises(GatewayError):
        await store.custom_providers.delete("other", "mine", then=lambda *_: pytest.fail("told"))
    await store.custom_providers.delete("acme", "mine", then=lambda _, account_id: told.append(account_id))
    with pytest.raises(GatewayError) as caught:
        await store.custom_providers.delete("acme", "mine", then=lambda *_: pytest.fail("told"))

    assert (["acme"], None) == (told, await store.custom_providers.find("acme", "mine"))
    assert (Reason.NOT_FOUND, {"resource": "custom_provider", "id": "mine"}) == (
        caught.value.reason,
        caught.value.metadata,
    )


async def test_an_account_has_a_bounded_number_of_providers(store: Store) -> None:
    """One more is refused, while those that are there can be changed."""
    for index in range(MOST_PROVIDERS):
        await store.custom_providers.put(replace(CUSTOM, slug=f"p{index}"), then=lambda *_: None)
    with pytest.raises(GatewayError) as caught:
        await store.custom_providers.put(CUSTOM, then=lambda *_: pytest.fail("told"))
    changed = await store.custom_providers.put(replace(CUSTOM, slug="p0", name="x"), then=lambda *_: None)

    assert (Reason.INVALID_REQUEST, "x") == (caught.value.reason, changed.name)
