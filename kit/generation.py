"""
Generations and the watchers that are told of them.

A service whose answers others keep counts its changes in a generation, stored with what changed
(`GenerationCounter`), and tells everyone who watches which answers are void (`WatchHub`). In a database that
several processes share, a change is announced to the others as well; `kit.database_watch` hears it. Knows no
service and no message.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, func, select, update

from kit.database_tables import upsert
from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["EVERYTHING", "Generation", "GenerationCounter", "WatchHub", "channel_of"]

EVERYTHING = ""
_THE_ROW = 1
_CHANNEL = "headrace_"
# As many of the last tellings are known again; one comes twice within moments, or not at all.
_REMEMBERED = 1024


def channel_of(schema: str) -> str:
    """Return the channel on which PostgreSQL announces changes in a schema."""
    return _CHANNEL + schema


@dataclass(frozen=True, slots=True)
class Generation:
    """
    The generation that a state has, and the scope whose earlier answers that makes void.

    Attributes:
        number: Only ever grows.
        scope: An account; `EVERYTHING` for all of them.
    """

    number: int
    scope: str


class GenerationCounter:
    """
    A table with one row, the generation of everything else in the database.

    Args:
        metadata: The tables of that database.
    """

    def __init__(self, metadata: MetaData) -> None:
        self._table = Table(
            "generation",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("number", BigInteger, nullable=False),
        )

    async def begin(self, connection: AsyncConnection, *, now_s: float) -> int:
        """
        Return the generation, giving a new database its first.

        The first is the time in milliseconds. A database that takes the place of a lost one then goes on
        above it, and nobody takes its answers for older than what they know.
        """
        first = upsert(connection, self._table).values(id=_THE_ROW, number=int(now_s * 1000))
        await connection.execute(first.on_conflict_do_nothing())  # another process may begin it as well
        return await self.read(connection)

    async def read(self, connection: AsyncConnection) -> int:
        """Return the generation of the state that this connection sees."""
        return int((await connection.execute(select(self._table.c.number))).scalar_one())

    async def hold(self, connection: AsyncConnection) -> int:
        """
        Return the generation, and keep every other change waiting until this transaction ends.

        For a transaction that reads, decides and may then change nothing.
        """
        statement = select(self._table.c.number).with_for_update()
        return int((await connection.execute(statement)).scalar_one())

    async def advance(self, connection: AsyncConnection, scope: str = EVERYTHING) -> int:
        """
        Return a new generation for what this transaction changes.

        Other changes wait until this transaction ends, so the order of generations is that of commits. Other
        processes that share the database hear of it with the commit.

        Args:
            connection: Is in the transaction.
            scope: What the change makes void.
        """
        number = self._table.c.number
        statement = update(self._table).values(number=number + 1).returning(number)
        advanced = int((await connection.execute(statement)).scalar_one())
        if connection.dialect.name == "postgresql":
            channel = func.concat(_CHANNEL, func.current_schema())
            await connection.execute(select(func.pg_notify(channel, f"{advanced}:{scope}")))
        return advanced


class WatchHub:
    """
    Tells watchers of generations.

    A watcher that does not keep up holds one entry for each scope; beyond `scopes_each` of them it is told
    that everything is void. So memory is bounded and nothing is missed. Belongs to one event loop.

    Args:
        generation: The generation at the start.
        scopes_each: Most scopes kept for one watcher.
        watchers: Most watchers at the same time.
    """

    def __init__(self, generation: int, *, scopes_each: int = 256, watchers: int = 1024) -> None:
        self._generation = generation
        self._scopes_each = scopes_each
        self._most_watchers = watchers
        self._watchers: set[_Watcher] = set()
        self._told: dict[tuple[int, str], None] = {}
        self._closed = False

    @property
    def generation(self) -> int:
        """The newest generation."""
        return self._generation

    @property
    def watching(self) -> int:
        """How many watch now."""
        return len(self._watchers)

    def advance(self, generation: int, scope: str) -> None:
        """
        Tell all watchers of a change; once, if it comes here from whoever made it and from the database.

        Args:
            generation: The generation that the change made.
            scope: What it makes void; `EVERYTHING` for all.
        """
        telling = (generation, scope)
        if telling in self._told:
            return
        self._told[telling] = None
        if len(self._told) > _REMEMBERED:
            del self._told[next(iter(self._told))]
        self._generation = max(self._generation, generation)
        for watcher in self._watchers:
            watcher.tell(self._generation, scope)

    async def watch(self) -> AsyncGenerator[Generation, None]:
        """
        Yield the generation now, with scope `EVERYTHING`, then each change, until the hub is closed.

        Raises:
            GatewayError: OVERLOADED; there are too many watchers.
        """
        if self._closed:
            return
        if len(self._watchers) >= self._most_watchers:
            raise GatewayError(Reason.OVERLOADED, "Too many watch this service.", resource="watch")
        watcher = _Watcher(self._scopes_each)
        watcher.tell(self._generation, EVERYTHING)
        self._watchers.add(watcher)
        try:
            while not self._closed or watcher.pending:
                if watcher.pending:
                    yield watcher.take()
                else:
                    watcher.news.clear()
                    await watcher.news.wait()
        finally:
            self._watchers.discard(watcher)

    def close(self) -> None:
        """End all watches, once they have been told what is pending."""
        self._closed = True
        for watcher in self._watchers:
            watcher.news.set()


class _Watcher:
    """What one watcher has not been told yet: the newest generation by scope, oldest first."""

    __slots__ = ("_scopes", "news", "pending")

    def __init__(self, scopes: int) -> None:
        self._scopes = scopes
        self.pending: dict[str, int] = {}
        self.news = asyncio.Event()

    def tell(self, generation: int, scope: str) -> None:
        self.pending.pop(scope, None)
        if EVERYTHING in self.pending or len(self.pending) >= self._scopes:
            self.pending.clear()
            scope = EVERYTHING
        self.pending[scope] = generation
        self.news.set()

    def take(self) -> Generation:
        scope = next(iter(self.pending))
        return Generation(self.pending.pop(scope), scope)
