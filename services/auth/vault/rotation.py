"""
Changes the master key: makes a new one if asked to, seals every data key under it, retires the old ones.

What is done at any point is durable, and what is left can be seen from the file and the database: so a
rotation that was broken off, by whatever, is gone on with by the next one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from kit.errors import GatewayError, Reason
from services.auth.tables import GENERATION
from services.auth.vault.master_keys import FROM_ENVIRONMENT, MasterKeyError
from services.auth.vault.sealing import MasterKey, SealingError, reseal
from services.auth.vault.store_sql import stored_key
from services.auth.vault.vault_key import current_id, sealed_counts, set_current
from services.auth.vault_tables import PROVIDER_CONFIGS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from kit.database import Database
    from services.auth.vault.master_keys import KeyRing

__all__ = ["Progress", "Rotation", "make_first_key"]

_AT_ONCE = 25  # small enough that a request that changes something never waits long behind it
_C = PROVIDER_CONFIGS.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a rotation is: data keys under the newest master key, and in all."""

    done: int
    total: int
    master_key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    last_id: str
    size: int
    stuck: tuple[str, ...]


class Rotation:
    """
    Rotates the master key of a database.

    Args:
        database: Has the tables of auth.
        ring: The master keys.
        log: Where it is told.
    """

    def __init__(self, database: Database, ring: KeyRing, log: Any) -> None:
        self._database = database
        self._ring = ring
        self._log = log
        self._running = asyncio.Lock()

    async def counts(self) -> Mapping[str, int]:
        """Return how many keys are sealed, by public name of the master key."""
        async with self._database.read() as connection:
            return await sealed_counts(connection)

    async def run(self, *, generate: bool) -> AsyncGenerator[Progress, None]:
        """
        Rotate, and yield how far it is.

        Args:
            generate: Whether to make a new master key, and to retire old ones when nothing needs them.

        Raises:
            GatewayError: CONFLICT: there is nothing to do, keys are not ours to make, another rotation runs,
                the file cannot be read or written, or some stored keys do not open.
        """
        if self._running.locked():
            raise GatewayError(Reason.CONFLICT, "A rotation is running already.", resource="master_key")
        async with self._running:
            newest = await self._begin(generate=generate)
            self._log.info("master key rotation began", master_key_id=newest.id)
            yield await self._progress(newest)
            stuck: list[str] = []
            last_id = ""
            while (batch := await self._reseal_some(newest, last_id)).size:
                last_id = batch.last_id
                stuck += batch.stuck
                yield await self._progress(newest)
            if generate:
                await self._retire(newest)
            if stuck:
                raise self._stuck(stuck)
            self._log.info("master key rotation ended", master_key_id=newest.id)

    async def _begin(self, *, generate: bool) -> MasterKey:
        if generate and not self._ring.in_file:
            raise GatewayError(Reason.CONFLICT, FROM_ENVIRONMENT, resource="master_key")
        made = MasterKey.generate()

        async def work(connection: AsyncConnection) -> MasterKey:
            await GENERATION.hold(connection)
            await self._reload()
            name, counts = await current_id(connection), await sealed_counts(connection)
            newest = self._ring.newest
            if newest is None:
                raise GatewayError(Reason.CONFLICT, "Auth has no master key.", resource="master_key")
            if generate and len(self._ring.ids) == 1:
                # The file first: nothing may be sealed under a key that could be lost.
                await self._changed_file("add", made)
                newest = made
            if not generate and name == newest.id and not (set(counts) - {newest.id}):
                raise _nothing_to_do()
            await set_current(connection, newest.id)
            return newest

        return await self._database.change(work)

    async def _reseal_some(self, newest: MasterKey, after_id: str) -> _Batch:
        query = select(PROVIDER_CONFIGS).where(_C.master_key_id != newest.id, _C.id > after_id)
        query = query.order_by(_C.id).limit(_AT_ONCE).with_for_update()

        async def work(connection: AsyncConnection) -> _Batch:
            rows = (await connection.execute(query)).mappings().all()
            stuck = [row["id"] for row in rows if not await self._reseal(connection, row, newest)]
            last_id = rows[-1]["id"] if rows else after_id
            return _Batch(last_id=last_id, size=len(rows), stuck=tuple(stuck))

        return await self._database.change(work)

    async def _reseal(self, connection: AsyncConnection, row: Any, newest: MasterKey) -> bool:
        key = stored_key(row)
        old = self._ring.get(row["master_key_id"])
        if key.sealed is None or old is None:
            return False
        try:
            sealed = reseal(key.sealed, old, newest, key.owner)
        except SealingError:
            return False
        # Whoever stored another key meanwhile has sealed that under the newest already.
        statement = update(PROVIDER_CONFIGS).where(
            _C.id == row["id"], _C.sealed_data_key == key.sealed.data_key
        )
        await connection.execute(
            statement.values(sealed_data_key=sealed.data_key, master_key_id=sealed.master_key_id)
        )
        return True

    async def _retire(self, newest: MasterKey) -> None:
        async def work(connection: AsyncConnection) -> None:
            await GENERATION.hold(connection)
            await self._reload()
            needed = {newest.id, *await sealed_counts(connection)}
            if await current_id(connection) == newest.id and not set(self._ring.ids) <= needed:
                await self._changed_file("retire", set(self._ring.ids) - needed)

        await self._database.change(work)

    async def _progress(self, newest: MasterKey) -> Progress:
        counts = await self.counts()
        return Progress(done=counts.get(newest.id, 0), total=sum(counts.values()), master_key_id=newest.id)

    async def _reload(self) -> None:
        try:
            await asyncio.to_thread(self._ring.reload)
        except MasterKeyError as error:
            self._log.error("master keys cannot be read", error=str(error))
            message = "The file of master keys cannot be read by auth; its log says why."
            raise GatewayError(Reason.CONFLICT, message, resource="master_key") from error

    async def _changed_file(self, how: str, what: Any) -> None:
        try:
            await asyncio.to_thread(getattr(self._ring, how), what)
        except MasterKeyError as error:
            self._log.error("master keys cannot be written", error=str(error))
            message = "The file of master keys cannot be written by auth; its log says why."
            raise GatewayError(Reason.CONFLICT, message, resource="master_key") from error

    def _stuck(self, ids: list[str]) -> GatewayError:
        self._log.error("stored keys do not open", config_ids=ids[:20], count=len(ids))
        message = (
            f"All others are sealed under the new master key, but {len(ids)} stored keys do not open with "
            f"any that auth has; store them again or delete them: {', '.join(ids[:5])}."
        )
        return GatewayError(Reason.CONFLICT, message, resource="master_key")


