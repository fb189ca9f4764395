"""What the vault's store does alike on every database."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update

from kit.audit import Actor, AuditQuery
from kit.errors import GatewayError, Reason
from kit.secret import Secret
from services.auth.core.provider_config import KeyReport, KeyStatus, ProviderConfigChange, fingerprint
from services.auth.tables import ACCOUNTS, AUDIT
from services.auth.vault.master_keys import KeyRing
from services.auth.vault.secret_store import KeyUnreadableError
from services.auth.vault_tables import PROVIDER_CONFIGS
from tests.fakes.vault import NOW, OpenVault, open_vault, provider_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from kit.audit import AuditEntry
    from kit.database_location import Location

ACTOR = Actor(token_id="t", interface="api")
LATER = NOW + timedelta(minutes=1)


@pytest.fixture
async def vault(database_location: Location, tmp_path: Path) -> AsyncIterator[OpenVault]:
    async with open_vault(database_location, KeyRing.of_file(tmp_path / "master.key")) as found:
        yield found


async def _update(vault: OpenVault, name: str, **change: Any) -> Any:
    return await vault.store.update(
        "acme", "prod", name, ProviderConfigChange(**change), ACTOR, at=LATER, then=vault.tell
    )


async def _audit(vault: OpenVault) -> Sequence[AuditEntry]:
    async with vault.database.read() as connection:
        return await AUDIT.page(connection, AuditQuery(account_id="acme"))


async def test_what_is_kept_is_found_and_opens(vault: OpenVault) -> None:
    """Every member comes back as it was, and the key with it; the change is told of."""
    config = provider_config(
        alias="a",
        default_config=True,
        secret_preview="wxyz",
        weight=7,
        rate_limit=5_000_000_000 // 10,
        rate_limit_period_ms=2000,
        status=KeyStatus.LIMITED,
        last_used_at=LATER,
    )
    kept = await vault.keep(config, "sk-one")
    keys = await vault.store.keys("acme", "prod", "openai")

    assert config == kept == await vault.store.get("acme", "prod", "one")
    assert {"one": "sk-one"} == await vault.opened()
    assert [(keys.generation, "acme")] == vault.told


async def test_a_reference_is_kept_without_a_key(vault: OpenVault) -> None:
    """A row with a reference has nothing sealed."""
    config = provider_config(secret_ref="file:openai")
    await vault.keep(config, None)
    [key] = (await vault.store.keys("acme", "prod", "openai")).keys

    assert (config, None) == (key.config, key.sealed)
    assert {} == await vault.rotation.counts()


async def test_lists_are_oldest_first_and_of_one_account(vault: OpenVault) -> None:
    """A page has what was asked for, and how many there are in all; another's are never there."""
    for name, age_s in (("a", 1), ("b", 3), ("c", 2)):
        await vault.keep(provider_config(name, age_s=age_s), "sk")
    await vault.keep(provider_config("d", gateway_id="other"), "sk")
    await vault.keep(provider_config("e", account_id="umbrella"), "sk")

    async def page(account_id: str, gateway_id: str, **where: int) -> tuple[list[str], int]:
        found, total = await vault.store.page(account_id, gateway_id, **{"size": 10, "offset": 0, **where})
        return [each.id for each in found], total

    assert (["b", "c", "a"], 3) == await page("acme", "prod")
    assert (["c"], 3) == await page("acme", "prod", size=1, offset=1)
    assert ([], 3) == await page("acme", "prod", offset=9)
    assert (["b", "c", "a", "d"], 4) == await page("acme", "")
    assert (["e"], 1) == await page("umbrella", "")


async def test_nothing_is_found_under_anothers_name(vault: OpenVault) -> None:
    """A config's id does not find it from another account or gateway, to read, change or delete."""
    await vault.keep(provider_config(), "sk-one")
    told = list(vault.told)
    change = ProviderConfigChange(weight=2)
    for account_id, gateway_id, name in (
        ("umbrella", "prod", "one"),
        ("acme", "other", "one"),
        ("acme", "prod", "two"),
    ):
        for call in (
            vault.store.get(account_id, gateway_id, name),
            vault.store.update(account_id, gateway_id, name, change, ACTOR, at=LATER, then=vault.tell),
            vault.store.delete(account_id, gateway_id, name, ACTOR, at=LATER, then=vault.tell),
        ):
            with pytest.raises(GatewayError) as caught:
                await call
            assert Reason.NOT_FOUND == caught.value.reason

    assert {"one": "sk-one"} == await vault.opened()
    assert told == vault.told


