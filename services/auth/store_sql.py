"""Tokens in a database, through SQLAlchemy Core."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, exists, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from kit.audit import Actor, Change
from kit.database import open_database
from kit.errors import GatewayError, Reason
from kit.generation import EVERYTHING
from services.auth import rows, vault_tables
from services.auth.core.account import Account
from services.auth.core.shown import shown_account, shown_token
from services.auth.store import Found
from services.auth.tables import ACCOUNTS, AUDIT, GENERATION, METADATA, MIGRATIONS, TOKEN_ORDER, TOKENS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from kit.clock import Clock
    from kit.database import Database, Location
    from services.auth.core.account import AccountSpec
    from services.auth.core.token import Owner, StoredToken, Token, TokenSpec
    from services.auth.store import Told

__all__ = ["SqlTokenStore", "open_store"]

_START = Actor(interface="start")


@asynccontextmanager
async def open_store(location: Location, *, clock: Clock, log: Any) -> AsyncIterator[SqlTokenStore]:
    """
    Open the store, with its tables up to date.

    Raises:
        DatabaseUnusableError: The database cannot be used.
    """
    # Imported for its tables: a new database needs them as well.
    assert vault_tables.VAULT.metadata is METADATA
    async with open_database(
        location, METADATA, name="auth", log=log, migrations=MIGRATIONS, whole=True
    ) as database:
        async with database.write() as connection:
            await GENERATION.begin(connection, now_s=clock.now_s())
        yield SqlTokenStore(database)


class SqlTokenStore:
    """
    A `TokenStore` in a database.

    Args:
        database: Has auth's tables.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    async def generation(self) -> int:
        """Return the generation of what is stored."""
        async with self.database.read() as connection:
            return await GENERATION.read(connection)

    async def find(self, token_id: str, account_id: str) -> Found:
        """Return what is known about a token that was presented in the name of an account."""
        async with self.database.read() as connection:
            generation = await GENERATION.read(connection)
            stored = await _find(connection, token_id)
            named: set[str] = set()
            if stored is not None:
                own = {stored.token.owner.account_id, *stored.token.accounts}
                named = await _existing(connection, own | {account_id})
            return Found(stored=stored, existing=named, generation=generation)

    async def get(self, owner: Owner, token_id: str) -> Token:
        """Return a token."""
        async with self.database.read() as connection:
            return (await _owned(connection, owner, token_id)).token

    async def add(self, stored: StoredToken, actor: Actor) -> None:
        """Add a token."""
        token = stored.token

        async def work(connection: AsyncConnection) -> None:
            # Nobody deletes an account between the look at it and the row that refers to it.
            await GENERATION.hold(connection)
            await _require(connection, token.accounts)
            await connection.execute(insert(TOKENS).values(rows.token_row(stored)))
            await _write(connection, "create", None, token, actor, at=token.created_at)

        try:
            await self.database.change(work)
        except IntegrityError:
            raise GatewayError(
                Reason.CONFLICT, "There is a token of that id already.", resource="token"
            ) from None

    async def page(
        self, owner: Owner, *, size: int, offset: int, revoked: bool
    ) -> tuple[Sequence[Token], int]:
        """Return some tokens of an owner, newest first, and how many there are in all."""
        wanted = [_of(owner)]
        if not revoked:
            wanted.append(TOKENS.c.revoked_at_us.is_(None))
        query = select(TOKENS).where(*wanted).order_by(*(column.desc() for column in TOKEN_ORDER))
        count = select(func.count()).select_from(TOKENS).where(*wanted)
        async with self.database.read() as connection:
            found = (await connection.execute(query.limit(size).offset(offset))).mappings()
            tokens = [rows.stored_token(row).token for row in found]
            return tokens, int((await connection.execute(count)).scalar_one())

    async def update(
        self,
        owner: Owner,
        token_id: str,
        spec: TokenSpec,
        *,
        at: datetime,
        actor: Actor,
        then: Told,
        unchanged_since: datetime | None = None,
    ) -> Token:
        """Replace what is chosen about a token that is not revoked, and return it."""

        async def alter(connection: AsyncConnection, old: StoredToken) -> StoredToken:
            _check_unchanged(old.token, unchanged_since)
            if old.token.spec == spec:
                return old
            # What it was for already may be gone by now, and then allows nothing.
            await _require(connection, set(_accounts_of(spec)) - set(old.token.accounts))
            return replace(old, token=replace(old.token, spec=spec, updated_at=_after(old.token, at)))

        return await self._alter(owner, token_id, alter, "update", at=at, actor=actor, then=then)

    async def roll(
        self,
        owner: Owner,
        token_id: str,
        digest: bytes,
        *,
        at: datetime,
        actor: Actor,
        then: Told,
        unchanged_since: datetime | None = None,
    ) -> Token:
        """Give a token that is not revoked another secret, by its hash, and return it."""

        async def alter(_: AsyncConnection, old: StoredToken) -> StoredToken:
            _check_unchanged(old.token, unchanged_since)
            return replace(old, hash=digest, token=replace(old.token, updated_at=_after(old.token, at)))

        return await self._alter(owner, token_id, alter, "roll", at=at, actor=actor, then=then)

    async def revoke(self, owner: Owner, token_id: str, *, at: datetime, actor: Actor, then: Told) -> Token:
        """Revoke a token, unless it is revoked already, and return it."""

        async def alter(_: AsyncConnection, old: StoredToken) -> StoredToken:
            if old.token.revoked_at is not None:
                return old
            return replace(old, token=replace(old.token, revoked_at=at, updated_at=at))

        return await self._alter(owner, token_id, alter, "delete", at=at, actor=actor, then=then)

    async def used(self, times: Mapping[str, int]) -> None:
        """Note when tokens were last used; never earlier than noted."""
        last = TOKENS.c.last_used_at_us
        statement = (
            update(TOKENS)
            .where(TOKENS.c.id == bindparam("used_id"), or_(last.is_(None), last < bindparam("used_us")))
            .values(last_used_at_us=bindparam("used_us"))
        )
        # In one order, so that two processes never wait for each other.
        batch = [{"used_id": name, "used_us": when} for name, when in sorted(times.items())]
        await self.database.change(lambda connection: connection.execute(statement, batch))

    @asynccontextmanager
    async def first_token(self) -> AsyncIterator[_FirstToken]:
        """Open the transaction in which the first token is made."""
        async with self.database.write() as connection:
            await GENERATION.hold(connection)
            yield _FirstToken(connection)

    async def check(self) -> None:
        """Raise when the store does not answer."""
        await self.database.check()

    async def _alter(
        self,
        owner: Owner,
        token_id: str,
        alter: Callable[[AsyncConnection, StoredToken], Any],
        action: str,
        *,
        at: datetime,
        actor: Actor,
        then: Told,
    ) -> Token:
        async def work(connection: AsyncConnection) -> tuple[Token, int | None, str]:
            await GENERATION.hold(connection)
            old = await _owned(connection, owner, token_id)
            if old.token.revoked_at is not None and action != "delete":
                raise _unknown(token_id)
            new: StoredToken = await alter(connection, old)
            if new == old:
                return old.token, None, EVERYTHING
            row = rows.token_row(new)
            # Written down apart, and meanwhile perhaps anew.
            del row["last_used_at_us"]
            await connection.execute(update(TOKENS).where(TOKENS.c.id == token_id).values(row))
            await _write(connection, action, old.token, new.token, actor, at=at)
            scope = _scope(old.token, new.token)
            return new.token, await GENERATION.advance(connection, scope), scope

        def tell(result: tuple[Token, int | None, str]) -> None:
            if result[1] is not None:
                then(result[1], result[2])

        return (await self.database.change(work, tell))[0]


