"""What every store of auth does alike. A store joins by one more parameter of `store`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import structlog

from kit.clock import SystemClock
from kit.errors import GatewayError, Reason
from services.auth.core.page import Position
from services.auth.core.token import Permission, Restrictions, StoredToken, Token
from services.auth.store_sqlite import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from services.auth.store import TokenStore

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.fixture(params=["sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TokenStore]:
    async with open_store(tmp_path / "auth.db", clock=SystemClock(), log=structlog.get_logger()) as found:
        yield found


def _stored(name: str, *, account_id: str = "acme", age_s: int = 0, bootstrap: bool = False) -> StoredToken:
    token = Token(
        id=name,
        account_id=account_id,
        name=f"name of {name}",
        permissions=(Permission.AI_GATEWAY_RUN, Permission.WORKERS_AI_READ),
        restrictions=Restrictions(gateway_ids=("g",), providers=("p", "q"), models=("p/m",)),
        created_at=NOW - timedelta(seconds=age_s),
        expires_at=NOW + timedelta(days=1, microseconds=1),
    )
    return StoredToken(token=token, hash=name.encode().ljust(32), bootstrap=bootstrap)


async def test_what_was_added_is_found(store: TokenStore) -> None:
    """Every field comes back as it was, with the generation."""
    stored = _stored("aaa", bootstrap=True)
    await store.add(stored)

    assert (stored, await store.generation()) == await store.find("aaa")


async def test_what_was_not_added_is_not_found(store: TokenStore) -> None:
    """An unknown id is no error."""
    assert (None, await store.generation()) == await store.find("nope")


async def test_an_id_is_used_once(store: TokenStore) -> None:
    """A second token of the same id is refused and changes nothing, in any account."""
    await store.add(_stored("aaa"))
    with pytest.raises(GatewayError) as caught:
        await store.add(_stored("aaa", account_id="other"))

    assert (caught.value.reason, caught.value.metadata) == (Reason.CONFLICT, {"resource": "token"})
    assert (_stored("aaa"), await store.generation()) == await store.find("aaa")
    assert await store.page("other", size=10, after=None) == []


async def test_pages_are_newest_first_and_meet(store: TokenStore) -> None:
    """Going on from the last token of a page neither repeats nor skips, equal times included."""
    for index in range(25):
        await store.add(_stored(f"t{index:02}", age_s=index // 3))
    await store.add(_stored("zzz", account_id="other"))
    names: list[str] = []
    after: Position | None = None
    while page := await store.page("acme", size=4, after=after):
        assert len(page) <= 4
        names += [token.id for token in page]
        after = Position(created_at=page[-1].created_at, id=page[-1].id)

    expected = sorted(
        (f"t{index:02}" for index in range(25)), key=lambda name: (-(int(name[1:]) // 3), name), reverse=True
    )
    assert expected == names


async def test_a_revocation_is_kept_and_told(store: TokenStore) -> None:
    """Revoking notes the time, makes a new generation and tells it with the account."""
    told: list[tuple[int, str]] = []
    await store.add(_stored("aaa"))
    before = await store.generation()
    token = await store.revoke("acme", "aaa", at=NOW, then=lambda *event: told.append(event))
    found, generation = await store.find("aaa")

    assert token.revoked_at == NOW
    assert found is not None
    assert token == found.token
    assert [(before + 1, "acme")] == told
    assert before + 1 == generation


async def test_revoking_again_changes_nothing(store: TokenStore) -> None:
    """The first time stays, the generation stays, and nobody is told."""
    told: list[tuple[int, str]] = []
    await store.add(_stored("aaa"))
    await store.revoke("acme", "aaa", at=NOW, then=lambda *event: told.append(event))
    generation = await store.generation()
    again = await store.revoke(
        "acme", "aaa", at=NOW + timedelta(hours=1), then=lambda *event: told.append(event)
    )

    assert (NOW, generation, 1) == (again.revoked_at, await store.generation(), len(told))


@pytest.mark.parametrize(("account_id", "name"), [("other", "aaa"), ("acme", "bbb"), ("acme", "")])
async def test_a_token_of_nobody_cannot_be_revoked(store: TokenStore, account_id: str, name: str) -> None:
    """The token of another account is as unknown as one that never was, and stays as it is."""
    await store.add(_stored("aaa"))
    generation = await store.generation()
    with pytest.raises(GatewayError) as caught:
        await store.revoke(account_id, name, at=NOW, then=lambda *_: pytest.fail("told"))

    assert (caught.value.reason, caught.value.metadata["resource"]) == (Reason.NOT_FOUND, "token")
    assert (_stored("aaa"), generation) == await store.find("aaa")


async def test_parallel_changes_lose_nothing(store: TokenStore) -> None:
    """Every token of many made and revoked at the same time is there, and each generation is told once."""
    told: list[int] = []

    async def one(index: int) -> None:
        await store.add(_stored(f"t{index}"))
        await store.revoke("acme", f"t{index}", at=NOW, then=lambda number, _: told.append(number))

    first = await store.generation()
    await asyncio.gather(*(one(index) for index in range(50)))

    assert list(range(first + 1, first + 51)) == told
    assert len(await store.page("acme", size=1000, after=None)) == 50


async def test_the_first_token_is_remembered(store: TokenStore) -> None:
    """An account had a first token once it was added, revoked or not; others had none."""
    async with store.first_token() as transaction:
        before = await transaction.had_first_token("acme")
        await transaction.add(_stored("aaa", bootstrap=True))
    await store.add(_stored("bbb", account_id="other"))
    await store.revoke("acme", "aaa", at=NOW, then=lambda *_: None)
    async with store.first_token() as transaction:
        after = [await transaction.had_first_token(name) for name in ("acme", "other", "nobody")]

    assert (before, after) == (False, [True, False, False])


async def test_a_first_token_that_failed_is_undone(store: TokenStore) -> None:
    """An error inside the transaction leaves nothing of it."""

    async def fail() -> None:
        async with store.first_token() as transaction:
            await transaction.add(_stored("aaa", bootstrap=True))
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        await fail()

    assert (None, await store.generation()) == await store.find("aaa")
