"""The first token: made once, whatever is killed, raced, moved or broken."""

from __future__ import annotations

import asyncio
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog

from kit import moment
from kit.audit import Actor
from kit.clock import SystemClock
from kit.config import ConfigError, load
from kit.database import sqlite_file
from services.auth.account_store_sql import SqlAccountStore
from services.auth.config import AuthConfig
from services.auth.core.authentication import authenticate
from services.auth.core.first_token import FirstTokenError, Verdict
from services.auth.core.token import Owner, Permission, digest, mint, token_id
from services.auth.first_token import GivenToken, TokenFile, ensure_first_token
from services.auth.store_sql import open_store

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from kit.secret import Secret
    from services.auth.core.authentication import Authenticated
    from services.auth.store_sql import SqlTokenStore

ROOT = Path(__file__).resolve().parents[2]
CLOCK = SystemClock()


def _store(data: Path) -> AbstractAsyncContextManager[SqlTokenStore]:
    return open_store(sqlite_file(data / "auth.db"), clock=CLOCK, log=structlog.get_logger())


async def _start(data: Path, account_id: str = "acme") -> Verdict:
    log = structlog.get_logger()
    async with _store(data) as store:
        return await ensure_first_token(
            store, TokenFile(data / "token"), account_id=account_id, clock=CLOCK, log=log
        )


async def _usable(data: Path, account_id: str = "acme") -> Authenticated:
    """Return what the file's token authenticates as."""
    text = (data / "token").read_text().strip()
    async with _store(data) as store:
        found = await store.find(token_id(text) or "", account_id)
    return authenticate(text, account_id, found.stored, found.existing, moment.now(CLOCK))


async def _count(data: Path, account_id: str = "acme") -> int:
    async with _store(data) as store:
        return (await store.page(Owner(account_id=account_id), size=1, offset=0, revoked=True))[1]


async def _revoke_first(data: Path) -> None:
    async with _store(data) as store:
        owner = Owner(account_id="acme")
        (token,), _ = await store.page(owner, size=1, offset=0, revoked=False)
        await store.revoke(owner, token.id, at=moment.now(CLOCK), actor=Actor(), then=lambda *_: None)


def _names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


async def test_a_new_installation_gets_a_token(tmp_path: Path) -> None:
    """The file is private and complete, and its token may do everything."""
    data = tmp_path / "deep" / "data"

    assert Verdict.MINT is await _start(data)
    assert tuple(Permission) == (await _usable(data)).permissions
    assert 0o600 == stat.S_IMODE((data / "token").stat().st_mode)
    assert 0o700 == stat.S_IMODE(data.stat().st_mode)
    assert {"auth.db", "token"} == _names(data)


async def test_later_starts_change_nothing(tmp_path: Path) -> None:
    """The token of the first start stays."""
    await _start(tmp_path)
    text = (tmp_path / "token").read_text()

    assert [Verdict.READY] * 3 == [await _start(tmp_path) for _ in range(3)]
    assert text == (tmp_path / "token").read_text()
    assert 1 == await _count(tmp_path)


async def test_a_file_that_was_taken_away_stays_away(tmp_path: Path) -> None:
    """Whoever keeps the token elsewhere is not given a second one, and the first goes on."""
    await _start(tmp_path)
    text = (tmp_path / "token").read_text()
    (tmp_path / "token").unlink()

    assert Verdict.FILE_GONE is await _start(tmp_path)
    assert not (tmp_path / "token").exists()
    (tmp_path / "token").write_text(text)
    assert (await _usable(tmp_path)).account_id == "acme"


async def test_a_revoked_token_does_not_come_back(tmp_path: Path) -> None:
    """Neither with its file nor without does a revoked first token make a new one."""
    await _start(tmp_path)
    await _revoke_first(tmp_path)

    assert Verdict.REVOKED is await _start(tmp_path)
    (tmp_path / "token").unlink()
    assert Verdict.FILE_GONE is await _start(tmp_path)
    assert 1 == await _count(tmp_path)


