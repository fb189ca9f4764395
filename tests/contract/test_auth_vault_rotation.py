"""Changes of the master key, on every database."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from kit.audit import Actor
from kit.errors import GatewayError, Reason
from kit.secret import Secret
from services.auth.core.provider_config import ProviderConfigChange
from services.auth.vault.master_keys import KeyRing
from services.auth.vault.rotation import Progress
from services.auth.vault.sealing import MasterKey
from services.auth.vault.secret_store import KeyUnreadableError
from services.auth.vault.vault_key import current_id, set_current
from services.auth.vault_tables import PROVIDER_CONFIGS
from tests.fakes.vault import NOW, OpenVault, open_vault, provider_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from kit.database_location import Location

OLD, NEW = MasterKey(bytes(32)), MasterKey(bytes([1] * 32))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "master.key"


@pytest.fixture
async def vault(database_location: Location, file: Path) -> AsyncIterator[OpenVault]:
    async with open_vault(database_location, KeyRing.of_file(file)) as found:
        yield found


def _environment(*keys: MasterKey) -> KeyRing:
    return KeyRing.of_environment(Secret(" ".join(key.encode().reveal() for key in keys)))


async def _fill(vault: OpenVault, count: int, first: int = 0) -> dict[str, str]:
    expected = {f"c{number:03}": f"sk-{number}" for number in range(first, first + count)}
    for name, secret in expected.items():
        await vault.keep(provider_config(name), secret)
    return expected


def _move(path: Path, to: Path) -> None:
    path.rename(to)


def _make_directory(path: Path) -> None:
    path.mkdir()


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.is_file()]


async def _rotate(vault: OpenVault, *, generate: bool = True) -> list[Progress]:
    return [step async for step in vault.rotation.run(generate=generate)]


async def test_the_first_key_is_made_when_nothing_is_sealed(vault: OpenVault, file: Path) -> None:
    """A new vault has a key in its file, and seals under it."""
    await _fill(vault, 1)

    assert vault.ring.ids == KeyRing.of_file(file).ids
    assert {vault.ring.ids[0]: 1} == await vault.rotation.counts()


async def test_a_lost_key_is_not_replaced_by_itself(
    database_location: Location, file: Path, tmp_path: Path
) -> None:
    """Where sealed keys are, no master key is made: they could open again once theirs is put back."""
    async with open_vault(database_location, KeyRing.of_file(file)) as vault:
        expected = await _fill(vault, 2)
    _move(file, tmp_path / "lost")
    async with open_vault(database_location, KeyRing.of_file(file)) as vault:
        assert [tmp_path / "lost"] == _files(tmp_path)
        for call in (vault.opened(), vault.keep(provider_config("more"), "sk")):
            with pytest.raises((KeyUnreadableError, GatewayError), match="does not have"):
                await call
        _move(tmp_path / "lost", file)
        assert expected == await vault.opened()


async def test_a_rotation_makes_a_key_and_retires_the_old(vault: OpenVault, file: Path) -> None:
    """All keys are sealed under the new one, which alone is in the file; progress only grows."""
    expected = await _fill(vault, 60)
    [old] = vault.ring.ids
    steps = await _rotate(vault)
    [new] = KeyRing.of_file(file).ids

    assert old != new
    assert ({new: 60}, expected) == (await vault.rotation.counts(), await vault.opened())
    assert [0, 25, 50, 60] == [step.done for step in steps]
    assert {(60, new)} == {(step.total, step.master_key_id) for step in steps}


async def test_a_rotation_of_nothing_still_makes_a_key(vault: OpenVault) -> None:
    """What is kept next is sealed under the new key."""
    [old] = vault.ring.ids
    await _rotate(vault)
    await _fill(vault, 1)

    assert [old] != list(vault.ring.ids)
    assert {vault.ring.ids[0]: 1} == await vault.rotation.counts()


@pytest.mark.parametrize("steps", [1, 2, 3])
async def test_a_rotation_that_was_broken_off_is_gone_on_with(
    vault: OpenVault, file: Path, steps: int
) -> None:
    """Wherever the caller goes away, every key opens, and the next run ends with the same new key."""
    expected = await _fill(vault, 60)
    async with aclosing(vault.rotation.run(generate=True)) as running:
        taken = [await anext(running) for _ in range(steps)]
    broken_off = (KeyRing.of_file(file).ids, await vault.opened())
    expected |= await _fill(vault, 5, first=100)
    last = (await _rotate(vault))[-1]

    assert (2, expected) == (len(broken_off[0]), broken_off[1] | await vault.opened())
    assert taken[0].master_key_id == last.master_key_id
    assert (last.master_key_id,) == KeyRing.of_file(file).ids
    assert {last.master_key_id: 65} == await vault.rotation.counts()


async def test_what_is_kept_and_changed_meanwhile_opens(vault: OpenVault) -> None:
    """Keys that come, change and go while a rotation runs are sealed under the new master key."""
    expected = await _fill(vault, 80)
    rotating = asyncio.create_task(_rotate(vault))
    more = {f"m{number}": f"sk-more-{number}" for number in range(20)}
    await asyncio.gather(*(vault.keep(provider_config(name), secret) for name, secret in more.items()))
    await rotating

    assert expected | more == await vault.opened()
    assert {vault.ring.ids[0]: 100} == await vault.rotation.counts()


async def test_one_rotation_runs_at_a_time(vault: OpenVault) -> None:
    """A second one is told so; once the first was broken off, the next may run."""
    await _fill(vault, 30)
    async with aclosing(vault.rotation.run(generate=True)) as running:
        await anext(running)
        with pytest.raises(GatewayError, match="A rotation is running already"):
            await _rotate(vault)

    assert await _rotate(vault)


async def test_keys_of_the_environment_are_rotated_to_not_made(database_location: Location) -> None:
    """The operator puts the new key first; until the rotation the old one is sealed under."""
    async with open_vault(database_location, _environment(OLD)) as vault:
        expected = await _fill(vault, 3)
    async with open_vault(database_location, _environment(NEW, OLD)) as vault:
        expected |= await _fill(vault, 1, first=10)
        before = await vault.rotation.counts()
        with pytest.raises(GatewayError, match="put a new key before the old one") as refused:
            await _rotate(vault)
        last = (await _rotate(vault, generate=False))[-1]
        with pytest.raises(GatewayError, match="already") as again:
            await _rotate(vault, generate=False)
    async with open_vault(database_location, _environment(NEW)) as vault:
        assert expected == await vault.opened()

    assert ({OLD.id: 4}, Progress(done=4, total=4, master_key_id=NEW.id)) == (before, last)
    assert [Reason.CONFLICT] * 2 == [refused.value.reason, again.value.reason]


async def test_keys_that_do_not_open_stop_nothing_else(vault: OpenVault, file: Path) -> None:
    """They are named, all others are rotated, and the old master key stays for as long as it is needed."""
    expected = await _fill(vault, 30)
    [old] = vault.ring.ids
    columns = PROVIDER_CONFIGS.c
    async with vault.database.write() as connection:
        broken = update(PROVIDER_CONFIGS).where(columns.id == "c007")
        await connection.execute(broken.values(sealed_data_key=b"\x01damaged"))
    with pytest.raises(GatewayError, match=r"1 stored keys do not open .*: c007\.") as caught:
        await _rotate(vault)
    ids = KeyRing.of_file(file).ids
    again = ProviderConfigChange(secret=Secret("sk-again"))
    await vault.store.update("acme", "prod", "c007", again, Actor(), at=NOW, then=vault.tell)
    last = (await _rotate(vault))[-1]

    assert Reason.CONFLICT == caught.value.reason
    assert (last.master_key_id, old) == ids
    assert (last.master_key_id,) == KeyRing.of_file(file).ids
    assert expected | {"c007": "sk-again"} == await vault.opened()


async def test_another_process_finds_the_new_key_in_the_file(database_location: Location, file: Path) -> None:
    """A process that was there before the rotation opens, and seals, under the key that another made."""
    async with open_vault(database_location, KeyRing.of_file(file)) as one:
        expected = await _fill(one, 3)
        async with open_vault(database_location, KeyRing.of_file(file)) as other:
            await _rotate(one)
            expected |= await _fill(other, 1, first=50)

            assert expected == await other.opened()
            assert {one.ring.ids[0]: 4} == await other.rotation.counts()


async def test_a_vault_whose_key_is_lost_can_be_used_again(database_location: Location) -> None:
    """With another master key nothing is sealed by mistake; a rotation to it says that it is meant."""
    async with open_vault(database_location, _environment(OLD)) as vault:
        await _fill(vault, 2)
    async with open_vault(database_location, _environment(NEW)) as vault:
        with pytest.raises(GatewayError, match="does not have its master key"):
            await vault.keep(provider_config("more"), "sk")
        with pytest.raises(GatewayError, match="2 stored keys do not open"):
            await _rotate(vault, generate=False)
        await vault.keep(provider_config("more"), "sk")
        async with vault.database.read() as connection:
            assert NEW.id == await current_id(connection)

        assert {NEW.id: 1, OLD.id: 2} == await vault.rotation.counts()


async def test_a_file_that_cannot_be_written_changes_nothing(vault: OpenVault, file: Path) -> None:
    """The rotation says so, and everything is as it was."""
    expected = await _fill(vault, 3)
    _move(file, file.with_name("aside"))
    _make_directory(file)
    with pytest.raises(GatewayError, match="The file of master keys cannot be read") as caught:
        await _rotate(vault)
    _move(file, file.with_name("directory"))
    _move(file.with_name("aside"), file)

    assert Reason.CONFLICT == caught.value.reason
    assert expected == await vault.opened()
    assert {vault.ring.ids[0]: 3} == await vault.rotation.counts()


async def test_a_file_that_cannot_be_read_is_told_as_such(vault: OpenVault, file: Path) -> None:
    """A key that is to be sealed under a master key of another process is refused, and can be tried again."""
    async with vault.database.write() as connection:
        await set_current(connection, NEW.id)
    await _fill(vault, 1)  # nothing is sealed under that, so that this process's own is taken instead
    async with vault.database.write() as connection:
        await set_current(connection, NEW.id)
        await connection.execute(update(PROVIDER_CONFIGS).values(master_key_id=NEW.id))
    await asyncio.to_thread(file.write_text, "nonsense")

    with pytest.raises(GatewayError) as caught:
        await _fill(vault, 1, first=1)

    assert Reason.SERVICE_UNAVAILABLE is caught.value.reason
