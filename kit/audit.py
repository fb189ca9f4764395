"""
Who changed what: a table that is only ever added to.

An entry is written in the transaction of its change (`AuditTrail.write`), so there is one without the other
never. The database itself refuses to change or remove entries. What stands in `old` and `new` is the
caller's to choose: secrets do not belong there. `kit.audit_service` serves the entries.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    Index,
    MetaData,
    String,
    Table,
    Text,
    event,
    func,
    insert,
    select,
)

from kit.database_tables import key_text
from kit.ids import uuid7
from kit.moment import microseconds, moment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = [
    "AUDIT_TABLE",
    "Actor",
    "AuditEntry",
    "AuditQuery",
    "AuditTrail",
    "Change",
    "append_only",
]

# Of what a thing was, and of what it is: a page of a thousand entries then still fits into one message.
_MOST_CHARACTERS: Final = 16_384

AUDIT_TABLE: Final = "audit"

# Longest values, in characters. Whoever fills an `Actor` keeps to them: PostgreSQL refuses what is longer.
TEXT_MAX: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """
    Who asks for a change; mirrors `headrace.common.v1.Actor`, which says what each field means.

    Without anything it is the operator on the machine itself.
    """

    token_id: str = ""
    token_name: str = ""
    user_id: str = ""
    address: str = ""
    interface: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """
    What is changed.

    Attributes:
        account_id: Whom it concerns.
        action: `create`, `update`, `delete`, `roll`, `deploy`, `rotate`, `purge`.
        resource_type: Kind of thing, such as `gateway`.
        resource_id: The thing, within the account.
        gateway_id: Gateway that it belongs to, if to one.
        old: The thing before, as a JSON object without secrets; None when there was none.
        new: The thing after, likewise.
    """

    account_id: str
    action: str
    resource_type: str
    resource_id: str
    gateway_id: str = ""
    old: Mapping[str, Any] | None = None
    new: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One entry. `old_json` and `new_json` are JSON text, empty where there is nothing."""

    id: str
    account_id: str
    created_at: datetime
    actor: Actor
    action: str
    resource_type: str
    resource_id: str
    gateway_id: str
    old_json: str
    new_json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """
    Which entries of an account are wanted; an empty field means any.

    Attributes:
        account_id: The account.
        size: Most entries in a page.
        before_id: Only entries older than this one.
        start: Only from then on.
        end: Only before then.
    """

    account_id: str
    size: int = 100
    before_id: str = ""
    start: datetime | None = None
    end: datetime | None = None
    action: str = ""
    resource_type: str = ""
    resource_id: str = ""
    token_id: str = ""


class AuditTrail:
    """
    The table of entries in a service's database.

    Args:
        metadata: The tables of that database.
        new_id: Gives ids that sort by time.
    """

    def __init__(self, metadata: MetaData, *, new_id: Callable[[], str] = uuid7) -> None:
        self._new_id = new_id
        self.table = Table(
            AUDIT_TABLE,
            metadata,
            Column("id", key_text(36), primary_key=True),
            Column("account_id", key_text(64), nullable=False),
            Column("created_at_us", BigInteger, nullable=False),
            Column("token_id", key_text(64), nullable=False),
            Column("token_name", String(TEXT_MAX), nullable=False),
            Column("user_id", key_text(64), nullable=False),
            Column("address", String(64), nullable=False),
            Column("interface", String(16), nullable=False),
            Column("user_agent", String(TEXT_MAX), nullable=False),
            Column("action", String(32), nullable=False),
            Column("resource_type", String(64), nullable=False),
            Column("resource_id", key_text(TEXT_MAX), nullable=False),
            Column("gateway_id", key_text(64), nullable=False),
            Column("old_json", Text, nullable=False),
            Column("new_json", Text, nullable=False),
        )
        Index("audit_by_account", self.table.c.account_id, self.table.c.id)
        for dialect in ("sqlite", "postgresql"):
            for statement in append_only(dialect):
                ddl = DDL(statement)  # type: ignore[no-untyped-call]  # SQLAlchemy left it out
                event.listen(self.table, "after_create", ddl.execute_if(dialect=dialect))

    async def write(
        self, connection: AsyncConnection, change: Change, actor: Actor, *, at: datetime
    ) -> AuditEntry:
        """Add an entry, in the transaction that makes the change."""
        entry = AuditEntry(
            id=self._new_id(),
            account_id=change.account_id,
            created_at=at,
            actor=actor,
            action=change.action,
            resource_type=change.resource_type,
            resource_id=change.resource_id,
            gateway_id=change.gateway_id,
            old_json=_text(change.old),
            new_json=_text(change.new),
        )
        await connection.execute(insert(self.table).values(_row(entry)))
        return entry

    async def page(self, connection: AsyncConnection, query: AuditQuery) -> Sequence[AuditEntry]:
        """Return at most `query.size` entries, newest first."""
        columns = self.table.c
        statement = (
            select(self.table).where(*self._where(query)).order_by(columns.id.desc()).limit(query.size)
        )
        if query.before_id:
            statement = statement.where(columns.id < query.before_id)
        return [_entry(row) for row in (await connection.execute(statement)).mappings()]

    async def count(self, connection: AsyncConnection, query: AuditQuery) -> int:
        """Return how many entries there are in all, whatever the page."""
        statement = select(func.count()).select_from(self.table).where(*self._where(query))
        return int((await connection.execute(statement)).scalar_one())

    def _where(self, query: AuditQuery) -> list[ColumnElement[bool]]:
        columns = self.table.c
        found = [columns.account_id == query.account_id]
        if query.start is not None:
            found.append(columns.created_at_us >= microseconds(query.start))
        if query.end is not None:
            found.append(columns.created_at_us < microseconds(query.end))
        wanted = ((columns[name], getattr(query, name)) for name in _CHOSEN_BY)
        return [*found, *(column == value for column, value in wanted if value)]