async def test_a_token_with_another_secret_by_now_is_left_alone(tmp_path: Path) -> None:
    """Whoever gives the first token another secret need not put it into the file for the next start."""
    await _start(tmp_path)
    text, owner = mint().text.reveal(), Owner(account_id="acme")
    async with _store(tmp_path) as store:
        (token,), _ = await store.page(owner, size=1, offset=0, revoked=False)
        await store.roll(
            owner, token.id, digest(text), at=moment.now(CLOCK), actor=Actor(), then=lambda *_: None
        )

    assert Verdict.ROLLED is await _start(tmp_path)
    assert 1 == await _count(tmp_path)


async def test_the_operators_account_may_use_the_operators_keys(tmp_path: Path) -> None:
    """The account that is made on the first start is the operator's own."""
    await _start(tmp_path)
    async with _store(tmp_path) as store:
        account = await SqlAccountStore(store.database).get("acme")

    assert account.spec.unified


async def test_a_deleted_account_does_not_come_back(tmp_path: Path) -> None:
    """A start for an account that was deleted is refused with a sentence that names the setting."""
    await _start(tmp_path)
    async with _store(tmp_path) as store:
        accounts = SqlAccountStore(store.database)
        await accounts.delete("acme", at=moment.now(CLOCK), actor=Actor(), then=lambda *_: None)
    with pytest.raises(FirstTokenError, match=r"'acme' was deleted.*HEADRACE_ACCOUNT"):
        await _start(tmp_path)


async def test_a_lost_database_takes_the_token_from_its_file(tmp_path: Path) -> None:
    """A file without a row, whatever the reason, keeps working."""
    await _start(tmp_path)
    text = (tmp_path / "token").read_text()
    (tmp_path / "auth.db").unlink()

    assert Verdict.ADOPT is await _start(tmp_path)
    assert text == (tmp_path / "token").read_text()
    assert tuple(Permission) == (await _usable(tmp_path)).permissions


async def test_an_operator_may_bring_a_token(tmp_path: Path) -> None:
    """A token file that is there before the first start is taken, and closed to others where possible."""
    text = mint().text.reveal()
    (tmp_path / "token").write_text(f"{text}\n")
    (tmp_path / "token").chmod(0o644)

    assert Verdict.ADOPT is await _start(tmp_path)
    assert token_id(text) == (await _usable(tmp_path)).token.id
    assert 0o600 == stat.S_IMODE((tmp_path / "token").stat().st_mode)


async def test_another_account_is_not_mixed_up(tmp_path: Path) -> None:
    """A changed account is refused with both names; without the file it gets a token of its own."""
    await _start(tmp_path)
    with pytest.raises(FirstTokenError, match=r"'acme'.*'beta'"):
        await _start(tmp_path, "beta")
    (tmp_path / "token").rename(tmp_path / "token.acme")

    assert Verdict.MINT is await _start(tmp_path, "beta")
    assert "beta" == (await _usable(tmp_path, "beta")).account_id


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xfe\x00", b"hr_short", b"x" * 10_000])
async def test_a_file_with_something_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """What is no token stops the start with a sentence that names the file, and stays as it is."""
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(FirstTokenError, match=str(tmp_path / "token")):
        await _start(tmp_path)

    assert content == (tmp_path / "token").read_bytes()
    assert 0 == await _count(tmp_path)


async def test_a_file_with_a_changed_secret_is_refused(tmp_path: Path) -> None:
    """A token whose id is known and whose secret is not the one that was made is not adopted."""
    await _start(tmp_path)
    text = (tmp_path / "token").read_text().strip()
    (tmp_path / "token").write_text(text[:16] + mint().text.reveal()[16:])
    with pytest.raises(FirstTokenError) as caught:
        await _start(tmp_path)

    assert text[16:] not in str(caught.value)


async def test_a_directory_in_its_place_is_one_sentence(tmp_path: Path) -> None:
    """What cannot be read is said so."""
    (tmp_path / "token").mkdir()
    with pytest.raises(FirstTokenError, match="cannot be read"):
        await _start(tmp_path)


