"""
Where a service's tables are: in a SQLite file of its own, or in a schema of a PostgreSQL database.

What it takes to open either is part of it, so that a store is given one thing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

from kit.config import load
from kit.database_config import DatabaseConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kit.secret import Secret
    from kit.service import Runtime

__all__ = [
    "Location",
    "PostgresSchema",
    "SqliteFile",
    "Synchronous",
    "location",
    "location_of",
    "sqlite_file",
]

Synchronous = Literal["NORMAL", "FULL"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteFile:
    """
    A SQLite file, which one process at a time serves.

    Attributes:
        path: The file; made with mode 0600, its directory with 0700.
        synchronous: `FULL` to lose nothing when the machine loses power, `NORMAL` to lose nothing when the
            process is killed.
        readers: Most reads at the same time; each has a connection and a thread.
        busy_timeout_s: How long to wait for another process that is writing.
        verify: Whether to look through the whole file for damage first; takes time with its size.
        migrate: Whether tables are brought up to date when it is opened.
        migrate_wait_s: How long to wait, else, for someone who does, in seconds.
        on_statement: Is told of each statement: `read` or `write`.
    """

    path: Path
    synchronous: Synchronous = "FULL"
    readers: int = 4
    busy_timeout_s: float = 5.0
    verify: bool = True
    migrate: bool = True
    migrate_wait_s: float = 0.0
    on_statement: Callable[[str], None] | None = field(default=None, compare=False)

    @property
    def shown(self) -> str:
        """How operators are told where it is."""
        return str(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSchema:
    """
    A schema of a PostgreSQL database, which several processes may serve.

    Attributes:
        url: Address and credentials.
        schema: Name of the schema; made by the first migration where it is missing.
        settings: Pool and times.
        on_statement: Is told of each statement: `read` or `write`.
    """

    url: Secret
    schema: str
    settings: DatabaseConfig = field(default_factory=DatabaseConfig)
    on_statement: Callable[[str], None] | None = field(default=None, compare=False)

    @property
    def migrate(self) -> bool:
        """Whether tables are brought up to date when it is opened."""
        return self.settings.migrate

    @property
    def migrate_wait_s(self) -> float:
        """How long to wait, else, for someone who does, in seconds."""
        return self.settings.migrate_wait_s

    @property
    def shown(self) -> str:
        """How operators are told where it is: never with user or password."""
        parts = urlsplit(self.url.reveal())
        host = parse_qs(parts.query).get("host", [parts.hostname or "localhost"])[0]
        return f"{host}:{parts.port or 5432}/{unquote(parts.path.strip('/'))}"


Location: TypeAlias = SqliteFile | PostgresSchema


def sqlite_file(path: Path) -> SqliteFile:
    """Return the location of a file with the usual settings."""
    return SqliteFile(path=path)


def location(
    config: DatabaseConfig,
    *,
    data_dir: Path,
    service: str,
    synchronous: Synchronous = "FULL",
    on_statement: Callable[[str], None] | None = None,
) -> Location:
    """Return where a service's tables are, by the settings."""
    if config.url is not None:
        return PostgresSchema(url=config.url, schema=service, settings=config, on_statement=on_statement)
    return SqliteFile(
        path=data_dir / f"{service}.db",
        synchronous=synchronous,
        migrate=config.migrate,
        migrate_wait_s=config.migrate_wait_s,
        on_statement=on_statement,
    )


def location_of(runtime: Runtime, *, synchronous: Synchronous = "FULL") -> Location:
    """
    Return where the tables of the service are that a runtime is for; its statements are counted.

    Args:
        runtime: Of the service.
        synchronous: What a SQLite file must survive.

    Raises:
        ConfigError: The settings are not usable.
    """
    counter = runtime.statements

    def count(kind: str) -> None:
        if counter is not None:
            counter.labels(service=runtime.name, kind=kind).inc()

    return location(
        load(DatabaseConfig, runtime.env),
        data_dir=runtime.settings.data_dir,
        service=runtime.name,
        synchronous=synchronous,
        on_statement=count,
    )
