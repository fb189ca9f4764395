"""Accounts and tokens in SQLite, through SQLAlchemy Core."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    exists,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from kit.errors import GatewayError, Reason
from kit.generation import GenerationCounter
from kit.moment import microseconds, moment
from kit.sqlite import open_database
from services.auth.core.token import Permission, Restrictions, StoredToken, Token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from kit.clock import Clock
    from kit.sqlite import Database
    from services.auth.core.page import Position

__all__ = ["SqliteTokenStore", "open_store"]

_METADATA = MetaData()
_GENERATION = GenerationCounter(_METADATA)

# Times are microseconds since 1970: exact, sortable, and the same in every database.
_ACCOUNTS = Table(
    "accounts",
    _METADATA,
    Column("id", String(64), primary_key=True),
    Column("created_at_us", BigInteger, nullable=False),
)
_TOKENS = Table(
    "tokens",
    _METADATA,
    Column("id", String(64), primary_key=True),
    Column("account_id", ForeignKey(_ACCOUNTS.c.id), nullable=False),
    Column("name", String(120), nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Column("permissions", Text, nullable=False),
    Column("restrictions", Text, nullable=False),
    Column("bootstrap", Boolean, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("expires_at_us", BigInteger),
    Column("revoked_at_us", BigInteger),
)
_ORDER = (_TOKENS.c.created_at_us, _TOKENS.c.id)
Index("tokens_by_age", _TOKENS.c.account_id, *_ORDER)


@asynccontextmanager
async def open_store(path: Path, *, clock: Clock, log: Any) -> AsyncIterator[SqliteTokenStore]:
    """
    Open the store in a file, making it where it is missing.

    Raises:
        DatabaseUnusableError: The file cannot be used.
    """
    async with open_database(path, _METADATA, name="auth", log=log) as database:
        async with database.write() as connection:
            await _GENERATION.begin(connection, now_s=clock.now_s())
        yield SqliteTokenStore(database)


class SqliteTokenStore:
    """
    A `TokenStore` in one SQLite file.

    Args:
        database: Has the tables of this module.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def generation(self) -> int:
        """Return the generation of what is stored."""
        async with self._database.read() as connection:
            return await _GENERATION.read(connection)

    async def find(self, token_id: str) -> tuple[StoredToken | None, int]:
        """Return a token by its id, and the generation that it was read at."""
        async with self._database.read() as connection:
            generation = await _GENERATION.read(connection)
            return await _find(connection, token_id), generation

    async def add(self, stored: StoredToken) -> None:
        """Add a token, and its account where that is missing."""
        try:
            await self._database.change(lambda connection: _add(connection, stored))
        except IntegrityError:
            raise GatewayError(
                Reason.CONFLICT, "There is a token of that id already.", resource="token"
            ) from None

    async def page(self, account_id: str, *, size: int, after: Position | None) -> Sequence[Token]:
        """Return at most `size` tokens of an account, newest first, from behind a position on."""
        query = select(_TOKENS).where(_TOKENS.c.account_id == account_id)
        if after is not None:
            query = query.where(tuple_(*_ORDER) < (microseconds(after.created_at), after.id))
        query = query.order_by(*(column.desc() for column in _ORDER)).limit(size)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings()
            return [_stored(row).token for row in rows]

    async def revoke(
        self, account_id: str, token_id: str, *, at: datetime, then: Callable[[int, str], None]
    ) -> Token:
        """Revoke a token, unless it is revoked already, and return it."""

        async def work(connection: AsyncConnection) -> tuple[Token, int | None]:
            found = await _find(connection, token_id)
            if found is None or found.token.account_id != account_id:
                raise GatewayError(
                    Reason.NOT_FOUND, "The account has no such token.", resource="token", id=token_id[:64]
                )
            if found.token.revoked_at is not None:
                return found.token, None
            statement = update(_TOKENS).where(_TOKENS.c.id == token_id)
            statement = statement.values(revoked_at_us=microseconds(at)).returning(*_TOKENS.c)
            row = (await connection.execute(statement)).mappings().one()
            return _stored(row).token, await _GENERATION.advance(connection)

        def tell(result: tuple[Token, int | None]) -> None:
            if result[1] is not None:
                then(result[1], account_id)

        return (await self._database.change(work, tell))[0]

    @asynccontextmanager
    async def first_token(self) -> AsyncIterator[_FirstToken]:
        """Open the transaction in which the first token is made."""
        async with self._database.write() as connection:
            yield _FirstToken(connection)

    async def check(self) -> None:
        """Raise when the store does not answer."""
        await self._database.check()


class _FirstToken:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def find(self, token_id: str) -> StoredToken | None:
        return await _find(self._connection, token_id)

    async def had_first_token(self, account_id: str) -> bool:
        query = select(exists().where(_TOKENS.c.account_id == account_id, _TOKENS.c.bootstrap.is_(True)))
        return bool((await self._connection.execute(query)).scalar_one())

    async def add(self, stored: StoredToken) -> None:
        await _add(self._connection, stored)


async def _find(connection: AsyncConnection, token_id: str) -> StoredToken | None:
    row = (await connection.execute(select(_TOKENS).where(_TOKENS.c.id == token_id))).mappings().first()
    return None if row is None else _stored(row)


async def _add(connection: AsyncConnection, stored: StoredToken) -> None:
    token = stored.token
    created_at_us = microseconds(token.created_at)
    known = select(_ACCOUNTS.c.id).where(_ACCOUNTS.c.id == token.account_id)
    if (await connection.execute(known)).first() is None:
        account = insert(_ACCOUNTS).values(id=token.account_id, created_at_us=created_at_us)
        await connection.execute(account)
    await connection.execute(
        insert(_TOKENS).values(
            id=token.id,
            account_id=token.account_id,
            name=token.name,
            hash=stored.hash,
            permissions=json.dumps(token.permissions),
            restrictions=json.dumps(
                {
                    "gateway_ids": token.restrictions.gateway_ids,
                    "providers": token.restrictions.providers,
                    "models": token.restrictions.models,
                }
            ),
            bootstrap=stored.bootstrap,
            created_at_us=created_at_us,
            expires_at_us=None if token.expires_at is None else microseconds(token.expires_at),
            revoked_at_us=None if token.revoked_at is None else microseconds(token.revoked_at),
        )
    )


def _stored(row: Any) -> StoredToken:
    restrictions = json.loads(row["restrictions"])
    token = Token(
        id=row["id"],
        account_id=row["account_id"],
        name=row["name"],
        permissions=tuple(Permission(name) for name in json.loads(row["permissions"])),
        restrictions=Restrictions(
            gateway_ids=tuple(restrictions["gateway_ids"]),
            providers=tuple(restrictions["providers"]),
            models=tuple(restrictions["models"]),
        ),
        created_at=moment(row["created_at_us"]),
        expires_at=None if row["expires_at_us"] is None else moment(row["expires_at_us"]),
        revoked_at=None if row["revoked_at_us"] is None else moment(row["revoked_at_us"]),
    )
    return StoredToken(token=token, hash=row["hash"], bootstrap=row["bootstrap"])