async def test_a_new_key_takes_the_place_of_the_old(vault: OpenVault) -> None:
    """After a change the new key opens, with a clean status, and other members are as they were."""
    config = provider_config(weight=3, status=KeyStatus.INVALID)
    await vault.keep(config, "sk-old")
    changed = await _update(vault, "one", secret=Secret("sk-0123456789-new1"))

    expected = replace(
        config,
        updated_at=LATER,
        secret_preview="new1",
        secret_fingerprint=fingerprint("one", "sk-0123456789-new1"),
        status=KeyStatus.UNUSED,
    )
    assert expected == changed == await vault.store.get("acme", "prod", "one")
    assert {"one": "sk-0123456789-new1"} == await vault.opened()
    assert 2 == len(vault.told)


async def test_a_key_may_move_elsewhere_and_back(vault: OpenVault) -> None:
    """A reference takes the sealed text away; a new key takes the reference away."""
    await vault.keep(provider_config(), "sk-old")
    moved = await _update(vault, "one", secret_ref="file:openai")
    opened = await vault.opened()
    back = await _update(vault, "one", secret=Secret("sk-new"))

    assert ("file:openai", {}, "") == (moved.secret_ref, opened, back.secret_ref)
    assert {"one": "sk-new"} == await vault.opened()


async def test_a_change_of_something_else_leaves_the_key(vault: OpenVault) -> None:
    """Only what is named changes."""
    await vault.keep(provider_config(), "sk-one")
    await _update(vault, "one", alias="b", weight=9, rate_limit=4)
    found = await vault.store.get("acme", "prod", "one")

    assert ("b", 9, 4) == (found.alias, found.weight, found.rate_limit)
    assert {"one": "sk-one"} == await vault.opened()


async def test_a_refused_change_changes_nothing(vault: OpenVault) -> None:
    """A change out of bounds leaves the row, the generation and the audit log as they were."""
    await vault.keep(provider_config(), "sk-one")
    generation = (await vault.store.keys("acme", "prod", "openai")).generation
    with pytest.raises(GatewayError):
        await _update(vault, "one", weight=5000, secret=Secret("sk-two"))

    assert {"one": "sk-one"} == await vault.opened()
    assert generation == (await vault.store.keys("acme", "prod", "openai")).generation
    assert ["create"] == [entry.action for entry in await _audit(vault)]


async def test_what_is_deleted_is_gone(vault: OpenVault) -> None:
    """One, or all of a gateway; others stay; each is told of and audited."""
    for name, gateway_id in (("a", "prod"), ("b", "prod"), ("c", "prod"), ("d", "other")):
        await vault.keep(provider_config(name, gateway_id=gateway_id), "sk")
    one = await vault.store.delete("acme", "prod", "b", ACTOR, at=LATER, then=vault.tell)
    rest = await vault.store.delete("acme", "prod", None, ACTOR, at=LATER, then=vault.tell)
    none = await vault.store.delete("acme", "prod", None, ACTOR, at=LATER, then=vault.tell)
    left, total = await vault.store.page("acme", "", size=10, offset=0)

    assert (["b"], ["a", "c"], []) == ([e.id for e in one], sorted(e.id for e in rest), list(none))
    assert (["d"], 1) == ([each.id for each in left], total)
    assert ["delete"] * 3 == [entry.action for entry in await _audit(vault)][:3]


async def test_the_audit_log_has_every_change_and_no_key(vault: OpenVault) -> None:
    """Who changed what is there, and that a key is another one, but not the key."""
    secrets = ["sk-canary-0123456789", "sk-canary-9876543210"]
    await vault.keep(provider_config(secret_preview="6789"), secrets[0])
    await _update(vault, "one", secret=Secret(secrets[1]), weight=2)
    updated, created = await _audit(vault)

    assert ("create", "update") == (created.action, updated.action)
    assert ("provider_config", "one", "prod") == (
        updated.resource_type,
        updated.resource_id,
        updated.gateway_id,
    )
    assert '"secret_changed":true' in updated.new_json.replace(" ", "")
    assert "6789" in updated.old_json
    assert not any(secret in repr([created, updated]) for secret in secrets)


