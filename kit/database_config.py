"""Settings of databases, for every service that has one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from kit.config import setting

if TYPE_CHECKING:
    from kit.secret import Secret

__all__ = ["DatabaseConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseConfig:
    """Where auth, router and ledger keep their tables."""

    PREFIX: ClassVar[str] = "HEADRACE_DATABASE_"

    url: Secret | None = setting(
        None,
        "PostgreSQL for auth, router and ledger, each in a schema of its name: "
        "`postgresql://user:password@host:port/database`, with `?host=/directory` for a socket and "
        "`sslmode`, `sslrootcert` and their like as libpq knows them; `verify-full` without a file trusts "
        "whom the system trusts. Default: a SQLite file for each service in the data directory.",
        secret=True,
    )
    pool_size: int = setting(
        8,
        "Connections to PostgreSQL that each service keeps at most, half of them for writing; two more watch "
        "over the database. Work beyond that waits its turn.",
        at_least=2,
        at_most=1000,
    )
    connect_timeout_s: float = setting(
        3.0, "How long connecting to PostgreSQL may take, in seconds.", at_least=0.1, at_most=300
    )
    statement_timeout_s: float = setting(
        10.0,
        "How long PostgreSQL may work on one statement, in seconds. Callers have given up by then.",
        at_least=0.1,
        at_most=3600,
    )
    lock_timeout_s: float = setting(
        5.0,
        "How long a statement may wait in PostgreSQL for a row that someone else is changing, in seconds.",
        at_least=0.1,
        at_most=3600,
    )
    start_wait_s: float = setting(
        60.0,
        "How long a start waits for PostgreSQL to answer, in seconds. The default outlasts the start of a "
        "database that comes up at the same time.",
        at_least=0,
        at_most=86_400,
    )
    migrate: bool = setting(
        default=True,
        doc="Whether a service brings its tables up to date when it starts. Off, that is left to "
        "`headrace migrate`, and a service whose tables are older than it needs waits for it.",
    )
    migrate_wait_s: float = setting(
        600.0,
        "How long a start waits for tables that it must not bring up to date itself, in seconds. The default "
        "is for a roll-out whose migration takes minutes; what starts processes has a limit of its own.",
        at_least=0,
        at_most=86_400,
    )

    def __post_init__(self) -> None:
        """Refuse what is no address of PostgreSQL, without repeating it: it may hold a password."""
        if self.url is None:
            return
        try:
            parts = urlsplit(self.url.reveal())
            port_is_one = parts.port is None or parts.port > 0
        except ValueError:
            port_is_one = False
            parts = urlsplit("")
        if not port_is_one or parts.scheme not in {"postgresql", "postgres"} or not parts.path.strip("/"):
            raise ValueError(
                "HEADRACE_DATABASE_URL must be postgresql://user:password@host:port/database "
                "(what it is now is not shown, as it may hold a password)"
            )