def append_only(dialect: str) -> tuple[str, ...]:
    """Return the statements that make a database refuse to change or remove entries."""
    return _SQLITE if dialect == "sqlite" else _POSTGRESQL


_CHOSEN_BY: Final = ("action", "resource_type", "resource_id", "token_id")
_REFUSED: Final = "BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END"
_SQLITE: Final = (
    f"CREATE TRIGGER {AUDIT_TABLE}_no_update BEFORE UPDATE ON {AUDIT_TABLE} {_REFUSED}",
    f"CREATE TRIGGER {AUDIT_TABLE}_no_delete BEFORE DELETE ON {AUDIT_TABLE} {_REFUSED}",
    # SQLite asks no trigger of removals when a row takes the place of another (INSERT OR REPLACE).
    (
        f"CREATE TRIGGER {AUDIT_TABLE}_no_replace BEFORE INSERT ON {AUDIT_TABLE} "  # noqa: S608 - a constant
        f"WHEN EXISTS (SELECT 1 FROM {AUDIT_TABLE} WHERE id = NEW.id) {_REFUSED}"
    ),
)
_POSTGRESQL: Final = (
    (
        f"CREATE FUNCTION {AUDIT_TABLE}_only_added_to() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN RAISE EXCEPTION ''the audit log is only added to''; END'"
    ),
    (
        f"CREATE TRIGGER {AUDIT_TABLE}_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {AUDIT_TABLE} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {AUDIT_TABLE}_only_added_to()"
    ),
)


def _text(value: Mapping[str, Any] | None) -> str:
    """Write what a thing is; the longest members of one that is too long by their length and digest alone."""
    if value is None:
        return ""
    text = _json(value)
    shown = dict(value)
    for name in sorted(shown, key=lambda each: len(_json(shown[each])), reverse=True):
        if len(text) <= _MOST_CHARACTERS:
            break
        whole = _json(shown[name]).encode()
        shown[name] = {"omitted_bytes": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
        text = _json(shown)
    return text


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _row(entry: AuditEntry) -> dict[str, object]:
    actor = entry.actor
    return {
        "id": entry.id,
        "account_id": entry.account_id,
        "created_at_us": microseconds(entry.created_at),
        "token_id": actor.token_id,
        "token_name": actor.token_name,
        "user_id": actor.user_id,
        "address": actor.address,
        "interface": actor.interface,
        "user_agent": actor.user_agent,
        "action": entry.action,
        "resource_type": entry.resource_type,
        "resource_id": entry.resource_id,
        "gateway_id": entry.gateway_id,
        "old_json": entry.old_json,
        "new_json": entry.new_json,
    }


def _entry(row: Mapping[Any, Any]) -> AuditEntry:
    return AuditEntry(
        id=row["id"],
        account_id=row["account_id"],
        created_at=moment(row["created_at_us"]),
        actor=Actor(
            token_id=row["token_id"],
            token_name=row["token_name"],
            user_id=row["user_id"],
            address=row["address"],
            interface=row["interface"],
            user_agent=row["user_agent"],
        ),
        action=row["action"],
        resource_type=row["resource_type"],
        resource_id=row["resource_id"],
        gateway_id=row["gateway_id"],
        old_json=row["old_json"],
        new_json=row["new_json"],
    )