async def test_keys_are_those_of_a_gateway_and_provider(vault: OpenVault) -> None:
    """Nothing of another account, gateway or provider is among them, whatever it is called."""
    await vault.keep(provider_config("a", alias="x"), "sk-a")
    await vault.keep(provider_config("b", provider="anthropic"), "sk-b")
    await vault.keep(provider_config("c", gateway_id="other"), "sk-c")
    await vault.keep(provider_config("d", account_id="umbrella"), "sk-d")
    acme = await vault.store.keys("acme", "prod", "openai")
    umbrella = await vault.store.keys("umbrella", "prod", "openai")
    nobody = await vault.store.keys("nobody", "prod", "openai")

    assert (["a"], False) == ([key.config.id for key in acme.keys], acme.unified)
    assert (["d"], True) == ([key.config.id for key in umbrella.keys], umbrella.unified)
    assert ((), False, acme.generation) == (nobody.keys, nobody.unified, nobody.generation)


async def test_an_account_that_is_gone_has_no_keys(vault: OpenVault) -> None:
    """Of a deleted account nothing is given out, and nothing is kept for one, nor for one that never was."""
    await vault.keep(provider_config(account_id="umbrella"), "sk-one")
    async with vault.database.write() as connection:
        await connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.id == "umbrella").values(deleted_at_us=1))
    found = await vault.store.keys("umbrella", "prod", "openai")

    assert ((), False) == (found.keys, found.unified)
    for account_id in ("umbrella", "nobody"):
        with pytest.raises(GatewayError) as caught:
            await vault.keep(provider_config("two", account_id=account_id), "sk")
        assert Reason.NOT_FOUND == caught.value.reason


async def test_a_gateway_has_room_for_two_hundred(vault: OpenVault) -> None:
    """Also when they come at the same time, exactly 200 are kept."""
    kept = (vault.keep(provider_config(f"c{number:03}"), None) for number in range(205))
    done = await asyncio.gather(*kept, return_exceptions=True)
    refused = [each for each in done if isinstance(each, GatewayError)]

    assert [(Reason.INVALID_REQUEST, {"param": "gateway_id"})] * 5 == [
        (error.reason, error.metadata) for error in refused
    ]
    assert 200 == (await vault.store.page("acme", "prod", size=1, offset=0))[1]


async def test_reports_say_how_a_key_was_taken(vault: OpenVault) -> None:
    """The latest counts; one from before the key was changed, or of a key that is gone, does not."""
    await vault.keep(provider_config("a"), "sk")
    await vault.keep(provider_config("b"), "sk")
    generation = (await vault.store.keys("acme", "prod", "openai")).generation

    def report(name: str, status: KeyStatus, after_s: float) -> KeyReport:
        return KeyReport(id=name, status=status, used_at=NOW + timedelta(seconds=after_s))

    await vault.store.report(
        [
            report("gone", KeyStatus.ACTIVE, 1),
            report("b", KeyStatus.ACTIVE, -1),
            report("a", KeyStatus.INVALID, 5),
        ]
    )
    await vault.store.report([report("a", KeyStatus.ACTIVE, 4)])
    await vault.store.report([])
    a, b = await vault.store.get("acme", "prod", "a"), await vault.store.get("acme", "prod", "b")

    assert (KeyStatus.INVALID, NOW + timedelta(seconds=5)) == (a.status, a.last_used_at)
    assert (KeyStatus.UNUSED, None) == (b.status, b.last_used_at)
    assert generation == (await vault.store.keys("acme", "prod", "openai")).generation
    assert {"create"} == {entry.action for entry in await _audit(vault)}


async def test_sealed_texts_do_not_open_in_anothers_row(vault: OpenVault) -> None:
    """Whoever can write to the database cannot have one account's key given out to another."""
    await vault.keep(provider_config("a"), "sk-acme")
    await vault.keep(provider_config("b", account_id="umbrella"), "sk-umbrella")
    columns = PROVIDER_CONFIGS.c
    async with vault.database.write() as connection:
        sealed = select(columns.sealed_secret, columns.sealed_data_key).where(columns.id == "a")
        row = (await connection.execute(sealed)).mappings().one()
        await connection.execute(update(PROVIDER_CONFIGS).where(columns.id == "b").values(**row))

    with pytest.raises(KeyUnreadableError):
        await vault.opened("umbrella")
