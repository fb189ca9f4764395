"""Accounts in a database, through SQLAlchemy Core."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from kit.audit import Change
from kit.errors import GatewayError, Reason
from kit.generation import EVERYTHING
from kit.moment import microseconds
from services.auth import rows
from services.auth.core.shown import shown_account
from services.auth.tables import ACCOUNTS, AUDIT, GENERATION, TOKENS
from services.auth.vault_tables import PROVIDER_CONFIGS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from kit.audit import Actor
    from kit.database import Database
    from services.auth.core.account import Account, AccountSpec
    from services.auth.store import Told

__all__ = ["SqlAccountStore"]


class SqlAccountStore:
    """
    An `AccountStore` in a database.

    Args:
        database: Has auth's tables.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, account: Account, *, actor: Actor, then: Told) -> None:
        """Add an account."""

        async def work(connection: AsyncConnection) -> int:
            # It has no answers yet but those that say that it is not there.
            generation = await GENERATION.advance(connection, account.id)
            await connection.execute(insert(ACCOUNTS).values(rows.account_row(account)))
            await _write(connection, "create", None, account, actor, at=account.created_at)
            return generation

        try:
            await self._database.change(work, lambda generation: then(generation, account.id))
        except IntegrityError:
            raise GatewayError(
                Reason.CONFLICT,
                f"There is an account {account.id!r} already, or was: ids are not used again.",
                resource="account",
                id=account.id,
            ) from None

    async def get(self, account_id: str) -> Account:
        """Return an account."""
        async with self._database.read() as connection:
            return await _find(connection, account_id)

    async def page(
        self, *, size: int, offset: int, among: Collection[str], deleted: bool
    ) -> tuple[Sequence[Account], int]:
        """Return some accounts by id, and how many there are in all."""
        wanted = [] if deleted else [ACCOUNTS.c.deleted_at_us.is_(None)]
        if among:
            wanted.append(ACCOUNTS.c.id.in_(among))
        query = select(ACCOUNTS).where(*wanted).order_by(ACCOUNTS.c.id).limit(size).offset(offset)
        count = select(func.count()).select_from(ACCOUNTS).where(*wanted)
        async with self._database.read() as connection:
            found = [rows.account(row) for row in (await connection.execute(query)).mappings()]
            return found, int((await connection.execute(count)).scalar_one())

    async def update(
        self, account_id: str, spec: AccountSpec, *, at: datetime, actor: Actor, then: Told
    ) -> Account:
        """Replace what is chosen about an account, and return it."""

        async def work(connection: AsyncConnection) -> tuple[Account, int | None]:
            await GENERATION.hold(connection)
            old = await _find(connection, account_id)
            if old.spec == spec:
                return old, None
            new = replace(old, spec=spec, updated_at=at)
            changed = update(ACCOUNTS).where(ACCOUNTS.c.id == account_id)
            await connection.execute(changed.values(rows.account_row(new)))
            await _write(connection, "update", old, new, actor, at=at)
            return new, await GENERATION.advance(connection, account_id)

        def tell(result: tuple[Account, int | None]) -> None:
            if result[1] is not None:
                then(result[1], account_id)

        return (await self._database.change(work, tell))[0]

    async def delete(self, account_id: str, *, at: datetime, actor: Actor, then: Told) -> Account:
        """Delete an account with its tokens and keys, and return it as it was."""

        async def work(connection: AsyncConnection) -> tuple[Account, int]:
            # Its tokens may be good for other accounts, and others' for it.
            generation = await GENERATION.advance(connection, EVERYTHING)
            old = await _find(connection, account_id)
            gone = update(ACCOUNTS).where(ACCOUNTS.c.id == account_id)
            await connection.execute(gone.values(deleted_at_us=microseconds(at)))
            await connection.execute(
                delete(PROVIDER_CONFIGS).where(PROVIDER_CONFIGS.c.account_id == account_id)
            )
            await connection.execute(delete(TOKENS).where(TOKENS.c.account_id == account_id))
            await _take_grants(connection, account_id, at)
            await _write(connection, "delete", old, None, actor, at=at)
            return old, generation

        return (await self._database.change(work, lambda result: then(result[1], EVERYTHING)))[0]


async def _find(connection: AsyncConnection, account_id: str) -> Account:
    query = select(ACCOUNTS).where(ACCOUNTS.c.id == account_id, ACCOUNTS.c.deleted_at_us.is_(None))
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        raise GatewayError(
            Reason.NOT_FOUND, "There is no such account.", resource="account", id=account_id[:64]
        )
    return rows.account(row)


async def _take_grants(connection: AsyncConnection, account_id: str, at: datetime) -> None:
    """Take from users' tokens what they could do on an account; end those that are for no other."""
    # More rows than these may hold the text; which do, their grants say.
    query = select(TOKENS).where(
        TOKENS.c.user_id.is_not(None), TOKENS.c.grants.contains(f'"{account_id}"', autoescape=True)
    )
    for row in (await connection.execute(query)).mappings().all():
        token = rows.stored_token(row).token
        left = [grant for grant in token.spec.grants if grant.account_id != account_id]
        if len(left) == len(token.spec.grants):
            continue
        values = {"grants": rows.grants_text(left), "updated_at_us": microseconds(at)}
        if not left and token.revoked_at is None:
            values["revoked_at_us"] = microseconds(at)
        await connection.execute(update(TOKENS).where(TOKENS.c.id == token.id).values(values))


async def _write(
    connection: AsyncConnection,
    action: str,
    old: Account | None,
    new: Account | None,
    actor: Actor,
    *,
    at: datetime,
) -> None:
    account = new or old
    assert account is not None
    change = Change(
        account_id=account.id,
        action=action,
        resource_type="account",
        resource_id=account.id,
        old=None if old is None else shown_account(old),
        new=None if new is None else shown_account(new),
    )
    await AUDIT.write(connection, change, actor, at=at)