def _check_unchanged(token: Token, since: datetime | None) -> None:
    if since is not None and token.updated_at != since:
        raise GatewayError(
            Reason.CONFLICT, "The token was changed meanwhile: look at it again.", resource="token"
        )


def _after(token: Token, at: datetime) -> datetime:
    """Give a time of change that no earlier change has, whatever the clocks say."""
    return max(at, token.updated_at + timedelta(microseconds=1))


class _FirstToken:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def find(self, token_id: str) -> StoredToken | None:
        return await _find(self._connection, token_id)

    async def had_first_token(self, account_id: str) -> bool:
        query = select(exists().where(TOKENS.c.account_id == account_id, TOKENS.c.bootstrap.is_(True)))
        return bool((await self._connection.execute(query)).scalar_one())

    async def ensure_account(self, account_id: str, spec: AccountSpec, *, at: datetime) -> bool:
        query = select(ACCOUNTS.c.deleted_at_us).where(ACCOUNTS.c.id == account_id)
        row = (await self._connection.execute(query)).first()
        if row is not None:
            return row[0] is None
        account = Account(id=account_id, spec=spec, created_at=at, updated_at=at)
        await self._connection.execute(insert(ACCOUNTS).values(rows.account_row(account)))
        change = Change(
            account_id=account_id,
            action="create",
            resource_type="account",
            resource_id=account_id,
            new=shown_account(account),
        )
        await AUDIT.write(self._connection, change, _START, at=at)
        return True

    async def add(self, stored: StoredToken) -> None:
        await self._connection.execute(insert(TOKENS).values(rows.token_row(stored)))
        await _write(self._connection, "create", None, stored.token, _START, at=stored.token.created_at)


