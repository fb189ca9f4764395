"""Gateways and accounts' own providers in every kind of database."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from sqlalchemy import select, update

from kit.audit import Actor, AuditEntry, AuditQuery
from kit.clock import SystemClock
from kit.errors import GatewayError, Reason
from kit.ids import uuid7
from services.router.core.custom_provider import CustomProvider, Order, Query
from services.router.core.documents import Documents
from services.router.core.gateway import Gateway, ManagedGateway
from services.router.core.page import Page
from services.router.core.settings import (
    Backoff,
    DisconnectPolicy,
    GatewaySettings,
    LogStrategy,
    Retry,
    Technique,
    Timeouts,
)
from services.router.store import By
from services.router.store_sql import open_store
from services.router.tables import AUDIT, CUSTOM_PROVIDERS, GATEWAYS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.database import Location
    from services.router.store_sql import SqlGatewayStore as Store

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ALICE = Actor(token_id="t1", token_name="laptop", interface="api")
UNKNOWN_ID = "0198f3c2-7a10-7000-8000-000000000001"
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
    cache_invalidate_on_update=True,
    rate_limit=5,
    rate_limit_interval_s=6,
    rate_limit_technique=Technique.SLIDING,
    log_management=10_000,
    log_management_strategy=LogStrategy.STOP_INSERTING,
    log_classification=True,
    logpush=True,
    logpush_public_key="k" * 16,
    zdr=True,
    wholesale=False,
    workers_ai_billing_mode="unified",
    store_id="s",
    stream_failover=True,
    drain_timeout_ms=7,
    cache_stale_while_revalidate_s=8,
    cache_stale_if_error_s=9,
    cache_replay_paced=True,
    cache_no_sharing=True,
    idempotency_ttl_s=10,
)
GATEWAY = Gateway(
    account_id="acme", id="default", internal_id="i", settings=SETTINGS, created_at=NOW, updated_at=NOW
)
DOCUMENTS = Documents(
    dlp='{"enabled":false,"action":"FLAG","profiles":["ü"]}',
    otel='[{"url":"https://a","headers":{"x-a":"hidden"},"content_type":"json","authorization":"hidden"}]',
    stripe='{"authorization":"hidden","usage_events":[{"payload":"key: sk_live_hidden123456"}]}',
)
MANAGED = ManagedGateway(gateway=GATEWAY, documents=DOCUMENTS)
CUSTOM = CustomProvider(
    account_id="acme",
    id=uuid7(),
    slug="mine",
    base_url="https://llm.example/v1",
    name="Mein Modell",
    headers=(("x-team", b"hidden"), ("x-team", b"b")),
    enabled=True,
    created_at=NOW,
    updated_at=NOW,
    beta=True,
    description="Für alle",
    link="https://llm.example",
    curl_example="curl -H 'authorization: Bearer hidden'\n",
    js_example="x",
    position=-7,
)


@pytest.fixture
async def store(database_location: Location) -> AsyncIterator[Store]:
    async with open_store(database_location, clock=SystemClock(), log=structlog.get_logger()) as found:
        yield found


@pytest.fixture
def told() -> list[tuple[int, str]]:
    """The generations and accounts that were told."""
    return []


def _by(told: list[tuple[int, str]] | None = None, at: datetime = NOW) -> By:
    return By(actor=ALICE, at=at, then=lambda *event: None if told is None else told.append(event))


def _quiet(at: datetime = LATER) -> By:
    return By(actor=ALICE, at=at, then=lambda *_: pytest.fail("told"))


async def _audit(store: Store, account_id: str = "acme") -> list[AuditEntry]:
    async with store.database.read() as connection:
        return list(await AUDIT.page(connection, AuditQuery(account_id=account_id)))


async def _make(store: Store, gateway_id: str, account_id: str = "acme") -> ManagedGateway:
    gateway = replace(GATEWAY, id=gateway_id, account_id=account_id)
    return await store.create(replace(MANAGED, gateway=gateway), _by())


async def _add(store: Store, **changes: Any) -> CustomProvider:
    return await store.custom_providers.create(replace(CUSTOM, id=uuid7(), **changes), _by())


async def test_a_gateway_that_makes_itself_is_found(store: Store) -> None:
    """Every setting comes back as it was, with the generation, which stays."""
    generation = await store.generation()

    assert (GATEWAY, generation) == await store.ensure(GATEWAY, ALICE)
    assert (GATEWAY, generation) == await store.find("acme", "default")
    assert ManagedGateway(gateway=GATEWAY, documents=Documents()) == await store.get("acme", "default")
    assert [("create", "default", "t1")] == [
        (entry.action, entry.resource_id, entry.actor.token_id) for entry in await _audit(store)
    ]


@pytest.mark.parametrize("gateway_id", ["nope", "", "a\x00b", "x" * 100])
async def test_what_was_not_made_is_not_found(store: Store, gateway_id: str) -> None:
    """Neither is the gateway of another account."""
    await store.ensure(GATEWAY, ALICE)
    for account_id, name in (("acme", gateway_id), ("other", "default")):
        with pytest.raises(GatewayError) as caught:
            await store.get(account_id, name)
        assert Reason.GATEWAY_NOT_FOUND == caught.value.reason

    assert (None, await store.generation()) == await store.find("acme", "nope")


async def test_a_gateway_is_made_once(store: Store) -> None:
    """Making it again gives the one that is there, however many do it at the same time."""
    others = [replace(GATEWAY, settings=GatewaySettings(cache_ttl_s=60 + index)) for index in range(20)]
    found = await asyncio.gather(*(store.ensure(other, ALICE) for other in others))

    assert 1 == len({gateway for gateway, _ in found})
    assert found[0][0] == (await store.ensure(GATEWAY, ALICE))[0]
    assert 1 == len(await _audit(store))


async def test_a_gateway_is_created(store: Store, told: list[tuple[int, str]]) -> None:
    """With everything that was said of it; the account's plans become void."""
    before = await store.generation()

    assert MANAGED == await store.create(MANAGED, _by(told))
    assert MANAGED == await store.get("acme", "default")
    assert [(before + 1, "acme")] == told
    assert before + 1 == await store.generation()


