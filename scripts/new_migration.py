"""
Write the next migration of a service, from what its tables are and what its migrations make of them.

Run by `make migration S=auth M="what it does"`. Compares on a SQLite file that is thrown away. What comes out
is a beginning: read it, and add what no comparison can know, such as how old rows get a new column's value.
There is no way back, because a program of the release before works with the new tables.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "gen")]  # the repository is not installed

import structlog  # noqa: E402 - after the path is set
from alembic.autogenerate import produce_migrations, render_python_code  # noqa: E402 - as above
from alembic.migration import MigrationContext  # noqa: E402 - as above
from alembic.operations import ops  # noqa: E402 - as above
from sqlalchemy.sql.sqltypes import String  # noqa: E402 - as above

from kit.audit import AUDIT_TABLE, append_only  # noqa: E402 - as above
from kit.database import Migrations, connect_database, sqlite_file  # noqa: E402 - as above
from kit.database_migrate import BOUND_TABLE, script_directory, upgrade  # noqa: E402 - as above
from services.settings import DATABASE_SERVICES  # noqa: E402 - as above

if TYPE_CHECKING:
    from sqlalchemy import Connection, MetaData

PAGE = '''\
"""
{message}.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kit.database_tables import key_text

revision = "{revision}"
down_revision = {before}


def upgrade() -> None:
    """Change the tables."""
    {code}
{triggers}'''

# The text of triggers is written out: a migration does not change when the code does.
TRIGGERS = """\
    statements = {{
        "sqlite": {sqlite},
        "postgresql": {postgresql},
    }}
    for statement in statements[op.get_context().dialect.name]:
        op.execute(statement)
"""


def main() -> None:
    """Write the file, and say what is left to do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("service", choices=DATABASE_SERVICES)
    parser.add_argument("message", help="what it does, in a few words")
    given = parser.parse_args()
    package = f"services.{given.service}.migrations"
    importlib.import_module(f"services.{given.service}.app")  # every module that has tables
    metadata = importlib.import_module(f"services.{given.service}.tables").METADATA
    head = script_directory(package).get_current_head()
    revision = f"{int(head or '0') + 1:04}"
    changes = asyncio.run(_changes(package, head, metadata))
    if changes.is_empty():
        sys.exit(f"{given.service}: the tables are as the migrations make them; there is nothing to do")
    name = re.sub(r"[^a-z0-9]+", "_", given.message.lower()).strip("_")[:60].rstrip("_")
    file = ROOT / "services" / given.service / "migrations" / "versions" / f"{revision}_{name}.py"
    file.write_text(_render(changes, revision=revision, before=head, message=given.message))
    for command in (("format", "-q"), ("check", "--fix", "-q"), ("format", "-q")):
        subprocess.run([str(Path(sys.executable).with_name("ruff")), *command, str(file)], check=True)
    print(f"wrote {file.relative_to(ROOT)}")
    print(
        f'now set head="{revision}" in MIGRATIONS, services/{given.service}/tables.py; think about `oldest`'
    )


async def _changes(package: str, head: str | None, metadata: MetaData) -> ops.UpgradeOps:
    def compare(connection: Connection) -> ops.UpgradeOps:
        options = {"compare_type": True, "include_object": _is_ours, "render_as_batch": head is not None}
        context = MigrationContext.configure(connection, opts=options)
        found = produce_migrations(context, metadata).upgrade_ops
        assert found is not None
        return found

    with tempfile.TemporaryDirectory() as directory:
        place = sqlite_file(Path(directory) / "scratch.db")
        async with connect_database(place, name="scratch", log=structlog.get_logger()) as database:
            if head is not None:
                await upgrade(database, Migrations(package=package, head=head, oldest=head))
            async with database.read() as connection:
                return await connection.run_sync(compare)


def _is_ours(_item: object, name: str | None, kind: str, *_rest: object) -> bool:
    return not (kind == "table" and name == BOUND_TABLE)


def _render(changes: ops.UpgradeOps, *, revision: str, before: str | None, message: str) -> str:
    code = render_python_code(changes, render_as_batch=before is not None, render_item=_render_item)
    code = "\n".join(line for line in code.splitlines() if not line.strip().startswith("#"))
    new = {operation.table_name for operation in changes.ops if isinstance(operation, ops.CreateTableOp)}
    triggers = {dialect: repr(append_only(dialect)) for dialect in ("sqlite", "postgresql")}
    return PAGE.format(
        message=message[:1].upper() + message[1:].rstrip("."),
        revision=revision,
        before=repr(before),
        code=code.strip(),
        triggers=TRIGGERS.format(**triggers) if AUDIT_TABLE in new else "",
    )


def _render_item(kind: str, item: Any, _context: object) -> str | Literal[False]:
    """Render the type of identifiers by its name."""
    if kind == "type" and type(item) is String:
        variant = getattr(item, "_variant_mapping", {}).get("postgresql")
        if variant is not None and variant.collation == "C":
            return f"key_text({item.length})"
    return False


if __name__ == "__main__":
    main()