async def _find(connection: AsyncConnection, token_id: str) -> StoredToken | None:
    row = (await connection.execute(select(TOKENS).where(TOKENS.c.id == token_id))).mappings().first()
    return None if row is None else rows.stored_token(row)


async def _owned(connection: AsyncConnection, owner: Owner, token_id: str) -> StoredToken:
    found = await _find(connection, token_id)
    if found is None or found.token.owner != owner:
        raise _unknown(token_id)
    return found


def _unknown(token_id: str) -> GatewayError:
    return GatewayError(Reason.NOT_FOUND, "There is no such token.", resource="token", id=token_id[:64])


def _of(owner: Owner) -> ColumnElement[bool]:
    if owner.account_id:
        return TOKENS.c.account_id == owner.account_id
    return TOKENS.c.user_id == owner.user_id


async def _existing(connection: AsyncConnection, named: Collection[str]) -> set[str]:
    query = select(ACCOUNTS.c.id).where(ACCOUNTS.c.id.in_(named), ACCOUNTS.c.deleted_at_us.is_(None))
    return set((await connection.execute(query)).scalars())


async def _require(connection: AsyncConnection, named: Collection[str]) -> None:
    missing = set(named) - await _existing(connection, named) if named else set()
    if missing:
        name = min(missing)
        raise GatewayError(
            Reason.NOT_FOUND, f"There is no account {name!r}.", resource="account", id=name, param="grants"
        )


def _accounts_of(spec: TokenSpec) -> Iterable[str]:
    return (grant.account_id for grant in spec.grants)


def _scope(old: Token, new: Token) -> str:
    """Return whose answers a change voids: those of one account, unless the token is good for others too."""
    if old.owner.account_id and not (old.operator or new.operator):
        return old.owner.account_id
    return EVERYTHING


async def _write(
    connection: AsyncConnection, action: str, old: Token | None, new: Token, actor: Actor, *, at: datetime
) -> None:
    """Write a change into the log of each account that it concerns."""
    concerned = dict.fromkeys([*(old.accounts if old else ()), *new.accounts])
    for account_id in concerned:
        change = Change(
            account_id=account_id,
            action=action,
            resource_type="token",
            resource_id=new.id,
            old=None if old is None else shown_token(old, account_id),
            new=None if action == "delete" else shown_token(new, account_id),
        )
        await AUDIT.write(connection, change, actor, at=at)
