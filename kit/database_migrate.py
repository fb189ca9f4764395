"""
Brings a service's tables up to date, once, whoever starts at the same time.

Each service has its migrations in a package, numbered `0001` on, and says in code which one it was built for,
so that a start with nothing to do imports no Alembic. All of them run in one transaction: a kill leaves
everything done or nothing. Beside its revision a database keeps the oldest one whose programs may still
work with it, which lets the program before run on while the next one is rolled out.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import re
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    delete,
    insert,
    inspect,
    select,
    text,
)

from kit.database_errors import DatabaseUnusableError, explained
from kit.database_location import PostgresSchema
from kit.database_postgres import postgres_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

    from kit.database import Database

__all__ = [
    "BOUND_TABLE",
    "Migrations",
    "Standing",
    "bring_up_to_date",
    "look",
    "make_tables",
    "script_directory",
    "standing",
    "upgrade",
]

_REVISION: Final = re.compile(r"[0-9]{4}")
# As Alembic makes it.
_VERSION: Final = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
BOUND_TABLE: Final = "migration_bound"
_OURS: Final = MetaData()
_BOUND: Final = Table(
    BOUND_TABLE,
    _OURS,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("oldest", String(32), nullable=False),
)
# Statements of a migration may take as long as the data is large.
_STATEMENT_TIMEOUT_S: Final = 3600.0
_LOCK_TIMEOUT_S: Final = 60.0
_TRY_EVERY_S: Final = 0.2
_LOOK_EVERY_S: Final = 0.5
_LINE_EVERY_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrations:
    """
    What a program knows about the tables of a service.

    Attributes:
        package: Has the migrations, in `versions/`.
        head: The revision that the program was built for.
        oldest: The oldest revision whose programs work with the tables as `head` leaves them. At least the
            head of the release before.
    """

    package: str
    head: str
    oldest: str

    def __post_init__(self) -> None:
        """See that revisions have an order."""
        for revision in (self.head, self.oldest):
            if not _REVISION.fullmatch(revision):
                raise ValueError(f"a revision is four digits, not {revision!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """
    How far a database is.

    Attributes:
        revision: Its revision; empty when it has no tables yet.
        oldest: The oldest revision whose programs may use it.
    """

    revision: str = ""
    oldest: str = ""

    def compare(self, migrations: Migrations) -> Literal["current", "behind", "ahead", "too far ahead"]:
        """Tell where it is, seen from a program."""
        if self.revision == migrations.head:
            return "current"
        if self.revision < migrations.head:
            return "behind"
        return "ahead" if migrations.head >= self.oldest else "too far ahead"


async def standing(connection: AsyncConnection) -> Standing:
    """Return how far the database is that a connection sees."""
    names = await connection.run_sync(lambda each: inspect(each).get_table_names())
    if _VERSION.name not in names:
        if names:
            raise DatabaseUnusableError("it has tables that no migration made: move it away to start anew")
        return Standing()
    revision = (await connection.execute(select(_VERSION.c.version_num))).scalar_one_or_none()
    bound = (await connection.execute(select(_BOUND.c.oldest))).scalar_one_or_none()
    return Standing(revision=revision or "", oldest=bound or "")


async def look(database: Database) -> Standing:
    """
    Return how far a database is, without changing anything.

    Raises:
        DatabaseUnusableError: It is something else's.
    """
    async with database.read() as connection:
        return await _standing_at(connection, database.location.shown)


async def bring_up_to_date(
    database: Database, migrations: Migrations, *, whole: MetaData | None = None
) -> None:
    """
    Run what migrations are missing, or wait for whoever is to do so, as the location says.

    Args:
        database: Has the tables.
        migrations: How they came to be what they are.
        whole: As of `upgrade`.

    Raises:
        DatabaseUnusableError: The tables do not fit to this program, and are not going to.
    """
    where = database.location.shown
    found = await look(database)
    if found.compare(migrations) == "behind":
        if database.location.migrate:
            await upgrade(database, migrations, whole=whole)
            return
        found = await _wait_for_others(database, migrations)
    match found.compare(migrations):
        case "current":
            return
        case "ahead":
            database.log.warning(
                "the database is newer than this program, which may still use it",
                database=database.name,
                revision=found.revision,
                built_for=migrations.head,
            )
            return
        case "too far ahead":
            raise DatabaseUnusableError(
                f"The database {where} is too new for this program: it has revision {found.revision} of "
                f"{database.name}, which programs for {found.oldest} and later can use, and this one is for "
                f"{migrations.head}."
            )
        case "behind":
            raise DatabaseUnusableError(
                f"The database {where} is not up to date: {database.name} needs revision {migrations.head}, "
                f"and it has {found.revision or 'none'}; run `headrace migrate`."
            )


async def _wait_for_others(database: Database, migrations: Migrations) -> Standing:
    """Look until the tables are no longer behind, or the time for that is over."""
    began_s = time.monotonic()
    told_s = 0.0
    while True:
        found = await look(database)
        now_s = time.monotonic()
        if found.compare(migrations) != "behind" or now_s - began_s >= database.location.migrate_wait_s:
            return found
        if now_s - told_s >= _LINE_EVERY_S:
            told_s = now_s
            database.log.warning(
                "waiting for the tables to be brought up to date: `headrace migrate` does it",
                database=database.name,
                revision=found.revision or "none",
                needed=migrations.head,
            )
        await asyncio.sleep(_LOOK_EVERY_S)


async def upgrade(database: Database, migrations: Migrations, *, whole: MetaData | None = None) -> Standing:
    """
    Run what migrations are missing, and return how far the database was before.

    Args:
        database: Has the tables.
        migrations: How they came to be what they are.
        whole: All tables and triggers as the migrations leave them: a database that has none gets these at
            once, without Alembic, whose import takes a third of a second of CPU.
    """
    async with _alone(database) as connection:
        # Someone else may have been faster while this one waited.
        found = await _standing_at(connection, database.location.shown)
        if found.compare(migrations) == "behind":
            if whole is not None and not found.revision:
                await connection.run_sync(whole.create_all)
                await connection.run_sync(_VERSION.create)
                await connection.execute(insert(_VERSION).values(version_num=migrations.head))
            else:
                await connection.run_sync(_run, migrations)
            await connection.run_sync(_OURS.create_all)
            await connection.execute(delete(_BOUND))
            await connection.execute(insert(_BOUND).values(id=1, oldest=migrations.oldest))
    if found.compare(migrations) == "behind":
        database.log.info(
            "database migrated", database=database.name, before=found.revision, now=migrations.head
        )
    return found


async def make_tables(database: Database, metadata: MetaData) -> None:
    """Make the tables that are missing, as they should be, without migrations."""
    async with _alone(database) as connection:
        await connection.run_sync(metadata.create_all)


def script_directory(package: str) -> Any:
    """Return Alembic's view of a package of migrations."""
    from alembic.script import ScriptDirectory

    file = importlib.import_module(package).__file__
    assert file is not None
    return ScriptDirectory(str(Path(file).parent))


