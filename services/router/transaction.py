"""
One change of what router keeps: with its entries in the audit log and a new generation, or not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from services.router.tables import AUDIT, GENERATION

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from kit.audit import Change
    from kit.database import Database
    from services.router.store import By

__all__ = ["carry_out"]

_T = TypeVar("_T")


async def carry_out(
    database: Database,
    account_id: str,
    by: By,
    work: Callable[[AsyncConnection], Awaitable[tuple[_T, Sequence[Change]]]],
) -> _T:
    """
    Make a change and return what it brought.

    Changes of all processes come one after the other, so `work` may read and then write.

    Args:
        database: Where.
        account_id: Whose plans become void.
        by: Who does it.
        work: Does it; returns its result and what it changed. Nothing changed: nothing is told.
    """

    async def whole(connection: AsyncConnection) -> tuple[_T, int | None]:
        await GENERATION.hold(connection)
        result, changes = await work(connection)
        if not changes:
            return result, None
        for change in changes:
            await AUDIT.write(connection, change, by.actor, at=by.at)
        return result, await GENERATION.advance(connection, account_id)

    def tell(done: tuple[_T, int | None]) -> None:
        if done[1] is not None:
            by.then(done[1], account_id)

    return (await database.change(whole, tell))[0]
