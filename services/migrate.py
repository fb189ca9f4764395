"""
Brings the tables of every service that has some up to date: `python -m services migrate`, `headrace migrate`.

Owns the order and what is said of it. What a migration is, is in `kit.database_migrate`.
"""

from __future__ import annotations

import asyncio
import importlib
import signal
from typing import TYPE_CHECKING, Any, Final

from kit import logs
from kit.config import ConfigError, load
from kit.database import SqliteFile, connect_database, location
from kit.database_config import DatabaseConfig
from kit.database_errors import DatabaseUnusableError
from kit.database_migrate import look, upgrade
from kit.ending import EXIT_FAILED, EXIT_HARD, EXIT_OK, refuse
from kit.errors import GatewayError
from kit.runtime_config import RuntimeConfig
from kit.version import VERSION
from services.settings import DATABASE_SERVICES, unknown_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kit.database import Location, Migrations

__all__ = ["migrate_all", "run"]

_MIGRATE: Final = "migrate"


def run(env: Mapping[str, str]) -> int:
    """
    Bring all tables up to date, as a process of its own, and return its exit code.

    Waits for a database that is not there yet, and for another process that is at it. SIGTERM ends it at
    once: what was not finished is undone by the database.
    """
    try:
        log = _logging(env)
        # As a container's first process it would be deaf to the signal otherwise.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        asyncio.run(migrate_all(env, log.info, log=log))
    except ConfigError as error:
        return refuse(error.problems)
    except (DatabaseUnusableError, GatewayError, OSError) as error:
        logs.get(_MIGRATE, _MIGRATE).error("cannot migrate", reason=str(error))
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_HARD
    log.info("all tables are up to date")
    return EXIT_OK


def _logging(env: Mapping[str, str]) -> Any:
    problems = unknown_settings(env)
    if problems:
        raise ConfigError(problems)
    settings = load(RuntimeConfig, env)
    logs.configure(settings.process, level=settings.log_level, form=settings.log_format)
    log = logs.get(settings.process, _MIGRATE)
    log.info("starting", version=VERSION)
    return log


async def migrate_all(
    env: Mapping[str, str], tell: Callable[[str], object], *, log: Any, check: bool = False
) -> bool:
    """
    Bring the tables of all services up to date, and return whether there was something to do.

    Args:
        env: Says where they are.
        tell: Is told one line for each service.
        log: Where the rest is told.
        check: Change nothing, only look.

    Raises:
        ConfigError: The settings are not usable.
        DatabaseUnusableError: A database cannot be used.
        GatewayError: It failed half-way; nothing of that service was changed.
    """
    config = load(DatabaseConfig, env)
    data_dir = load(RuntimeConfig, env).data_dir
    to_do = False
    for service in DATABASE_SERVICES:
        migrations = importlib.import_module(f"services.{service}.tables").MIGRATIONS
        place = location(config, data_dir=data_dir, service=service)
        behind, line = await _migrate_one(service, place, migrations, log=log, check=check)
        tell(line)
        to_do |= behind
    return to_do


async def _migrate_one(
    service: str, place: Location, migrations: Migrations, *, log: Any, check: bool
) -> tuple[bool, str]:
    if check and isinstance(place, SqliteFile) and not place.path.exists():
        return True, f"{service}: not made yet; {migrations.head} is to be made"
    async with connect_database(place, name=service, log=log) as database:
        found = await (look(database) if check else upgrade(database, migrations))
    compared = found.compare(migrations)
    before = found.revision or "nothing"
    match compared:
        case "behind" if check:
            return True, f"{service}: {before}; {migrations.head} is to be made"
        case "behind":
            return True, f"{service}: from {before} to {migrations.head}"
        case "current":
            return False, f"{service}: up to date, {migrations.head}"
        case _:
            return (
                False,
                f"{service}: newer than this program: {before}, and this is for {migrations.head}",
            )