def _run(connection: Connection, migrations: Migrations) -> None:
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    script = script_directory(migrations.package)

    def missing(revision: Any, _context: object) -> Any:
        return script._upgrade_revs(migrations.head, revision)  # noqa: SLF001 - what alembic's own `upgrade` calls

    context = MigrationContext.configure(connection, opts={"fn": missing})
    with Operations.context(context):
        context.run_migrations()


async def _standing_at(connection: AsyncConnection, where: str) -> Standing:
    try:
        return await standing(connection)
    except DatabaseUnusableError as error:
        raise DatabaseUnusableError(f"The database {where} cannot be used: {error}.") from error


@asynccontextmanager
async def _alone(database: Database) -> AsyncIterator[AsyncConnection]:
    """Give a connection that may change tables, in a transaction that nobody else has at the same time."""
    if isinstance(database.location, PostgresSchema):
        async with _alone_in_postgres(database, database.location) as connection:
            yield connection
    else:
        async with database.write() as connection:  # a transaction that is the writer from its beginning
            yield connection


@asynccontextmanager
async def _alone_in_postgres(database: Database, place: PostgresSchema) -> AsyncIterator[AsyncConnection]:
    patient = dataclasses.replace(
        place,
        settings=dataclasses.replace(
            place.settings,
            statement_timeout_s=_STATEMENT_TIMEOUT_S,
            lock_timeout_s=_LOCK_TIMEOUT_S,
            pool_size=2,
        ),
    )
    engine = postgres_engine(patient, application=f"headrace {database.name} migration", patience_s=1.0)
    try:
        with explained(database.name, database.log):
            async with engine.begin() as connection:
                await _lock_schema(connection, place.schema, database.log)
                yield connection
    finally:
        await engine.dispose()


async def _lock_schema(connection: AsyncConnection, schema: str, log: Any) -> None:
    lock = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")
    began_s = told_s = time.monotonic()
    while not (await connection.execute(lock, {"name": f"headrace {schema}"})).scalar_one():
        now_s = time.monotonic()
        if now_s - began_s > _STATEMENT_TIMEOUT_S:
            raise DatabaseUnusableError(
                f"Another process has been changing the tables of {schema} for an hour."
            )
        if now_s - told_s > _LINE_EVERY_S:
            told_s = now_s
            log.info("waiting for another process that changes the tables", schema=schema)
        await asyncio.sleep(_TRY_EVERY_S)
    # `IF NOT EXISTS` would ask for the right to make schemas even where there is nothing to make.
    exists = text("SELECT count(*) FROM pg_namespace WHERE nspname = :name")
    if not (await connection.execute(exists, {"name": schema})).scalar_one():
        quoted = connection.dialect.identifier_preparer.quote(schema)
        await connection.execute(text(f"CREATE SCHEMA {quoted}"))