async def make_first_key(database: Database, ring: KeyRing, log: Any) -> None:
    """
    See to it that there is a master key where nothing was ever sealed, and say when one is missing.

    That keys do not open stops nobody: what needs them fails, and all else goes on.

    Raises:
        MasterKeyError: The file cannot be written.
    """
    made = MasterKey.generate()

    async def work(connection: AsyncConnection) -> dict[str, int]:
        await GENERATION.hold(connection)
        counts = await sealed_counts(connection)
        await asyncio.to_thread(ring.reload)
        # Of a shared database, another machine may have made the key that is to be used here, too.
        shared = database.dialect != "sqlite" and await current_id(connection) is not None
        if ring.in_file and ring.newest is None and not counts and not shared:
            await asyncio.to_thread(ring.add, made)
        if ring.newest is not None and await current_id(connection) is None:
            await set_current(connection, ring.newest.id)
        return counts

    counts = await database.change(work)
    if ring.get(made.id):
        log.info("master key made", master_key_id=made.id)
    for name, count in counts.items():
        if ring.get(name) is None:
            log.error(
                "stored keys cannot be opened: auth does not have their master key; put it back into "
                "HEADRACE_MASTER_KEY, HEADRACE_MASTER_KEY_FILE or the file master.key, and restart",
                master_key_id=name,
                count=count,
            )
    if ring.newest is None and not counts:
        log.error(
            "auth has no master key: set HEADRACE_MASTER_KEY to the one that this database is used with"
        )


def _nothing_to_do() -> GatewayError:
    message = "Everything is sealed under the newest master key already; ask for a new one to be made."
    return GatewayError(Reason.CONFLICT, message, resource="master_key")
