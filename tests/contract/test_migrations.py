"""Tables are brought up to date once, wholly or not at all, and an older program goes on for a release."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import itertools
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select, text

from kit.audit import AUDIT_TABLE
from kit.database import (
    Database,
    DatabaseUnusableError,
    Location,
    Migrations,
    PostgresSchema,
    connect_database,
    open_database,
    sqlite_file,
)
from kit.database_migrate import BOUND_TABLE, Standing, script_directory, standing, upgrade
from services.settings import DATABASE_SERVICES
from tests.fakes.postgres import shared_postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection, MetaData

LOG = structlog.get_logger()
ROOT = Path(__file__).resolve().parents[2]
_NUMBERS = itertools.count()

FIRST = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "0001", None
def upgrade():
    op.create_table("one", sa.Column("id", sa.Integer, primary_key=True))
"""
SECOND = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "0002", "0001"
def upgrade():
    op.add_column("one", sa.Column("more", sa.Integer, nullable=True))
    op.create_table("two", sa.Column("id", sa.Integer, primary_key=True))
"""
BROKEN = SECOND + "    op.execute('SELECT * FROM nothing_of_that_name')\n"
DYING = SECOND + "    import os, signal\n    os.kill(os.getpid(), signal.SIGKILL)\n"


class Program:
    """A program of some release: a package with its migrations."""

    def __init__(self, directory: Path, migrations: Sequence[str], *, oldest: str = "0001") -> None:
        name = f"migrations_of_a_test_{next(_NUMBERS)}"
        self.directory = directory
        versions = directory / name / "versions"
        versions.mkdir(parents=True)
        (directory / name / "__init__.py").touch()
        for number, content in enumerate(migrations, start=1):
            (versions / f"{number:04}_x.py").write_text(content)
        self.migrations = Migrations(package=name, head=f"{len(migrations):04}", oldest=oldest)

    async def start(self, location: Location) -> None:
        """Open the database as a service does, and close it again."""
        from sqlalchemy import MetaData

        async with open_database(location, MetaData(), name="x", log=LOG, migrations=self.migrations):
            pass


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Program]:
    """Makes programs."""
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))

    def make(*migrations: str, oldest: str = "0001") -> Program:
        return Program(tmp_path / "packages", migrations, oldest=oldest)

    return make


async def _state(location: Location) -> tuple[Standing, set[str]]:
    async with connect_database(location, name="x", log=LOG) as database, database.read() as connection:
        names = await connection.run_sync(lambda each: inspect(each).get_table_names())
        return await standing(connection), set(names) - {"alembic_version", BOUND_TABLE}


async def test_a_new_database_gets_everything(
    database_location: Location, program: Callable[..., Program]
) -> None:
    """All migrations run, and the database says how far it is and who may use it."""
    await program(FIRST, SECOND).start(database_location)

    assert (Standing(revision="0002", oldest="0001"), {"one", "two"}) == await _state(database_location)


async def test_a_database_of_the_release_before_gets_what_it_lacks(
    database_location: Location, program: Callable[..., Program]
) -> None:
    """Rows stay."""
    await program(FIRST).start(database_location)
    async with connect_database(database_location, name="x", log=LOG) as database:
        async with database.write() as connection:
            await connection.execute(text("INSERT INTO one VALUES (7)"))
        await upgrade(database, program(FIRST, SECOND).migrations)
        async with database.read() as connection:
            assert [(7, None)] == [tuple(row) for row in await connection.execute(text("SELECT * FROM one"))]


async def test_a_program_of_the_release_before_goes_on(
    database_location: Location, program: Callable[..., Program], capsys: pytest.CaptureFixture[str]
) -> None:
    """It warns, changes nothing, and works."""
    await program(FIRST, SECOND, oldest="0001").start(database_location)
    await program(FIRST).start(database_location)

    assert "newer than this program" in capsys.readouterr().out
    assert (Standing(revision="0002", oldest="0001"), {"one", "two"}) == await _state(database_location)


async def test_a_program_that_is_too_old_does_not_start(
    database_location: Location, program: Callable[..., Program]
) -> None:
    """One sentence says which revision it would need."""
    await program(FIRST, SECOND, oldest="0002").start(database_location)
    with pytest.raises(DatabaseUnusableError, match="too new for this program: it has revision 0002 of x"):
        await program(FIRST).start(database_location)


def _left_to_others(location: Location, *, wait_s: float) -> Location:
    if isinstance(location, PostgresSchema):
        settings = dataclasses.replace(location.settings, migrate=False, migrate_wait_s=wait_s)
        return dataclasses.replace(location, settings=settings)
    return dataclasses.replace(location, migrate=False, migrate_wait_s=wait_s)


async def test_migrations_that_are_turned_off_are_left_to_the_command(
    database_location: Location, program: Callable[..., Program]
) -> None:
    """When nobody does it in time, a sentence says what to do, and nothing is changed."""
    off = _left_to_others(database_location, wait_s=0)
    with pytest.raises(DatabaseUnusableError, match="it has none; run `headrace migrate`"):
        await program(FIRST).start(off)
    assert (Standing(), set()) == await _state(database_location)
    await program(FIRST).start(database_location)
    await program(FIRST).start(off)


async def test_a_start_waits_for_the_command(
    database_location: Location, program: Callable[..., Program], capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what it waits for, and goes on once that was done."""
    await program(FIRST).start(database_location)
    newer = program(FIRST, SECOND)
    waiting = asyncio.create_task(newer.start(_left_to_others(database_location, wait_s=60)))
    while "waiting for the tables" not in (told := capsys.readouterr().out):  # noqa: ASYNC110 - it says so in its log alone
        await asyncio.sleep(0.01)
    assert "headrace migrate" in told
    await newer.start(database_location)

    await waiting
    assert (Standing(revision="0002", oldest="0001"), {"one", "two"}) == await _state(database_location)


