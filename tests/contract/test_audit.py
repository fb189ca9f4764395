"""The audit trail in every kind of database: what is found again, and that nothing changes it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import MetaData, delete, text, update
from sqlalchemy.exc import IntegrityError

from headrace.audit.v1 import audit_service_pb2
from headrace.common.v1 import actor_pb2
from kit.audit import Actor, AuditQuery, AuditTrail, Change
from kit.audit_service import AuditServicer, actor_of
from kit.database import NAMING, Database, Location, open_database
from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

METADATA = MetaData(naming_convention=NAMING)
AUDIT = AuditTrail(METADATA)
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ALICE = Actor(
    token_id="t1", token_name="laptop", user_id="alice", address="::1", interface="api", user_agent="curl/8"
)


@pytest.fixture
async def database(database_location: Location) -> AsyncIterator[Database]:
    async with open_database(database_location, METADATA, name="x", log=structlog.get_logger()) as found:
        yield found


@pytest.fixture
def servicer(database: Database) -> AuditServicer:
    return AuditServicer(database=database, trail=AUDIT)


def _change(number: int = 0, *, account_id: str = "acme", action: str = "create") -> Change:
    return Change(
        account_id=account_id,
        action=action,
        resource_type="gateway",
        resource_id=f"g{number}",
        gateway_id=f"g{number}",
        new={"z": number, "a": "ü"},
    )


async def _write(database: Database, *changes: Change, actor: Actor = ALICE, at: datetime = NOW) -> None:
    async with database.write() as connection:
        for change in changes:
            await AUDIT.write(connection, change, actor, at=at)


async def _list(servicer: AuditServicer, **fields: object) -> audit_service_pb2.ListAuditEntriesResponse:
    request = audit_service_pb2.ListAuditEntriesRequest(**fields)  # type: ignore[arg-type]
    return await servicer.ListAuditEntries(request, None)  # type: ignore[arg-type]


async def test_an_entry_is_found_as_it_was_written(database: Database, servicer: AuditServicer) -> None:
    """Every field comes back; JSON has its keys in order, so that two entries can be compared as text."""
    await _write(database, _change(1))
    (entry,) = (await _list(servicer, account_id="acme")).entries
    when = Timestamp()
    when.FromDatetime(NOW)

    assert (
        audit_service_pb2.AuditEntry(
            id=entry.id,
            account_id="acme",
            create_time=when,
            actor=actor_pb2.Actor(
                token_id="t1",
                token_name="laptop",
                user_id="alice",
                address="::1",
                interface="api",
                user_agent="curl/8",
            ),
            action="create",
            resource_type="gateway",
            resource_id="g1",
            gateway_id="g1",
            old_json="",
            new_json='{"a": "ü", "z": 1}',
        )
        == entry
    )
    assert 36 == len(entry.id)


async def test_a_thing_that_is_too_long_is_told_by_its_digest(
    database: Database, servicer: AuditServicer
) -> None:
    """Its longest members give way, until the rest fits; a thousand entries fit into one message."""
    long = "ü" * 20_000
    change = replace(_change(), old={"name": "n", "a": "x" * 9_000, "b": "y" * 9_000}, new={"z": long})
    await _write(database, change)
    (entry,) = (await _list(servicer, account_id="acme")).entries
    told = {"omitted_bytes": 40_002, "sha256": hashlib.sha256(f'"{long}"'.encode()).hexdigest()}
    old = json.loads(entry.old_json)

    assert {"z": told} == json.loads(entry.new_json)
    assert ("n", {"a", "b", "name"}) == (old["name"], set(old))
    assert [True, False] == sorted((isinstance(old[name], str) for name in ("a", "b")), reverse=True)


async def test_pages_go_from_the_newest_to_the_oldest(database: Database, servicer: AuditServicer) -> None:
    """Each page goes on where the one before ended, and all say how many there are."""
    await _write(database, *(_change(number) for number in range(5)))
    found: list[list[str]] = []
    before = ""
    for _ in range(4):
        page = await _list(servicer, account_id="acme", page_size=2, before_id=before)
        assert 5 == page.total_count
        found.append([entry.resource_id for entry in page.entries])
        before = page.entries[-1].id if page.entries else before

    assert [["g4", "g3"], ["g2", "g1"], ["g0"], []] == found


async def test_an_account_sees_its_own(database: Database, servicer: AuditServicer) -> None:
    """Entries of others are neither listed nor counted."""
    await _write(database, _change(1), _change(2, account_id="other"))
    page = await _list(servicer, account_id="other")

    assert (["g2"], 1) == ([entry.resource_id for entry in page.entries], page.total_count)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"action": "delete"}, ["g2"]),
        ({"resource_type": "gateway", "resource_id": "g1"}, ["g1"]),
        ({"resource_type": "token"}, []),
        ({"token_id": "t2"}, ["g3"]),
        ({"start_time": NOW + timedelta(seconds=1)}, ["g3"]),
        ({"end_time": NOW + timedelta(seconds=1)}, ["g2", "g1"]),
        ({"start_time": NOW, "end_time": NOW}, []),
    ],
)
async def test_entries_can_be_chosen(
    database: Database, servicer: AuditServicer, fields: dict[str, object], expected: list[str]
) -> None:
    """By action, kind, thing, token and time; the beginning belongs to a time, its end does not."""
    await _write(database, _change(1), _change(2, action="delete"))
    await _write(database, _change(3), actor=Actor(token_id="t2"), at=NOW + timedelta(seconds=1))
    page = await _list(servicer, account_id="acme", **fields)

    assert (expected, len(expected)) == ([entry.resource_id for entry in page.entries], page.total_count)


async def test_an_entry_goes_with_its_change(database: Database) -> None:
    """What is undone leaves no entry."""

    async def work(connection: AsyncConnection) -> None:
        await AUDIT.write(connection, _change(), ALICE, at=NOW)
        raise GatewayError(Reason.CONFLICT, "No.")

    with pytest.raises(GatewayError):
        await database.change(work)

    async with database.read() as connection:
        assert 0 == await AUDIT.count(connection, AuditQuery(account_id="acme"))


async def test_the_database_itself_refuses_to_change_entries(database: Database) -> None:
    """Neither an update nor a removal nor, where there is such a thing, emptying the table or replacing."""
    await _write(database, _change(1))
    attempts = [update(AUDIT.table).values(action="x"), delete(AUDIT.table)]
    if database.dialect == "postgresql":
        attempts.append(text("TRUNCATE audit"))  # type: ignore[arg-type]
    else:
        attempts.append(text("INSERT OR REPLACE INTO audit SELECT * FROM audit"))  # type: ignore[arg-type]
    for attempt in attempts:
        with pytest.raises((IntegrityError, GatewayError)):
            async with database.write() as connection:
                await connection.execute(attempt)

    async with database.read() as connection:
        assert 1 == await AUDIT.count(connection, AuditQuery(account_id="acme"))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "account_id"),
        ({"account_id": "acme", "page_size": 1001}, "page_size"),
        ({"account_id": "acme", "page_size": -1}, "page_size"),
        ({"account_id": "a\0"}, "account_id"),
        ({"account_id": "acme", "resource_id": "x" * 257}, "resource_id"),
        ({"account_id": "acme", "start_time": Timestamp(seconds=1 << 60)}, "start_time"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    servicer: AuditServicer, fields: dict[str, object], param: str
) -> None:
    """The error names what is wrong."""
    with pytest.raises(GatewayError) as caught:
        await _list(servicer, **fields)

    assert (Reason.INVALID_REQUEST, param) == (caught.value.reason, caught.value.metadata["param"])


async def test_whatever_a_client_says_it_is_can_be_stored(database: Database) -> None:
    """A user agent that is too long, or no line of text, makes no change impossible."""
    actor = actor_of(
        actor_pb2.Actor(user_agent="a\0\n" + "ü" * 300, interface="x" * 99, token_name="n" * 999)
    )
    await _write(database, _change(1), actor=actor)

    async with database.read() as connection:
        (entry,) = await AUDIT.page(connection, AuditQuery(account_id="acme"))
    assert ("a" + "ü" * 255, "x" * 16, "n" * 256) == (
        entry.actor.user_agent,
        entry.actor.interface,
        entry.actor.token_name,
    )
