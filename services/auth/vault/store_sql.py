"""
Provider configs and their sealed keys in a database, through SQLAlchemy Core.

Every change takes the generation first, whose lock puts changes in order: so no key is sealed under a master
key that a rotation is about to retire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, func, insert, or_, select, update
from sqlalchemy.types import BigInteger

from kit.audit import Actor, Change
from kit.errors import GatewayError, Reason
from kit.moment import microseconds, moment
from services.auth.core.provider_config import (
    MOST_IN_GATEWAY,
    KeyReport,
    KeyStatus,
    ProviderConfig,
    ProviderConfigChange,
    applied,
)
from services.auth.tables import ACCOUNTS, AUDIT, GENERATION
from services.auth.vault.sealing import Sealed, SealedFor, seal
from services.auth.vault.vault_key import sealing_key
from services.auth.vault_tables import PROVIDER_CONFIGS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from kit.database import Database
    from kit.secret import Secret
    from services.auth.vault.master_keys import KeyRing

__all__ = ["Keys", "SqlVaultStore", "StoredKey", "stored_key"]

_C = PROVIDER_CONFIGS.c
_RESOURCE = "provider_config"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A config with its sealed key; `sealed` is None where the key is elsewhere."""

    config: ProviderConfig
    sealed: Sealed | None

    @property
    def owner(self) -> SealedFor:
        """Whose the sealed key is."""
        return SealedFor(account_id=self.config.account_id, config_id=self.config.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """All keys of a gateway and provider, oldest first, as they are at one generation."""

    keys: tuple[StoredKey, ...]
    unified: bool
    generation: int


class SqlVaultStore:
    """
    The vault's part of auth's database.

    Args:
        database: Has the tables of auth.
        ring: The master keys.
    """

    def __init__(self, database: Database, ring: KeyRing) -> None:
        self._database = database
        self._ring = ring

    async def create(
        self, config: ProviderConfig, secret: Secret | None, actor: Actor, then: Callable[[int, str], None]
    ) -> ProviderConfig:
        """
        Keep a key.

        Raises:
            GatewayError: NOT_FOUND, there is no such account; INVALID_REQUEST, the gateway has too many.
        """

        async def work(connection: AsyncConnection) -> int:
            generation = await GENERATION.advance(connection, config.account_id)
            await _check_account(connection, config.account_id)
            await _check_room(connection, config)
            sealed = await self._sealed(connection, config, secret)
            await connection.execute(insert(PROVIDER_CONFIGS).values(**_row(config), **_sealed_row(sealed)))
            new = _audited(config)
            await AUDIT.write(connection, _change("create", config, None, new), actor, at=config.created_at)
            return generation

        await self._database.change(work, lambda generation: then(generation, config.account_id))
        return config

    async def page(
        self, account_id: str, gateway_id: str, *, size: int, offset: int
    ) -> tuple[Sequence[ProviderConfig], int]:
        """Return some configs of an account, or of one gateway, oldest first, and how many there are."""
        where = [_C.account_id == account_id]
        if gateway_id:
            where.append(_C.gateway_id == gateway_id)
        query = select(PROVIDER_CONFIGS).where(*where).order_by(_C.created_at_us, _C.id)
        async with self._database.read() as connection:
            total = await connection.scalar(select(func.count()).select_from(PROVIDER_CONFIGS).where(*where))
            rows = (await connection.execute(query.limit(size).offset(offset))).mappings()
            return [_config(row) for row in rows], int(total or 0)

    async def get(self, account_id: str, gateway_id: str, config_id: str) -> ProviderConfig:
        """
        Return a config.

        Raises:
            GatewayError: NOT_FOUND.
        """
        async with self._database.read() as connection:
            return await _find(connection, _where(account_id, gateway_id, config_id))

    async def update(
        self,
        account_id: str,
        gateway_id: str,
        config_id: str,
        change: ProviderConfigChange,
        actor: Actor,
        *,
        at: datetime,
        then: Callable[[int, str], None],
    ) -> ProviderConfig:
        """
        Change a config, and its key where a new one is given.

        Raises:
            GatewayError: NOT_FOUND, or INVALID_REQUEST.
        """
        where = _where(account_id, gateway_id, config_id)

        async def work(connection: AsyncConnection) -> tuple[ProviderConfig, int]:
            generation = await GENERATION.advance(connection, account_id)
            old = await _find(connection, where)
            new = applied(old, change, at)
            values = _row(new)
            renewed = change.secret is not None or change.secret_ref is not None
            if renewed:
                values |= _sealed_row(await self._sealed(connection, new, change.secret))
            await connection.execute(update(PROVIDER_CONFIGS).where(*where).values(**values))
            shown = _audited(new) | ({"secret_changed": True} if renewed else {})
            await AUDIT.write(connection, _change("update", new, _audited(old), shown), actor, at=at)
            return new, generation

        def tell(result: tuple[ProviderConfig, int]) -> None:
            then(result[1], account_id)

        return (await self._database.change(work, tell))[0]

    async def delete(
        self,
        account_id: str,
        gateway_id: str,
        config_id: str | None,
        actor: Actor,
        *,
        at: datetime,
        then: Callable[[int, str], None],
    ) -> Sequence[ProviderConfig]:
        """
        Delete a config, or all of a gateway where no id is given, and return what there was.

        Raises:
            GatewayError: NOT_FOUND; there is none of that id.
        """
        where = _where(account_id, gateway_id, config_id)

        async def work(connection: AsyncConnection) -> tuple[Sequence[ProviderConfig], int]:
            generation = await GENERATION.advance(connection, account_id)
            rows = (await connection.execute(select(PROVIDER_CONFIGS).where(*where))).mappings()
            old = [_config(row) for row in rows]
            if config_id is not None and not old:
                raise _not_found(config_id)
            await connection.execute(delete(PROVIDER_CONFIGS).where(*where))
            for each in old:
                await AUDIT.write(connection, _change("delete", each, _audited(each), None), actor, at=at)
            return old, generation

        def tell(result: tuple[Sequence[ProviderConfig], int]) -> None:
            then(result[1], account_id)

        return (await self._database.change(work, tell))[0]

    async def keys(self, account_id: str, gateway_id: str, provider: str) -> Keys:
        """Return all keys of a gateway and provider."""
        query = select(PROVIDER_CONFIGS).where(
            _C.account_id == account_id, _C.gateway_id == gateway_id, _C.provider == provider
        )
        async with self._database.read() as connection:
            generation = await GENERATION.read(connection)
            account = select(ACCOUNTS).where(ACCOUNTS.c.id == account_id)
            found = (await connection.execute(account)).mappings().first()
            if found is None or not _alive(found):
                return Keys(keys=(), unified=False, generation=generation)
            rows = (await connection.execute(query.order_by(_C.created_at_us, _C.id))).mappings()
            return Keys(
                keys=tuple(map(stored_key, rows)), unified=bool(found["unified"]), generation=generation
            )

    async def report(self, reports: Sequence[KeyReport]) -> None:
        """Note how keys were taken; what is older than the key itself, or than what is known, is left out."""
        used = bindparam("b_used", type_=BigInteger)
        statement = (
            update(PROVIDER_CONFIGS)
            .where(
                _C.id == bindparam("b_id"),
                _C.updated_at_us <= used,
                or_(_C.last_used_at_us.is_(None), _C.last_used_at_us <= used),
            )
            .values(status=bindparam("b_status"), last_used_at_us=used)
        )
        # In one order everywhere, so that two reports never wait for each other.
        rows = [
            {"b_id": each.id, "b_status": each.status.value, "b_used": microseconds(each.used_at)}
            for each in sorted(reports, key=lambda report: report.id)
        ]

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(statement, rows)

        if rows:
            await self._database.change(work)

    async def _sealed(
        self, connection: AsyncConnection, config: ProviderConfig, secret: Secret | None
    ) -> Sealed | None:
        if secret is None:
            return None
        master = await sealing_key(connection, self._ring)
        return seal(secret, master, SealedFor(account_id=config.account_id, config_id=config.id))


def stored_key(row: Any) -> StoredKey:
    """Return the config and the sealed key in a row."""
    sealed = None
    if row["master_key_id"] is not None:
        sealed = Sealed(
            secret=row["sealed_secret"],
            data_key=row["sealed_data_key"],
            master_key_id=row["master_key_id"],
        )
    return StoredKey(config=_config(row), sealed=sealed)


async def _check_account(connection: AsyncConnection, account_id: str) -> None:
    query = select(ACCOUNTS).where(ACCOUNTS.c.id == account_id)
    if not _alive((await connection.execute(query)).mappings().first()):
        raise GatewayError(Reason.NOT_FOUND, "There is no such account.", resource="account", id=account_id)


def _alive(account: Any) -> bool:
    return account is not None and account["deleted_at_us"] is None


async def _check_room(connection: AsyncConnection, config: ProviderConfig) -> None:
    query = select(func.count()).select_from(PROVIDER_CONFIGS)
    query = query.where(_C.account_id == config.account_id, _C.gateway_id == config.gateway_id)
    if (await connection.scalar(query) or 0) >= MOST_IN_GATEWAY:
        message = f"A gateway has at most {MOST_IN_GATEWAY} stored keys."
        raise GatewayError(Reason.INVALID_REQUEST, message, param="gateway_id")


async def _find(connection: AsyncConnection, where: Sequence[ColumnElement[bool]]) -> ProviderConfig:
    row = (await connection.execute(select(PROVIDER_CONFIGS).where(*where))).mappings().first()
    if row is None:
        raise _not_found("")
    return _config(row)


def _where(account_id: str, gateway_id: str, config_id: str | None) -> list[ColumnElement[bool]]:
    where = [_C.account_id == account_id, _C.gateway_id == gateway_id]
    return where if config_id is None else [*where, _C.id == config_id]


def _not_found(config_id: str) -> GatewayError:
    return GatewayError(
        Reason.NOT_FOUND, "The gateway has no such stored key.", resource=_RESOURCE, id=config_id[:64]
    )


def _change(
    action: str, config: ProviderConfig, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None
) -> Change:
    return Change(
        account_id=config.account_id,
        action=action,
        resource_type=_RESOURCE,
        resource_id=config.id,
        gateway_id=config.gateway_id,
        old=old,
        new=new,
    )


def _audited(config: ProviderConfig) -> dict[str, Any]:
    return {
        "provider": config.provider,
        "alias": config.alias,
        "default_config": config.default_config,
        "secret_ref": config.secret_ref,
        "secret_preview": config.secret_preview,
        "weight": config.weight,
        "rate_limit": config.rate_limit,
        "rate_limit_period_s": config.rate_limit_period_ms / 1000,
    }


def _row(config: ProviderConfig) -> dict[str, Any]:
    return {
        "id": config.id,
        "account_id": config.account_id,
        "gateway_id": config.gateway_id,
        "provider": config.provider,
        "alias": config.alias,
        "default_config": config.default_config,
        "secret_ref": config.secret_ref,
        "secret_preview": config.secret_preview,
        "secret_fingerprint": config.secret_fingerprint,
        "weight": config.weight,
        "rate_limit": config.rate_limit,
        "rate_limit_period_ms": config.rate_limit_period_ms,
        "status": config.status.value,
        "created_at_us": microseconds(config.created_at),
        "updated_at_us": microseconds(config.updated_at),
        "last_used_at_us": None if config.last_used_at is None else microseconds(config.last_used_at),
    }


def _sealed_row(sealed: Sealed | None) -> dict[str, Any]:
    return {
        "sealed_secret": sealed and sealed.secret,
        "sealed_data_key": sealed and sealed.data_key,
        "master_key_id": sealed and sealed.master_key_id,
    }


def _config(row: Any) -> ProviderConfig:
    return ProviderConfig(
        id=row["id"],
        account_id=row["account_id"],
        gateway_id=row["gateway_id"],
        provider=row["provider"],
        alias=row["alias"],
        default_config=row["default_config"],
        secret_ref=row["secret_ref"],
        secret_preview=row["secret_preview"],
        secret_fingerprint=row["secret_fingerprint"],
        weight=row["weight"],
        rate_limit=row["rate_limit"],
        rate_limit_period_ms=row["rate_limit_period_ms"],
        status=KeyStatus(row["status"]),
        created_at=moment(row["created_at_us"]),
        updated_at=moment(row["updated_at_us"]),
        last_used_at=None if row["last_used_at_us"] is None else moment(row["last_used_at_us"]),
    )