_PROGRAM = """
import asyncio, os, signal, sys
from pathlib import Path
import structlog
from kit.clock import SystemClock
from kit.database import sqlite_file
from services.auth import first_token, store_sql

data, point = Path(sys.argv[1]), sys.argv[2]

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def after(function):
    def call(*args, **kwargs):
        function(*args, **kwargs)
        die()
    return call

async def main():
    clock, log = SystemClock(), structlog.get_logger()
    if point == "before the temporary file":
        first_token.TokenFile._write_durably = die
    if point == "before the file":
        first_token.TokenFile._write_durably = after(first_token.TokenFile._write_durably)
    if point == "after the file":
        first_token.TokenFile.write = after(first_token.TokenFile.write)
    async with store_sql.open_store(sqlite_file(data / "auth.db"), clock=clock, log=log) as store:
        add = store_sql._FirstToken.add

        async def add_and_die(self, stored):
            await add(self, stored)
            die()

        if point == "before the commit":
            store_sql._FirstToken.add = add_and_die
        file = first_token.TokenFile(data / "token")
        await first_token.ensure_first_token(store, file, account_id="acme", clock=clock, log=log)
        if point == "after the commit":
            die()

asyncio.run(main())
"""


def _run(data: Path, point: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _PROGRAM, str(data), point], cwd=ROOT)


@pytest.mark.parametrize(
    "point",
    [
        "before the temporary file",
        "before the file",
        "after the file",
        "before the commit",
        "after the commit",
    ],
)
async def test_a_kill_leaves_a_state_to_go_on_from(tmp_path: Path, point: str) -> None:
    """Killed at any point of its first start, the next start has one usable token and no left-overs."""
    code = await asyncio.to_thread(_run(tmp_path, point).wait)
    await _start(tmp_path)

    assert -signal.SIGKILL == code
    assert tuple(Permission) == (await _usable(tmp_path)).permissions
    assert 1 == await _count(tmp_path)
    assert {"auth.db", "token"} == _names(tmp_path)


async def test_starts_at_the_same_time_make_one_token(tmp_path: Path) -> None:
    """Of several first starts one makes the token, and all others find it."""
    processes = [_run(tmp_path, "none") for _ in range(4)]
    codes = [await asyncio.to_thread(process.wait) for process in processes]

    assert [0] * 4 == codes
    assert 1 == await _count(tmp_path)
    assert (await _usable(tmp_path)).account_id == "acme"


async def _start_given(data: Path, text: Secret) -> Verdict:
    log = structlog.get_logger()
    async with _store(data) as store:
        return await ensure_first_token(store, GivenToken(text), account_id="acme", clock=CLOCK, log=log)


async def test_a_token_that_the_operator_brings_is_taken_over(tmp_path: Path) -> None:
    """By every process alike, and no file is written."""
    text = mint().text

    assert [Verdict.ADOPT, Verdict.READY] == [await _start_given(tmp_path, text) for _ in range(2)]
    assert {"auth.db"} == _names(tmp_path)
    (tmp_path / "token").write_text(text.reveal())
    assert tuple(Permission) == (await _usable(tmp_path)).permissions


async def test_another_token_is_added_to_the_one_before(tmp_path: Path) -> None:
    """So that it can be changed without a moment in which none works; the old one is then revoked."""
    assert [Verdict.ADOPT] * 2 == [await _start_given(tmp_path, mint().text) for _ in range(2)]
    assert 2 == await _count(tmp_path)


async def test_a_brought_token_with_a_changed_secret_is_refused(tmp_path: Path) -> None:
    """The message says where it is from and holds nothing of it."""
    text = mint()
    await _start_given(tmp_path, text.text)
    with pytest.raises(FirstTokenError, match="HEADRACE_AUTH_FIRST_TOKEN does not hold the token") as caught:
        await _start_given(tmp_path, mint(name=text.id).text)
    assert text.text.reveal()[16:] not in str(caught.value)


def test_what_is_no_token_is_a_wrong_setting() -> None:
    """It is not repeated: it may be another secret."""
    with pytest.raises(ConfigError, match="HEADRACE_AUTH_FIRST_TOKEN must be a token of Headrace") as caught:
        load(AuthConfig, {"HEADRACE_AUTH_FIRST_TOKEN": "canary"})
    assert "canary" not in str(caught.value)
