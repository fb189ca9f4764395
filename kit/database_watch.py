"""
Hears of changes that other processes made to a database that is shared.

A change says so in its own transaction (`kit.generation.GenerationCounter.advance`), and PostgreSQL tells
everyone who listens once it is committed. SQLite has one process, which tells its watchers itself.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from kit.background import going_on
from kit.database_errors import DatabaseAwayError
from kit.database_location import PostgresSchema
from kit.database_postgres import connect
from kit.errors import GatewayError
from kit.generation import EVERYTHING, channel_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from kit.database import Database
    from kit.generation import GenerationCounter, WatchHub

__all__ = ["watch_changes"]

_RETRY_S: Final = 0.5
# A connection whose other end is gone without a word is found out by this.
_ALIVE_EVERY_S: Final = 5.0


@asynccontextmanager
async def watch_changes(
    database: Database, generations: GenerationCounter, hub: WatchHub
) -> AsyncIterator[None]:
    """
    Tell a hub of what other processes change, as long as the context is open.

    While the connection is lost nothing is heard; when it is back, all watchers are told that everything is
    void. What the hub was told by this process already it does not tell again.

    Args:
        database: The shared one.
        generations: Its counter.
        hub: Tells watchers.
    """
    if not isinstance(database.location, PostgresSchema):
        yield
        return
    listener = _Listener(database, database.location, generations, hub)
    async with going_on(listener.run()):
        await listener.tried.wait()
        yield


class _Listener:
    def __init__(
        self, database: Database, place: PostgresSchema, generations: GenerationCounter, hub: WatchHub
    ) -> None:
        self._database = database
        self._place = place
        self._generations = generations
        self._hub = hub
        self.tried = asyncio.Event()

    async def run(self) -> None:
        """Listen, again and again."""
        lost = False
        while True:
            why = "the connection was lost"
            try:
                connection = await connect(self._place, application=f"headrace {self._database.name} changes")
                try:
                    await self._listen(connection)
                    if lost:
                        self._database.log.info("changes are heard of again", database=self._database.name)
                    lost = False
                    self.tried.set()
                    await self._until_lost(connection)
                finally:
                    connection.terminate()
            except (DatabaseAwayError, GatewayError) as error:
                why = str(error)
            except Exception as error:  # noqa: BLE001 - whatever ended the connection, another one is wanted
                why = type(error).__name__
            if not lost:
                self._database.log.warning(
                    "changes of other processes are not heard of", database=self._database.name, reason=why
                )
            lost = True
            self.tried.set()
            await asyncio.sleep(_RETRY_S)

    async def _listen(self, connection: asyncpg.Connection[Any]) -> None:
        await connection.add_listener(channel_of(self._place.schema), self._heard)
        # What was changed before, nobody was told: of everything there may be something newer.
        async with self._database.read() as reading:
            generation = await self._generations.read(reading)
        self._hub.advance(generation, EVERYTHING)

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        number, separator, scope = str(payload).partition(":")
        if separator and number.isdecimal():
            self._hub.advance(int(number), scope)

    async def _until_lost(self, connection: asyncpg.Connection[Any]) -> None:
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        while not lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_ALIVE_EVERY_S):
                    await lost.wait()
            if not lost.is_set():
                await connection.execute("SELECT 1", timeout=_ALIVE_EVERY_S)