async def test_a_gateway_that_is_there_is_a_conflict(store: Store) -> None:
    """However many make it at the same time, one does."""
    done = await asyncio.gather(*(store.create(MANAGED, _by()) for _ in range(10)), return_exceptions=True)
    failed = [each for each in done if isinstance(each, GatewayError)]

    assert 9 == len(failed)
    assert {(Reason.CONFLICT, "gateway", "id")} == {
        (error.reason, error.metadata["resource"], error.metadata["param"]) for error in failed
    }
    assert 1 == len(await _audit(store))


async def test_an_account_has_a_bounded_number_of_gateways(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more is refused; another account may have its own."""
    monkeypatch.setattr("services.router.store_sql.MOST_GATEWAYS", 2)
    await _make(store, "a")
    await _make(store, "b")
    await _make(store, "c", "other")
    with pytest.raises(GatewayError) as caught:
        await _make(store, "c")

    assert (Reason.INVALID_REQUEST, "id") == (caught.value.reason, caught.value.metadata["param"])


async def test_gateways_are_listed_by_id(store: Store) -> None:
    """In parts, by a piece of the id whatever the case, and by id; the count is of all that fit."""
    for gateway_id in ("b-2", "a_1", "b_1", "c"):
        await _make(store, gateway_id)
    await _make(store, "b", "other")

    async def ids(page: Page = Page(), **wanted: Any) -> tuple[list[str], int]:  # noqa: B008 - frozen
        found, total = await store.page("acme", page, **wanted)
        return [each.gateway.id for each in found], total

    assert (["a_1", "b-2", "b_1", "c"], 4) == await ids()
    assert (["b-2", "b_1"], 4) == await ids(Page(size=2, offset=1))
    assert ([], 4) == await ids(Page(offset=2**62))
    assert (["b-2", "b_1"], 2) == await ids(search="B")
    assert (["a_1", "b_1"], 2) == await ids(search="_1")
    assert ([], 0) == await ids(search="%")
    assert (["c"], 1) == await ids(ids=["c", "nope", "a\x00"])
    assert ([], 0) == await ids(ids=["c"], search="a")
    assert (await store.page("acme", Page()))[0][3] == await store.get("acme", "c")


async def test_a_replacement_takes_everything_away(store: Store, told: list[tuple[int, str]]) -> None:
    """What is not said has its default; when it was made, and its UUID, stay."""
    await store.create(MANAGED, _by())
    before = await store.generation()
    found = await store.replace("acme", "default", GatewaySettings(), Documents(), _by(told, LATER))
    expected = replace(GATEWAY, settings=GatewaySettings(), updated_at=LATER)

    assert ManagedGateway(gateway=expected, documents=Documents()) == found
    assert found == await store.get("acme", "default")
    assert (expected, before + 1) == await store.find("acme", "default")
    assert [(before + 1, "acme")] == told


async def test_a_replacement_by_the_same_is_no_change(store: Store) -> None:
    """Nothing becomes void, nothing is written down, and the time of the last change stays."""
    await store.create(MANAGED, _by())
    generation = await store.generation()

    assert MANAGED == await store.replace("acme", "default", SETTINGS, DOCUMENTS, _quiet())
    assert (generation, 1) == (await store.generation(), len(await _audit(store)))


async def test_what_is_not_there_cannot_be_replaced_or_deleted(store: Store) -> None:
    """An unknown gateway, `default` included, is not made by that."""
    for work in (
        store.replace("acme", "default", SETTINGS, DOCUMENTS, _quiet()),
        store.delete("acme", "default", _quiet()),
    ):
        with pytest.raises(GatewayError) as caught:
            await work
        assert (Reason.GATEWAY_NOT_FOUND, {"gateway_id": "default"}) == (
            caught.value.reason,
            caught.value.metadata,
        )

    assert (None, []) == ((await store.find("acme", "default"))[0], await _audit(store))


async def test_a_deleted_gateway_is_gone(store: Store, told: list[tuple[int, str]]) -> None:
    """It is returned as it was, and may be made again as another one."""
    await store.create(MANAGED, _by())
    again = replace(GATEWAY, internal_id="j")

    assert MANAGED == await store.delete("acme", "default", _by(told))
    assert None is (await store.find("acme", "default"))[0]
    assert ["acme"] == [account_id for _, account_id in told]
    assert "j" == (await store.ensure(again, ALICE))[0].internal_id


async def test_changes_of_gateways_are_written_down(store: Store) -> None:
    """With what was there before and after, by whom; what might be a secret is masked."""
    await store.create(MANAGED, _by())
    await store.replace("acme", "default", GatewaySettings(), Documents(), _by(at=LATER))
    await store.delete("acme", "default", _by())
    deleted, updated, created = await _audit(store)

    assert ["delete", "update", "create"] == [entry.action for entry in (deleted, updated, created)]
    assert {("gateway", "default", "default", "laptop")} == {
        (
            entry.resource_type,
            entry.resource_id,
            entry.gateway_id,
            entry.actor.token_name,
        )
        for entry in (deleted, updated, created)
    }
    assert "" == created.old_json == deleted.new_json
    assert (3600, "STOP_INSERTING", 3) == tuple(
        json.loads(created.new_json)[name]
        for name in ("cache_ttl", "log_management_strategy", "retry_max_attempts")
    )
    assert "hidden" not in created.new_json + updated.old_json
    assert created.new_json == updated.old_json
    assert updated.new_json == deleted.old_json


async def test_parallel_replacements_are_each_whole(store: Store) -> None:
    """The last one stands with all it says, and the audit log leads to it step by step."""
    await store.create(MANAGED, _by())
    first = await store.generation()
    wanted = [
        (GatewaySettings(cache_ttl_s=index, rate_limit=index), Documents(dlp=f"[{index}]"))
        for index in range(1, 21)
    ]
    await asyncio.gather(*(store.replace("acme", "default", *each, _by()) for each in wanted))
    found = await store.get("acme", "default")
    entries = (await _audit(store))[::-1]

    assert (found.gateway.settings, found.documents) in wanted
    assert first + 20 == await store.generation()
    assert [entry.new_json for entry in entries[:-1]] == [entry.old_json for entry in entries[1:]]


async def test_what_a_newer_release_knows_of_a_provider_survives(store: Store) -> None:
    """It is ignored, and kept by the changes of this one."""
    found = await _add(store)
    columns = CUSTOM_PROVIDERS.c
    async with store.database.write() as connection:
        document = json.loads((await connection.execute(select(columns.document))).scalar_one())
        future = json.dumps({**document, "future": 7})
        await connection.execute(update(CUSTOM_PROVIDERS).values(document=future))
    await store.custom_providers.change("acme", found.id, lambda before: replace(before, link=""), _by())
    async with store.database.read() as connection:
        document = json.loads((await connection.execute(select(columns.document))).scalar_one())

    assert (7, "") == (document["future"], document["link"])


async def test_settings_of_a_newer_release_survive(store: Store) -> None:
    """A setting that this release does not know is ignored, and kept by its changes."""
    await store.create(MANAGED, _by())

    async def columns() -> tuple[dict[str, Any], dict[str, Any]]:
        async with store.database.read() as connection:
            row = (await connection.execute(select(GATEWAYS.c.settings, GATEWAYS.c.documents))).one()
        return json.loads(row[0]), json.loads(row[1])

    settings, documents = await columns()
    settings |= {"future": 7, "retry": {**settings["retry"], "jitter": "yes"}}
    documents |= {"policies": "[]"}
    async with store.database.write() as connection:
        values = {"settings": json.dumps(settings), "documents": json.dumps(documents)}
        await connection.execute(update(GATEWAYS).values(**values))

    assert MANAGED == await store.get("acme", "default")
    await store.replace("acme", "default", GatewaySettings(), Documents(), _by())
    settings, documents = await columns()
    assert (7, "yes", None, "[]") == (
        settings["future"],
        settings["retry"]["jitter"],
        settings["retry"]["max_attempts"],
        documents["policies"],
    )


async def test_settings_of_an_older_release_get_defaults(store: Store) -> None:
    """A setting that was not stored yet has its default."""
    await store.create(MANAGED, _by())
    async with store.database.write() as connection:
        values = {"settings": '{"cache_ttl_s": 60}', "documents": "{}"}
        await connection.execute(update(GATEWAYS).values(**values))
    found = await store.get("acme", "default")

    assert (GatewaySettings(cache_ttl_s=60), Documents()) == (found.gateway.settings, found.documents)


async def test_a_provider_of_an_accounts_own_is_kept(store: Store, told: list[tuple[int, str]]) -> None:
    """Everything comes back as it was, for its account alone, and the new generation is told."""
    before = await store.generation()
    providers = store.custom_providers

    assert CUSTOM == await providers.create(CUSTOM, _by(told))
    assert CUSTOM == await providers.get("acme", CUSTOM.id) == await providers.find("acme", "mine")
    assert (None, None) == (await providers.find("other", "mine"), await providers.find("acme", "min"))
    assert (frozenset({"mine"}), frozenset()) == (
        await providers.slugs("acme"),
        await providers.slugs("other"),
    )
    assert ([(before + 1, "acme")], before + 1) == (told, await store.generation())


async def test_a_slug_is_there_once(store: Store) -> None:
    """In an account; neither a new provider nor a change takes another's."""
    await _add(store, slug="mine")
    other = await _add(store, slug="other")
    await _add(store, slug="mine", account_id="elsewhere")
    for work in (
        store.custom_providers.create(replace(CUSTOM, id=uuid7()), _quiet()),
        store.custom_providers.change("acme", other.id, lambda found: replace(found, slug="mine"), _quiet()),
    ):
        with pytest.raises(GatewayError) as caught:
            await work
        assert (Reason.CONFLICT, {"resource": "custom_provider", "param": "slug"}) == (
            caught.value.reason,
            caught.value.metadata,
        )

    assert other == await store.custom_providers.get("acme", other.id)


async def test_a_provider_is_changed(store: Store, told: list[tuple[int, str]]) -> None:
    """What was not changed stays; plans find it by its new slug."""
    await store.custom_providers.create(CUSTOM, _by())

    def edit(found: CustomProvider) -> CustomProvider:
        return replace(found, slug="new", enabled=False, headers=(), position=3)

    found = await store.custom_providers.change("acme", CUSTOM.id, edit, _by(told, LATER))

    assert (
        replace(edit(CUSTOM), updated_at=LATER) == found == await store.custom_providers.find("acme", "new")
    )
    assert None is await store.custom_providers.find("acme", "mine")
    assert ["acme"] == [account_id for _, account_id in told]


async def test_a_provider_changed_to_the_same_is_no_change(store: Store) -> None:
    """Nothing becomes void and the time of the last change stays."""
    await store.custom_providers.create(CUSTOM, _by())

    assert CUSTOM == await store.custom_providers.change("acme", CUSTOM.id, replace, _quiet())


async def test_a_change_that_is_refused_changes_nothing(store: Store) -> None:
    """An error from the edit comes through."""
    await store.custom_providers.create(CUSTOM, _by())

    def edit(found: CustomProvider) -> CustomProvider:
        raise GatewayError(Reason.INVALID_REQUEST, "No.", param="x")

    with pytest.raises(GatewayError, match=r"No\."):
        await store.custom_providers.change("acme", CUSTOM.id, edit, _quiet())
    assert CUSTOM == await store.custom_providers.get("acme", CUSTOM.id)


async def test_providers_are_listed(store: Store) -> None:
    """By any order, in parts, by what they are, and by a piece of name or slug whatever the case."""
    zebra = await _add(store, slug="b", name="Zebra", position=2, enabled=False, created_at=LATER)
    await _add(store, slug="a-1", name="ÄPFEL", position=2, beta=False)
    await _add(store, slug="a1", name="apple 100%", position=1, beta=False)
    await _add(store, slug="x", account_id="other")

    async def slugs(**wanted: Any) -> tuple[list[str], int]:
        found, total = await store.custom_providers.page("acme", Query(**{"page": Page(), **wanted}))
        return [each.slug for each in found], total

    assert (["a-1", "a1", "b"], 3) == await slugs()
    assert (["b", "a1", "a-1"], 3) == await slugs(descending=True)
    assert (["b", "a1", "a-1"], 3) == await slugs(order=Order.NAME)
    assert (["a1", "a-1", "b"], 3) == await slugs(order=Order.POSITION)
    assert (["b", "a1", "a-1"], 3) == await slugs(order=Order.CREATE_TIME, descending=True)
    assert (["a1"], 3) == await slugs(page=Page(size=1, offset=1))
    assert (["b"], 1) == await slugs(enabled=False)
    assert (["a-1", "a1"], 2) == await slugs(enabled=True, beta=False)
    assert ([], 0) == await slugs(enabled=False, beta=False)
    assert (["a-1"], 1) == await slugs(search="äpf")
    assert (["a1"], 1) == await slugs(search="0%")
    assert (["a-1", "a1"], 2) == await slugs(search="P")
    assert (["b"], 1) == await slugs(search=zebra.id.upper())


@pytest.mark.parametrize("provider_id", ["mine", "", "a\x00", "x" * 100, UNKNOWN_ID])
async def test_a_provider_that_is_not_there(store: Store, provider_id: str) -> None:
    """Reading, changing and deleting it are the same error, and tell nobody; so for another account."""
    kept = await _add(store)
    for account_id, wanted in (("acme", provider_id), ("other", kept.id)):
        for work in (
            store.custom_providers.get(account_id, wanted),
            store.custom_providers.change(account_id, wanted, replace, _quiet()),
            store.custom_providers.delete(account_id, wanted, _quiet()),
        ):
            with pytest.raises(GatewayError) as caught:
                await work
            assert (Reason.NOT_FOUND, "custom_provider") == (
                caught.value.reason,
                caught.value.metadata["resource"],
            )


async def test_a_deleted_provider_is_gone(store: Store, told: list[tuple[int, str]]) -> None:
    """It is returned as it was and told once."""
    await store.custom_providers.create(CUSTOM, _by())

    assert CUSTOM == await store.custom_providers.delete("acme", CUSTOM.id, _by(told))
    assert (["acme"], None) == (
        [account_id for _, account_id in told],
        await store.custom_providers.find("acme", "mine"),
    )


async def test_an_account_has_a_bounded_number_of_providers(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more is refused, while those that are there can be changed."""
    monkeypatch.setattr("services.router.custom_store_sql.MOST_PROVIDERS", 1)
    await store.custom_providers.create(CUSTOM, _by())
    with pytest.raises(GatewayError) as caught:
        await _add(store, slug="more")
    changed = await store.custom_providers.change(
        "acme", CUSTOM.id, lambda found: replace(found, name="x"), _by()
    )

    assert (Reason.INVALID_REQUEST, "x") == (caught.value.reason, changed.name)


async def test_changes_of_providers_are_written_down(store: Store) -> None:
    """Values of headers are masked: they are for the provider alone."""
    await store.custom_providers.create(CUSTOM, _by())
    await store.custom_providers.change("acme", CUSTOM.id, lambda found: replace(found, beta=False), _by())
    await store.custom_providers.delete("acme", CUSTOM.id, _by())
    deleted, updated, created = await _audit(store)

    assert [("delete", CUSTOM.id), ("update", CUSTOM.id), ("create", CUSTOM.id)] == [
        (entry.action, entry.resource_id) for entry in (deleted, updated, created)
    ]
    assert {"x-team": "***"} == json.loads(created.new_json)["headers"]
    assert "hidden" not in "".join(entry.old_json + entry.new_json for entry in (deleted, updated, created))
    assert (created.new_json, updated.new_json) == (updated.old_json, deleted.old_json)
