"""
Which master key is sealed under now: a row beside the sealed keys, changed by rotations.

New keys are sealed under the one that the row names and not under whatever a process has first: a new key in
front is used once a rotation says so, by when every process has it. Every function here needs the
generation's lock.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, select

from kit.errors import GatewayError, Reason
from services.auth.vault.master_keys import MasterKeyError
from services.auth.vault_tables import PROVIDER_CONFIGS, VAULT

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.vault.master_keys import KeyRing
    from services.auth.vault.sealing import MasterKey

__all__ = ["current_id", "no_master_key", "sealed_counts", "sealing_key", "set_current"]

_THE_ROW = 1


async def current_id(connection: AsyncConnection) -> str | None:
    """Return the public name of the master key that is sealed under."""
    found: str | None = await connection.scalar(select(VAULT.c.master_key_id))
    return found


async def set_current(connection: AsyncConnection, master_key_id: str) -> None:
    """Seal under a master key from now on."""
    await connection.execute(delete(VAULT))
    await connection.execute(insert(VAULT).values(id=_THE_ROW, master_key_id=master_key_id))


async def sealed_counts(connection: AsyncConnection) -> dict[str, int]:
    """Return how many keys are sealed, by public name of the master key."""
    column = PROVIDER_CONFIGS.c.master_key_id
    query = select(column, func.count()).where(column.is_not(None)).group_by(column).order_by(column)
    return {name: int(count) for name, count in await connection.execute(query)}


async def sealing_key(connection: AsyncConnection, ring: KeyRing) -> MasterKey:
    """
    Return the master key to seal under.

    Raises:
        GatewayError: SERVICE_UNAVAILABLE; auth does not have it.
    """
    name = await current_id(connection)
    found = ring.get(name) if name else None
    if found is None:
        # Another process may have rotated since this one read the file.
        with suppress(MasterKeyError):  # what is known may still do
            await asyncio.to_thread(ring.reload)
        found = ring.get(name) if name else None
    if found is not None:
        return found
    if ring.newest is None or (name and name in await sealed_counts(connection)):
        raise no_master_key()
    await set_current(connection, ring.newest.id)
    return ring.newest


def no_master_key() -> GatewayError:
    """Return the error for when the master key that is needed is not there."""
    message = "The vault cannot be used now: auth does not have its master key."
    return GatewayError(Reason.SERVICE_UNAVAILABLE, message, service="auth")