async def test_a_migration_that_fails_changes_nothing(
    database_location: Location, program: Callable[..., Program]
) -> None:
    """Not even what the migrations before it did in the same start."""
    with pytest.raises(DatabaseUnusableError):
        await program(FIRST, BROKEN).start(database_location)
    assert (Standing(), set()) == await _state(database_location)
    await program(FIRST, SECOND).start(database_location)


async def test_tables_that_no_migration_made_are_left_alone(
    database_location: Location, program: Callable[..., Program]
) -> None:
    """A database that something else uses is refused."""
    async with (
        connect_database(database_location, name="x", log=LOG) as database,
        database.write() as connection,
    ):
        if isinstance(database_location, PostgresSchema):
            await connection.execute(text(f"CREATE SCHEMA {database_location.schema}"))
        await connection.execute(text("CREATE TABLE theirs (id INTEGER)"))
    with pytest.raises(DatabaseUnusableError, match="tables that no migration made"):
        await program(FIRST).start(database_location)


_START = """
import asyncio, sys
from pathlib import Path
import structlog
from sqlalchemy import MetaData
from kit.database import Migrations, PostgresSchema, open_database, sqlite_file
from kit.secret import Secret

async def main(kind, where, schema, directory, package, head):
    sys.path.insert(0, directory)
    place = sqlite_file(Path(where))
    if kind == "postgresql":
        place = PostgresSchema(url=Secret(where), schema=schema)
    migrations = Migrations(package=package, head=head, oldest="0001")
    async with open_database(place, MetaData(), name="x", log=structlog.get_logger(), migrations=migrations):
        print("alembic" in sys.modules)

asyncio.run(main(*sys.argv[1:]))
"""


