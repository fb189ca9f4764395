"""
PostgreSQL for `kit.database`: connections, the pool, and waiting for a server that is not there yet.

The address goes to the driver alone and never into SQLAlchemy's URL or a text, because it may hold a
password. The driver is imported only where PostgreSQL is used.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.ext.asyncio import create_async_engine

from kit.database_errors import DatabaseAwayError, DatabaseUnusableError
from kit.database_tls import context_of, refused

if TYPE_CHECKING:
    import asyncpg
    from sqlalchemy.ext.asyncio import AsyncEngine

    from kit.database_location import PostgresSchema

__all__ = ["connect", "postgres_engine", "wait_for_server"]

_LINE_EVERY_S: Final = 5.0
_TRY_EVERY_S: Final = 0.5
_SERVER_ANSWERS_LATE_S: Final = (
    5.0  # beyond the statement's own limit, for the server to say that it cut it off
)
_LONGEST_IDLE_S: Final = 60.0
_AUTHORIZATION: Final = "28"
# Together about 5 s, whether or not something is on its way: then a statement fails, and the next one goes to
# whoever has taken the server's place. A server that is merely busy acknowledges all the same.
_SILENCE: Final = (
    ("TCP_KEEPIDLE", 2),
    ("TCP_KEEPINTVL", 1),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", 5_000),
)


async def connect(place: PostgresSchema, *, application: str) -> asyncpg.Connection[Any]:
    """
    Connect to the server; what is unqualified is then in the service's schema.

    Args:
        place: Where.
        application: Name that the server's own lists show.

    Raises:
        DatabaseAwayError: There is no connection.
    """
    import asyncpg

    settings = place.settings
    try:
        connection = await asyncpg.connect(
            place.url.reveal(),
            # In a thread: the system's authorities are hundreds.
            ssl=await asyncio.to_thread(context_of, place.url),
            timeout=settings.connect_timeout_s,
            command_timeout=settings.statement_timeout_s + _SERVER_ANSWERS_LATE_S,
            server_settings={
                "application_name": application,
                "search_path": '"' + place.schema.replace('"', '""') + '"',
                "statement_timeout": _milliseconds(settings.statement_timeout_s),
                "lock_timeout": _milliseconds(settings.lock_timeout_s),
                # A process that hangs between two statements must not hold a row for ever, nor the tables
                # while it changes them, however long one of its statements may take.
                "idle_in_transaction_session_timeout": _milliseconds(
                    min(3 * settings.statement_timeout_s, _LONGEST_IDLE_S)
                ),
            },
        )
        _notice_silence(connection)
    except asyncpg.PostgresError as error:
        lasting = (error.sqlstate or "").startswith(_AUTHORIZATION)
        raise DatabaseAwayError(str(error), lasting=lasting) from error
    except TimeoutError as error:
        raise DatabaseAwayError("it does not answer") from error
    except ssl.SSLError as error:
        raise refused(error) from error
    except OSError as error:
        if "rejected SSL" in str(error):  # the driver has no type of its own for it
            raise DatabaseAwayError(
                "it does not offer TLS, which `sslmode` of the address asks for", lasting=True
            ) from error
        raise DatabaseAwayError(error.strerror or "it cannot be reached") from error
    except (asyncpg.InterfaceError, ValueError) as error:
        # The text of these may quote the address.
        raise DatabaseAwayError("the address is not usable", lasting=True) from error
    return connection


def postgres_engine(place: PostgresSchema, *, application: str, patience_s: float) -> AsyncEngine:
    """
    Return an engine for a schema.

    Args:
        place: Where.
        application: Name that the server's own lists show.
        patience_s: How long to wait for a connection of the pool.
    """

    async def creator() -> asyncpg.Connection[Any]:
        return await connect(place, application=application)

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=creator,
        pool_size=place.settings.pool_size + 1,  # one tells whether the database answers
        max_overflow=0,
        pool_timeout=patience_s,
        pool_use_lifo=True,
        # A server that was restarted is found to have been before a statement fails by it.
        pool_pre_ping=True,
        hide_parameters=True,
    )


async def wait_for_server(place: PostgresSchema, *, application: str, log: Any) -> None:
    """
    Return once the server takes connections.

    Raises:
        DatabaseUnusableError: It does not, within the time that the settings give it.
    """
    began_s = time.monotonic()
    told_s = 0.0
    while True:
        try:
            connection = await connect(place, application=application)
        except DatabaseAwayError as error:
            now_s = time.monotonic()
            if error.lasting:
                raise DatabaseUnusableError(
                    f"The database at {place.shown} does not let us in: {error}."
                ) from error
            if now_s - began_s >= place.settings.start_wait_s:
                raise DatabaseUnusableError(
                    f"The database at {place.shown} did not answer within "
                    f"{place.settings.start_wait_s:g} s: {error}."
                ) from error
            if now_s - told_s >= _LINE_EVERY_S:
                told_s = now_s
                line = f"waiting for the database at {place.shown}"
                log.warning(line, reason=str(error))
            await asyncio.sleep(_TRY_EVERY_S)
        else:
            await connection.close()
            return


def _notice_silence(connection: asyncpg.Connection[Any]) -> None:
    """
    Have the system end a connection whose other end is gone without a word.

    The driver waits for the end of a statement that it cut off without a limit of its own.
    """
    opened: Any = connection
    found = opened._transport.get_extra_info("socket")  # noqa: SLF001 - the driver has no other way to it
    if found is None or found.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _SILENCE:
        if option := getattr(socket, name, None):  # what a system does not have, it does its own way
            found.setsockopt(socket.IPPROTO_TCP, option, value)


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))
