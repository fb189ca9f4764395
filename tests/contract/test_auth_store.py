"""What every store of auth's tokens does alike."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from kit.audit import Actor, AuditQuery
from kit.clock import SystemClock
from kit.errors import GatewayError, Reason
from kit.generation import EVERYTHING
from kit.moment import microseconds
from services.auth.account_store_sql import SqlAccountStore
from services.auth.core.account import Account, AccountSpec
from services.auth.core.token import Grant, Owner, Permission, Restrictions, StoredToken, Token, TokenSpec
from services.auth.store_sql import open_store
from services.auth.tables import AUDIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from kit.audit import AuditEntry
    from kit.database import Location
    from services.auth.store import TokenStore
    from services.auth.store_sql import SqlTokenStore

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ACTOR = Actor(token_id="aaa", token_name="boss", address="192.0.2.1", interface="api")
ACME = Owner(account_id="acme")
ANN = Owner(user_id="ann@example.com")
RUN = (Permission.AI_GATEWAY_RUN,)
ALL = tuple(Permission)


def _quiet(*_: object) -> None:
    """Take note of nothing."""


@pytest.fixture
async def store(database_location: Location) -> AsyncIterator[SqlTokenStore]:
    async with open_store(database_location, clock=SystemClock(), log=structlog.get_logger()) as found:
        accounts = SqlAccountStore(found.database)
        for name in ("acme", "other", "third"):
            account = Account(id=name, spec=AccountSpec(), created_at=NOW, updated_at=NOW)
            await accounts.add(account, actor=Actor(), then=_quiet)
        yield found


def _spec(*grants: Grant, **fields: Any) -> TokenSpec:
    return TokenSpec(**{"name": "mine", "grants": grants, **fields})


def _stored(
    name: str, *, account_id: str = "acme", age_s: int = 0, permissions: Sequence[Permission] = RUN
) -> StoredToken:
    when = NOW - timedelta(seconds=age_s)
    token = Token(
        id=name,
        owner=Owner(account_id=account_id),
        spec=_spec(Grant(account_id=account_id, permissions=tuple(permissions)), name=f"name of {name}"),
        created_at=when,
        updated_at=when,
    )
    return StoredToken(token=token, hash=name.encode().ljust(32))


def _of_ann(name: str, *accounts: str) -> StoredToken:
    spec = _spec(*(Grant(account_id=each, permissions=RUN) for each in accounts))
    token = Token(id=name, owner=ANN, spec=spec, created_at=NOW, updated_at=NOW)
    return StoredToken(token=token, hash=name.encode().ljust(32))


async def _kept(store: TokenStore, name: str) -> StoredToken | None:
    return (await store.find(name, "acme")).stored


async def _audited(store: SqlTokenStore, account_id: str = "acme") -> list[AuditEntry]:
    query = AuditQuery(account_id=account_id, resource_type="token")
    async with store.database.read() as connection:
        return list(await AUDIT.page(connection, query))


async def test_what_was_added_is_found(store: SqlTokenStore) -> None:
    """Every field comes back as it was, with the generation and the accounts that there are."""
    spec = _spec(
        Grant(account_id="acme", permissions=(Permission.AI_GATEWAY_RUN, Permission.OPERATOR)),
        name="ci ✓",
        restrictions=Restrictions(
            gateway_ids=("g",),
            providers=("p", "q"),
            models=("p/m",),
            addresses=("10.0.0.0/8", "2001:db8::1"),
            forbidden_addresses=("10.1.1.1",),
        ),
        not_before=NOW + timedelta(microseconds=1),
        expires_at=NOW + timedelta(days=1, microseconds=1),
        disabled=True,
    )
    token = Token(id="aaa", owner=ACME, spec=spec, created_at=NOW, updated_at=LATER, last_used_at=LATER)
    stored = StoredToken(token=token, hash=bytes(range(32)), bootstrap=True)
    await store.add(stored, ACTOR)
    found = await store.find("aaa", "other")

    assert (stored, {"acme", "other"}, await store.generation()) == (
        found.stored,
        found.existing,
        found.generation,
    )


async def test_what_was_not_added_is_not_found(store: SqlTokenStore) -> None:
    """An unknown id is no error where a token is presented, and one where it is asked for."""
    assert await _kept(store, "nope") is None
    with pytest.raises(GatewayError) as caught:
        await store.get(ACME, "nope")

    assert Reason.NOT_FOUND == caught.value.reason


async def test_an_id_is_used_once(store: SqlTokenStore) -> None:
    """A second token of the same id is refused and changes nothing, in any account."""
    await store.add(_stored("aaa"), ACTOR)
    with pytest.raises(GatewayError) as caught:
        await store.add(_stored("aaa", account_id="other"), ACTOR)

    assert (caught.value.reason, caught.value.metadata) == (Reason.CONFLICT, {"resource": "token"})
    assert _stored("aaa") == await _kept(store, "aaa")
    assert [] == await _audited(store, "other")


async def test_a_token_is_for_accounts_that_exist(store: SqlTokenStore) -> None:
    """One that names another account is not made, and none is changed to."""
    with pytest.raises(GatewayError) as added:
        await store.add(_of_ann("aaa", "acme", "nobody"), ACTOR)
    await store.add(_of_ann("bbb", "acme"), ACTOR)
    wanted = _of_ann("bbb", "nobody").token.spec
    with pytest.raises(GatewayError) as changed:
        await store.update(ANN, "bbb", wanted, at=LATER, actor=ACTOR, then=_quiet)

    assert [(Reason.NOT_FOUND, "nobody")] * 2 == [
        (error.value.reason, error.value.metadata["id"]) for error in (added, changed)
    ]
    assert (None, _of_ann("bbb", "acme")) == (await _kept(store, "aaa"), await _kept(store, "bbb"))


async def test_pages_are_newest_first_and_meet(store: SqlTokenStore) -> None:
    """Going through the pages neither repeats nor skips, equal times included, and each knows the total."""
    for index in range(25):
        await store.add(_stored(f"t{index:02}", age_s=index // 3), ACTOR)
    await store.add(_stored("zzz", account_id="other"), ACTOR)
    await store.add(_of_ann("yyy", "acme"), ACTOR)
    pages = [await store.page(ACME, size=4, offset=offset, revoked=False) for offset in range(0, 32, 4)]

    expected = sorted(
        (f"t{index:02}" for index in range(25)), key=lambda name: (-(int(name[1:]) // 3), name), reverse=True
    )
    assert expected == [token.id for tokens, _ in pages for token in tokens]
    assert {25} == {total for _, total in pages}
    assert (["yyy"], 1) == (
        [token.id for token in (await store.page(ANN, size=4, offset=0, revoked=False))[0]],
        (await store.page(ANN, size=4, offset=9, revoked=False))[1],
    )


async def test_a_revocation_is_kept_and_told(store: SqlTokenStore) -> None:
    """Revoking notes the time, makes a new generation and tells it with the account."""
    told: list[tuple[int, str]] = []
    await store.add(_stored("aaa"), ACTOR)
    before = await store.generation()
    token = await store.revoke(ACME, "aaa", at=LATER, actor=ACTOR, then=lambda *event: told.append(event))
    found = await store.find("aaa", "acme")

    assert found.stored is not None
    assert (LATER, token) == (token.revoked_at, found.stored.token)
    assert [(found.generation, "acme")] == told
    assert found.generation > before
    assert ([], 0) == await store.page(ACME, size=9, offset=0, revoked=False)
    assert ([token], 1) == await store.page(ACME, size=9, offset=0, revoked=True)


async def test_revoking_again_changes_nothing(store: SqlTokenStore) -> None:
    """The first time stays, the generation stays, and nobody is told."""
    told: list[tuple[int, str]] = []
    await store.add(_stored("aaa"), ACTOR)
    await store.revoke(ACME, "aaa", at=NOW, actor=ACTOR, then=lambda *event: told.append(event))
    generation = await store.generation()
    again = await store.revoke(ACME, "aaa", at=LATER, actor=ACTOR, then=lambda *event: told.append(event))

    assert (NOW, generation, 1) == (again.revoked_at, await store.generation(), len(told))
    assert ["delete", "create"] == [entry.action for entry in await _audited(store)]


async def test_a_change_is_kept_and_told(store: SqlTokenStore) -> None:
    """What is chosen is replaced; owner, id, secret and last use stay."""
    told: list[tuple[int, str]] = []
    await store.add(_stored("aaa"), ACTOR)
    await store.used({"aaa": microseconds(NOW)})
    wanted = _spec(
        Grant(account_id="acme", permissions=(Permission.AI_GATEWAY_READ,)),
        restrictions=Restrictions(addresses=("10.0.0.0/8",)),
        disabled=True,
    )
    token = await store.update(
        ACME, "aaa", wanted, at=LATER, actor=ACTOR, then=lambda *event: told.append(event)
    )
    kept = await _kept(store, "aaa")

    assert kept is not None
    assert (wanted, LATER, NOW) == (token.spec, token.updated_at, token.last_used_at)
    assert (token, _stored("aaa").hash) == (kept.token, kept.hash)
    assert [(await store.generation(), "acme")] == told


async def test_a_change_to_the_same_changes_nothing(store: SqlTokenStore) -> None:
    """Nothing is counted, told or written down."""
    await store.add(_stored("aaa"), ACTOR)
    generation = await store.generation()
    spec = _stored("aaa").token.spec
    token = await store.update(ACME, "aaa", spec, at=LATER, actor=ACTOR, then=lambda *_: pytest.fail("told"))

    assert (_stored("aaa").token, generation) == (token, await store.generation())
    assert ["create"] == [entry.action for entry in await _audited(store)]


async def test_a_token_that_changed_meanwhile_is_left_alone(store: SqlTokenStore) -> None:
    """Whoever looked at it before may not change it, and every change counts, even at the same moment."""
    await store.add(_stored("aaa"), ACTOR)
    seen = _stored("aaa").token.updated_at
    calls: dict[str, Any] = {"at": seen, "actor": ACTOR, "then": _quiet}
    more = _stored("aaa", permissions=ALL).token.spec
    changed = await store.update(ACME, "aaa", more, unchanged_since=seen, **calls)
    for late in (
        store.roll(ACME, "aaa", b"n" * 32, unchanged_since=seen, **calls),
        store.update(ACME, "aaa", _stored("aaa").token.spec, unchanged_since=seen, **calls),
    ):
        with pytest.raises(GatewayError) as raised:
            await late
        assert Reason.CONFLICT is raised.value.reason

    assert StoredToken(token=changed, hash=_stored("aaa").hash) == await _kept(store, "aaa")
    rolled = await store.roll(ACME, "aaa", b"n" * 32, unchanged_since=changed.updated_at, **calls)
    assert rolled.updated_at > changed.updated_at > seen


async def test_a_rolled_token_has_another_hash(store: SqlTokenStore) -> None:
    """Only the secret is another, and everybody is told."""
    told: list[tuple[int, str]] = []
    await store.add(_stored("aaa"), ACTOR)
    token = await store.roll(
        ACME, "aaa", b"n" * 32, at=LATER, actor=ACTOR, then=lambda *event: told.append(event)
    )
    expected = replace(_stored("aaa").token, updated_at=LATER)

    assert StoredToken(token=expected, hash=b"n" * 32) == await _kept(store, "aaa")
    assert expected == token
    assert [(await store.generation(), "acme")] == told


@pytest.mark.parametrize(
    ("before", "after", "scope"),
    [
        (_stored("aaa"), _stored("aaa", permissions=ALL), EVERYTHING),
        (_stored("aaa", permissions=ALL), _stored("aaa"), EVERYTHING),
        (_of_ann("aaa", "acme"), _of_ann("aaa", "other"), EVERYTHING),
    ],
    ids=["becomes an operator's", "was an operator's", "a user's"],
)
async def test_what_is_good_elsewhere_voids_everything(
    store: SqlTokenStore, before: StoredToken, after: StoredToken, scope: str
) -> None:
    """Answers about such a token are kept under accounts that are not its own."""
    told: list[str] = []
    await store.add(before, ACTOR)
    owner, spec = before.token.owner, after.token.spec
    await store.update(owner, "aaa", spec, at=LATER, actor=ACTOR, then=lambda _, each: told.append(each))
    await store.revoke(owner, "aaa", at=LATER, actor=ACTOR, then=lambda _, each: told.append(each))

    assert scope == told[0]


@pytest.mark.parametrize(
    ("owner", "name"),
    [(Owner(account_id="other"), "aaa"), (ANN, "aaa"), (ACME, "bbb"), (ACME, ""), (ACME, "revoked")],
)
async def test_a_token_of_nobody_cannot_be_changed(store: SqlTokenStore, owner: Owner, name: str) -> None:
    """The token of another owner is as unknown as one that never was, and stays; a revoked one stays too."""
    await store.add(_stored("aaa"), ACTOR)
    await store.add(_stored("revoked"), ACTOR)
    await store.revoke(ACME, "revoked", at=NOW, actor=ACTOR, then=_quiet)
    generation = await store.generation()
    calls: dict[str, Any] = {"at": LATER, "actor": ACTOR, "then": lambda *_: pytest.fail("told")}
    found = []
    for change in (
        store.update(owner, name, _stored("aaa").token.spec, **calls),
        store.roll(owner, name, b"n" * 32, **calls),
        *([] if name == "revoked" else [store.revoke(owner, name, **calls)]),
    ):
        with pytest.raises(GatewayError) as caught:
            await change
        found.append((caught.value.reason, caught.value.metadata["resource"]))

    assert {(Reason.NOT_FOUND, "token")} == set(found)
    assert (_stored("aaa"), generation) == (await _kept(store, "aaa"), await store.generation())


async def test_changes_are_written_down_without_secrets(store: SqlTokenStore) -> None:
    """Each entry says who, what, before and after, in the shape of the management API."""
    await store.add(_stored("aaa"), ACTOR)
    await store.roll(ACME, "aaa", b"n" * 32, at=LATER, actor=ACTOR, then=_quiet)
    await store.revoke(ACME, "aaa", at=LATER, actor=ACTOR, then=_quiet)
    revoked, rolled, made = await _audited(store)
    new = json.loads(made.new_json)

    assert [("delete", False), ("roll", True), ("create", True)] == [
        (entry.action, bool(entry.new_json)) for entry in (revoked, rolled, made)
    ]
    assert ("", ACTOR, "aaa", NOW) == (made.old_json, made.actor, made.resource_id, made.created_at)
    assert ("name of aaa", "active", "2026-01-02T03:04:05.678Z") == (
        new["name"],
        new["status"],
        new["issued_on"],
    )
    assert [{"name": "AI Gateway Run"}] == new["policies"][0]["permission_groups"]
    text = "".join(entry.old_json + entry.new_json for entry in (revoked, rolled, made))
    assert "nnnn" not in text
    assert "hash" not in text


async def test_an_account_sees_its_part_of_a_users_token(store: SqlTokenStore) -> None:
    """Every account that is concerned has an entry, and none learns of the others."""
    await store.add(_of_ann("aaa", "acme", "other"), ACTOR)
    wanted = _of_ann("aaa", "other", "third").token.spec
    await store.update(ANN, "aaa", wanted, at=LATER, actor=ACTOR, then=_quiet)
    found = {name: await _audited(store, name) for name in ("acme", "other", "third")}

    assert {"acme": 2, "other": 2, "third": 1} == {name: len(each) for name, each in found.items()}
    assert [] == json.loads(found["acme"][0].new_json)["policies"]
    for name, entries in found.items():
        text = "".join(entry.old_json + entry.new_json for entry in entries)
        assert not any(f"account.{each}" in text for each in {*found} - {name})


async def test_last_use_never_goes_back(store: SqlTokenStore) -> None:
    """The later of two times stays, whatever comes first; a token that is gone is passed over."""
    for name in ("aaa", "bbb"):
        await store.add(_stored(name), ACTOR)
    generation = await store.generation()
    await store.used({"bbb": microseconds(NOW), "aaa": microseconds(LATER), "gone": 1})
    await store.used({"bbb": microseconds(LATER), "aaa": microseconds(NOW)})
    found = [await _kept(store, name) for name in ("aaa", "bbb")]

    assert [LATER, LATER] == [each.token.last_used_at for each in found if each is not None]
    assert generation == await store.generation()


async def test_parallel_changes_lose_nothing(store: SqlTokenStore) -> None:
    """Every token of many made and revoked at the same time is there, and each generation is told once."""
    told: list[int] = []

    async def one(index: int) -> None:
        await store.add(_stored(f"t{index}"), ACTOR)
        await store.revoke(ACME, f"t{index}", at=NOW, actor=ACTOR, then=lambda number, _: told.append(number))

    first = await store.generation()
    await asyncio.gather(*(one(index) for index in range(50)))

    assert list(range(first + 1, first + 51)) == sorted(told)
    assert 50 == (await store.page(ACME, size=1, offset=0, revoked=True))[1]


async def test_the_first_token_is_remembered(store: SqlTokenStore) -> None:
    """An account had a first token once it was added, revoked or not; others had none."""
    async with store.first_token() as transaction:
        before = await transaction.had_first_token("acme")
        await transaction.add(replace(_stored("aaa"), bootstrap=True))
    await store.add(_stored("bbb", account_id="other"), ACTOR)
    await store.revoke(ACME, "aaa", at=NOW, actor=ACTOR, then=_quiet)
    async with store.first_token() as transaction:
        after = [await transaction.had_first_token(name) for name in ("acme", "other", "nobody")]

    assert (before, after) == (False, [True, False, False])


async def test_a_first_token_that_failed_is_undone(store: SqlTokenStore) -> None:
    """An error inside the transaction leaves nothing of it."""

    async def fail() -> None:
        async with store.first_token() as transaction:
            await transaction.ensure_account("mine", AccountSpec(), at=NOW)
            await transaction.add(_stored("aaa"))
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        await fail()

    assert await _kept(store, "aaa") is None
    with pytest.raises(GatewayError):
        await SqlAccountStore(store.database).get("mine")
