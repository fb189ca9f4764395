"""`headrace migrate`: brings the tables of all services up to date."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import note
from cli.rpc import fail

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kit.database import Location, Migrations

__all__ = ["migrate"]


def migrate(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 when something is to do.")
    ] = False,
) -> None:
    """
    Bring the tables of auth, router and ledger up to date.

    Services do so themselves when they start, unless HEADRACE_DATABASE_MIGRATE is off.
    """
    from kit import logs
    from kit.config import ConfigError
    from kit.database_errors import DatabaseUnusableError
    from kit.errors import GatewayError

    logs.configure("headrace", level="warning", stream=sys.stderr)
    try:
        to_do = asyncio.run(_migrate_all(os.environ, check=check))
    except ConfigError as error:
        fail("\n".join(error.problems), status=2)
    except DatabaseUnusableError as error:
        fail(str(error))
    except GatewayError as error:
        fail(error.message)
    if check and to_do:
        fail("The tables are not up to date: run `headrace migrate`.")


async def _migrate_all(env: Mapping[str, str], *, check: bool) -> bool:
    from kit.config import load
    from kit.database import location
    from kit.database_config import DatabaseConfig
    from kit.runtime_config import RuntimeConfig
    from services.settings import DATABASE_SERVICES

    config = load(DatabaseConfig, env)
    data_dir = load(RuntimeConfig, env).data_dir
    to_do = False
    for service in DATABASE_SERVICES:
        migrations = importlib.import_module(f"services.{service}.tables").MIGRATIONS
        place = location(config, data_dir=data_dir, service=service)
        to_do |= await _migrate_one(service, place, migrations, check=check)
    return to_do


async def _migrate_one(service: str, place: Location, migrations: Migrations, *, check: bool) -> bool:
    """Migrate one service's tables, or only look; tell whether there was something to do."""
    from kit import logs
    from kit.database import SqliteFile, connect_database
    from kit.database_migrate import look, upgrade

    log: Any = logs.get("headrace", "migrate")
    if check and isinstance(place, SqliteFile) and not place.path.exists():
        note(f"{service}: not made yet; {migrations.head} is to be made")
        return True
    async with connect_database(place, name=service, log=log) as database:
        found = await (look(database) if check else upgrade(database, migrations))
    compared = found.compare(migrations)
    before = found.revision or "nothing"
    match compared:
        case "behind" if check:
            note(f"{service}: {before}; {migrations.head} is to be made")
        case "behind":
            note(f"{service}: from {before} to {migrations.head}")
        case "current":
            note(f"{service}: up to date, {migrations.head}")
        case _:
            note(f"{service}: newer than this program: {before}, and this is for {migrations.head}")
    return compared == "behind"
