"""What every store of auth's accounts does alike."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import structlog

from kit.audit import Actor, AuditQuery
from kit.clock import SystemClock
from kit.errors import GatewayError, Reason
from kit.generation import EVERYTHING
from services.auth.account_store_sql import SqlAccountStore
from services.auth.core.account import Account, AccountSpec
from services.auth.core.token import Grant, Owner, Permission, StoredToken, Token, TokenSpec
from services.auth.store_sql import open_store
from services.auth.tables import AUDIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.database import Location
    from services.auth.store_sql import SqlTokenStore

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ACTOR = Actor(token_id="aaa", interface="api")
ANN = Owner(user_id="ann")
RUN = (Permission.AI_GATEWAY_RUN,)


@pytest.fixture
async def tokens(database_location: Location) -> AsyncIterator[SqlTokenStore]:
    async with open_store(database_location, clock=SystemClock(), log=structlog.get_logger()) as found:
        yield found


@pytest.fixture
def accounts(tokens: SqlTokenStore) -> SqlAccountStore:
    return SqlAccountStore(tokens.database)


def _account(name: str, *, unified: bool = False) -> Account:
    spec = AccountSpec(name=f"The {name}", unified=unified)
    return Account(id=name, spec=spec, created_at=NOW, updated_at=NOW)


def _token(name: str, owner: Owner, *granted: str) -> StoredToken:
    grants = tuple(Grant(account_id=each, permissions=RUN) for each in granted)
    token = Token(
        id=name, owner=owner, spec=TokenSpec(name=name, grants=grants), created_at=NOW, updated_at=NOW
    )
    return StoredToken(token=token, hash=bytes(32))


async def _add(accounts: SqlAccountStore, *names: str) -> None:
    for name in names:
        await accounts.add(_account(name), actor=ACTOR, then=_quiet)


def _quiet(*_: object) -> None:
    """Take note of nothing."""


async def _refused(accounts: SqlAccountStore, name: str) -> Reason:
    with pytest.raises(GatewayError) as caught:
        await accounts.get(name)
    return caught.value.reason


async def test_what_was_added_is_found_and_told(accounts: SqlAccountStore, tokens: SqlTokenStore) -> None:
    """Every field comes back, and who knew that there was no such account hears of it."""
    told: list[tuple[int, str]] = []
    account = _account("acme", unified=True)
    await accounts.add(account, actor=ACTOR, then=lambda *event: told.append(event))

    assert account == await accounts.get("acme")
    assert [(await tokens.generation(), "acme")] == told
    assert Reason.NOT_FOUND == await _refused(accounts, "other")


async def test_an_id_is_used_once(accounts: SqlAccountStore) -> None:
    """Neither that of an account that is there nor that of a deleted one can be had again."""
    await _add(accounts, "acme", "gone")
    await accounts.delete("gone", at=LATER, actor=ACTOR, then=_quiet)
    found = []
    for name in ("acme", "gone"):
        with pytest.raises(GatewayError) as caught:
            await accounts.add(_account(name), actor=ACTOR, then=lambda *_: pytest.fail("told"))
        found.append((caught.value.reason, caught.value.metadata["id"]))

    assert [(Reason.CONFLICT, "acme"), (Reason.CONFLICT, "gone")] == found


async def test_pages_are_by_id(accounts: SqlAccountStore) -> None:
    """Deleted ones are left out; a page past the end is empty, and each knows the total."""
    await _add(accounts, "b", "B", "a", "_", "gone", "a-b")
    await accounts.delete("gone", at=LATER, actor=ACTOR, then=_quiet)
    pages = [await accounts.page(size=2, offset=offset, among=(), deleted=False) for offset in (0, 2, 4, 6)]
    some, total = await accounts.page(size=9, offset=0, among=["b", "a", "gone", "nope"], deleted=False)

    assert [["B", "_"], ["a", "a-b"], ["b"], []] == [[each.id for each in page] for page, _ in pages]
    assert {5} == {count for _, count in pages}
    assert (["a", "b"], 2) == ([each.id for each in some], total)


async def test_deleted_ones_are_listed_where_that_is_asked_for(accounts: SqlAccountStore) -> None:
    """Among the others and by id, with when they were deleted."""
    await _add(accounts, "b", "gone", "a")
    await accounts.delete("gone", at=LATER, actor=ACTOR, then=_quiet)
    everything, count = await accounts.page(size=9, offset=0, among=(), deleted=True)
    pages = [await accounts.page(size=2, offset=offset, among=(), deleted=True) for offset in (0, 2)]
    some, total = await accounts.page(size=9, offset=0, among=["b", "gone", "nope"], deleted=True)

    gone = replace(_account("gone"), deleted_at=LATER)
    assert ([_account("a"), _account("b"), gone], 3) == (everything, count)
    assert [["a", "b"], ["gone"]] == [[each.id for each in page] for page, _ in pages]
    assert (["b", "gone"], 2) == ([each.id for each in some], total)


async def test_a_change_is_kept_told_and_written_down(
    accounts: SqlAccountStore, tokens: SqlTokenStore
) -> None:
    """What is chosen is replaced; choosing the same again changes nothing."""
    told: list[tuple[int, str]] = []
    await _add(accounts, "acme")
    wanted = AccountSpec(name="New", unified=True)
    changed = await accounts.update(
        "acme", wanted, at=LATER, actor=ACTOR, then=lambda *event: told.append(event)
    )
    again = await accounts.update("acme", wanted, at=NOW, actor=ACTOR, then=lambda *_: pytest.fail("told"))
    async with tokens.database.read() as connection:
        entries = await AUDIT.page(connection, AuditQuery(account_id="acme"))

    assert replace(_account("acme"), spec=wanted, updated_at=LATER) == changed
    assert changed == again == await accounts.get("acme")
    assert [(await tokens.generation(), "acme")] == told
    assert [("update", ACTOR), ("create", ACTOR)] == [(entry.action, entry.actor) for entry in entries]
    assert [False, True] == [
        json.loads(text)["unified"] for text in (entries[0].old_json, entries[0].new_json)
    ]


async def test_what_is_not_there_cannot_be_changed(accounts: SqlAccountStore) -> None:
    """Neither an account that never was nor a deleted one."""
    await _add(accounts, "gone")
    await accounts.delete("gone", at=LATER, actor=ACTOR, then=_quiet)
    for name in ("nope", "gone"):
        for change in (
            accounts.update(name, AccountSpec(), at=NOW, actor=ACTOR, then=lambda *_: pytest.fail("told")),
            accounts.delete(name, at=NOW, actor=ACTOR, then=lambda *_: pytest.fail("told")),
        ):
            with pytest.raises(GatewayError) as caught:
                await change
            assert Reason.NOT_FOUND == caught.value.reason


async def test_a_deleted_account_takes_its_tokens_along(
    accounts: SqlAccountStore, tokens: SqlTokenStore
) -> None:
    """Its own are gone, users' lose their part and end when that was all; everything else stays."""
    told: list[str] = []
    await _add(accounts, "acme", "acme_", "ACME")
    mine, other = Owner(account_id="acme"), Owner(account_id="ACME")
    for stored in (
        _token("own", mine, "acme"),
        _token("both", ANN, "acme", "acme_"),
        _token("only", ANN, "acme"),
        _token("likely", ANN, "ACME"),
        _token("others", other, "ACME"),
    ):
        await tokens.add(stored, ACTOR)
    account = await accounts.delete("acme", at=LATER, actor=ACTOR, then=lambda _, scope: told.append(scope))
    found = [(await tokens.find(name, "acme")).stored for name in ("own", "both", "only", "likely", "others")]
    left = [each.token for each in found if each is not None]

    assert _account("acme") == account
    assert [("both", ("acme_",)), ("only", ()), ("likely", ("ACME",)), ("others", ("ACME",))] == [
        (token.id, token.accounts) for token in left
    ]
    assert [None, LATER, None, None] == [token.revoked_at for token in left]
    assert Reason.NOT_FOUND == await _refused(accounts, "acme")
    assert [EVERYTHING] == told


async def test_the_account_of_the_installation_is_made_once(
    accounts: SqlAccountStore, tokens: SqlTokenStore
) -> None:
    """What was chosen about it since stays, and a deleted one does not come back."""
    own = AccountSpec(unified=True)
    async with tokens.first_token() as transaction:
        made = await transaction.ensure_account("local", own, at=NOW)
    first = await accounts.get("local")
    await accounts.update("local", AccountSpec(), at=LATER, actor=ACTOR, then=_quiet)
    async with tokens.first_token() as transaction:
        again = await transaction.ensure_account("local", own, at=LATER)
    second = await accounts.get("local")
    await accounts.delete("local", at=LATER, actor=ACTOR, then=_quiet)
    async with tokens.first_token() as transaction:
        after = await transaction.ensure_account("local", own, at=LATER)

    assert (True, True, False) == (made, again, after)
    assert (True, False) == (first.spec.unified, second.spec.unified)