def _process(location: Location, program: Program) -> subprocess.Popen[str]:
    """Start a process that opens the database as a program does."""
    if isinstance(location, PostgresSchema):
        where = ["postgresql", location.url.reveal(), location.schema]
    else:
        where = ["sqlite", str(location.path), ""]
    arguments = [*where, str(program.directory), program.migrations.package, program.migrations.head]
    return subprocess.Popen(
        [sys.executable, "-c", _START, *arguments],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


async def test_a_kill_in_the_middle_leaves_nothing_half_done(
    database_location: Location, program: Callable[..., Program]
) -> None:
    """The next start finds the tables as they were, and makes them up to date."""
    await program(FIRST).start(database_location)
    dying = _process(database_location, program(FIRST, DYING))
    await asyncio.to_thread(dying.communicate)

    assert -9 == dying.returncode
    assert (Standing(revision="0001", oldest="0001"), {"one"}) == await _state(database_location)
    await program(FIRST, SECOND).start(database_location)
    assert (Standing(revision="0002", oldest="0001"), {"one", "two"}) == await _state(database_location)


async def test_processes_that_start_at_once_migrate_once(
    database_location: Location, program: Callable[..., Program]
) -> None:
    """Those that come second wait, and find nothing to do."""
    new = program(FIRST, SECOND)
    processes = [_process(database_location, new) for _ in range(3)]
    printed = [await asyncio.to_thread(process.communicate) for process in processes]

    assert [0] * 3 == [process.returncode for process in processes], printed
    assert 1 == sum(output.count("database migrated") for output, _ in printed)
    assert (Standing(revision="0002", oldest="0001"), {"one", "two"}) == await _state(database_location)


async def test_a_start_with_nothing_to_do_imports_no_alembic(
    database_location: Location, program: Callable[..., Program]
) -> None:
    """It would take longer than the start."""
    new = program(FIRST)
    await new.start(database_location)
    printed, _ = await asyncio.to_thread(_process(database_location, new).communicate)

    assert "False" == printed.strip()


def _tables(service: str) -> tuple[MetaData, Migrations]:
    importlib.import_module(f"services.{service}.app")  # every module that has tables
    module = importlib.import_module(f"services.{service}.tables")
    return module.METADATA, module.MIGRATIONS


@pytest.mark.parametrize("service", DATABASE_SERVICES)
def test_a_program_knows_its_newest_migration(service: str) -> None:
    """The constant by which a start sees that there is nothing to do is Alembic's own head."""
    _, migrations = _tables(service)
    script = script_directory(migrations.package)
    revisions = [revision.revision for revision in script.walk_revisions()]

    assert [migrations.head] == script.get_heads()
    assert migrations.oldest in revisions
    assert [f"{number:04}" for number in range(len(revisions), 0, -1)] == revisions


@pytest.mark.parametrize("service", DATABASE_SERVICES)
async def test_migrations_make_the_tables_that_the_code_has(
    service: str, database_location: Location
) -> None:
    """Nobody changed a table and forgot its migration (`make migration`)."""
    metadata, migrations = _tables(service)
    async with open_database(
        database_location, metadata, name=service, log=LOG, migrations=migrations
    ) as database:
        assert [] == await _differences(database, metadata)


async def _differences(database: Database, metadata: MetaData) -> list[Any]:
    def ours(_item: object, name: str | None, kind: str, *_rest: object) -> bool:
        return not (kind == "table" and name == BOUND_TABLE)

    def compare(connection: Connection) -> list[Any]:
        options = {"compare_type": True, "include_object": ours}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    async with database.read() as connection:
        return await connection.run_sync(compare)


@pytest.mark.parametrize("service", DATABASE_SERVICES)
async def test_migrations_protect_the_audit_trail_as_new_tables_are(
    service: str, database_location: Location, tmp_path: Path
) -> None:
    """Triggers are not among what is compared, so they are compared by themselves."""
    metadata, migrations = _tables(service)
    by_code = (
        shared_postgres().new_schema()
        if isinstance(database_location, PostgresSchema)
        else dataclasses.replace(database_location, path=tmp_path / "code.db")
    )
    found = []
    for place, given in ((database_location, migrations), (by_code, None)):
        async with (
            open_database(place, metadata, name=service, log=LOG, migrations=given) as database,
            database.read() as connection,
        ):
            query = _TRIGGERS[database.dialect]
            found.append(sorted((await connection.execute(text(query))).scalars()))

    assert found[1] == found[0]
    assert (AUDIT_TABLE in metadata.tables) == bool(found[0])


_TRIGGERS = {
    "sqlite": "SELECT sql FROM sqlite_master WHERE type = 'trigger'",
    "postgresql": "SELECT tgname || ' ' || tgtype FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid "
    "WHERE NOT tgisinternal AND c.relnamespace = current_schema()::regnamespace",
}


@pytest.mark.parametrize("service", DATABASE_SERVICES)
async def test_a_new_database_is_made_at_once_as_migrations_make_it(
    service: str, database_location: Location, tmp_path: Path
) -> None:
    """
    Who comes next finds nothing to do; with SQLite, even the statements are the same.

    Rows that a migration writes would be missing: a service that has such a migration may not do this.
    """
    metadata, migrations = _tables(service)
    async with open_database(
        database_location, metadata, name=service, log=LOG, migrations=migrations, whole=True
    ) as database:
        async with database.read() as connection:
            found = await standing(connection)
        made = await _statements(database)
    by_migrations = sqlite_file(tmp_path / "migrated.db")
    async with open_database(
        by_migrations, metadata, name=service, log=LOG, migrations=migrations
    ) as database:
        migrated = await _statements(database)
        async with database.read() as connection:
            written = [
                table.name
                for table in metadata.sorted_tables
                if (await connection.execute(select(table).limit(1))).first()
            ]

    assert [] == written
    assert Standing(revision=migrations.head, oldest=migrations.oldest) == found
    assert isinstance(database_location, PostgresSchema) or migrated == made


async def _statements(database: Database) -> dict[str, list[str]]:
    """Return what made a database, without white space and the order of columns and constraints."""
    if database.dialect != "sqlite":
        return {}
    async with database.read() as connection:
        rows = await connection.execute(
            text("SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_master")
        )
        return {name: sorted("".join(sql.split()).rstrip(")").split(",")) for name, sql in rows}


def test_a_start_imports_nothing_that_few_requests_need() -> None:
    """Alembic, the price table and their like take longer to import than much of the rest of a start."""
    code = (
        "import sys, services.__main__, kit.lifecycle, services.ledger.app, services.providers.app\n"
        "print(*sorted({'alembic', 'asyncpg', 'genai_prices', 'pydantic', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=False)

    assert ("", 0) == (done.stdout.strip(), done.returncode), done.stderr
