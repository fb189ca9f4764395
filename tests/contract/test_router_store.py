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

    from services.router.store import GatewayStore

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


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[GatewayStore]:
    if request.param == "memory":
        yield MemoryGatewayStore()
        return
    async with open_store(tmp_path / "router.db", clock=SystemClock(), log=structlog.get_logger()) as found:
        yield found


async def test_what_was_added_is_found(store: GatewayStore) -> None:
    """Every setting comes back as it was, with the generation."""
    generation = await store.generation()

    assert (GATEWAY, generation) == await store.ensure(GATEWAY)
    assert (GATEWAY, generation) == await store.find("acme", "default")


async def test_what_was_not_added_is_not_found(store: GatewayStore) -> None:
    """The gateway of another account, or of another name, is not there."""
    await store.ensure(GATEWAY)
    generation = await store.generation()

    assert (None, generation) == await store.find("other", "default")
    assert (None, generation) == await store.find("acme", "nope")


async def test_a_gateway_is_made_once(store: GatewayStore) -> None:
    """Making it again gives the one that is there, however many do it at the same time."""
    others = [
        replace(GATEWAY, settings=GatewaySettings(cache_ttl_s=60 + index), created_at=LATER)
        for index in range(20)
    ]
    found = await asyncio.gather(*map(store.ensure, others))

    assert {others[0]} == {gateway for gateway, _ in found}
    assert others[0] == (await store.ensure(GATEWAY))[0]


async def test_a_change_is_kept_and_told(store: GatewayStore) -> None:
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


async def test_a_change_to_the_same_is_no_change(store: GatewayStore) -> None:
    """Nothing becomes void and the time of the last change stays."""
    await store.ensure(GATEWAY)
    generation = await store.generation()
    found = await store.change(
        "acme", "default", {("cache_ttl_s",): 3600}, at=LATER, then=lambda *_: pytest.fail("told")
    )

    assert (GATEWAY, generation) == (found, await store.generation())


async def test_what_is_not_there_cannot_be_changed(store: GatewayStore) -> None:
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


async def test_parallel_changes_lose_nothing(store: GatewayStore) -> None:
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
