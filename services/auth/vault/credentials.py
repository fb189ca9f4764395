"""Finds the keys that may be used upstream, and opens them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kit.errors import GatewayError, Reason
from services.auth.core.provider_config import aliases, pool
from services.auth.vault.secret_store import KeyUnreadableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kit.secret import Secret
    from services.auth.core.provider_config import ProviderConfig
    from services.auth.vault.secret_store import SecretStore
    from services.auth.vault.store_sql import SqlVaultStore, StoredKey

__all__ = ["Credentials", "Resolved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """Keys that may be used, the aliases that there are, and whether the operator's own may be used."""

    keys: Sequence[tuple[ProviderConfig, Secret]]
    aliases: Sequence[str]
    unified: bool
    generation: int


class Credentials:
    """
    Resolves keys.

    Args:
        store: The configs.
        sealed: Opens keys that are kept here.
        referenced: Reads those that are elsewhere.
        log: Where it is told that one cannot be had.
    """

    def __init__(
        self, store: SqlVaultStore, *, sealed: SecretStore, referenced: SecretStore, log: Any
    ) -> None:
        self._store = store
        self._sealed = sealed
        self._referenced = referenced
        self._log = log

    async def resolve(self, account_id: str, gateway_id: str, provider: str, alias: str) -> Resolved:
        """
        Return the keys of a pool that can be had.

        Raises:
            GatewayError: SERVICE_UNAVAILABLE; there are keys, and none of them can be had.
        """
        found = await self._store.keys(account_id, gateway_id, provider)
        configs = [key.config for key in found.keys]
        chosen = {config.id for config in pool(configs, alias)}
        wanted = [key for key in found.keys if key.config.id in chosen]
        read = await asyncio.gather(*map(self._read, wanted))
        keys = [(key.config, secret) for key, secret in zip(wanted, read, strict=True) if secret is not None]
        if wanted and not keys:
            message = "The stored key for this provider cannot be read now."
            raise GatewayError(Reason.SERVICE_UNAVAILABLE, message, retry_after_s=1.0, service="auth")
        return Resolved(
            keys=keys, aliases=aliases(configs), unified=found.unified, generation=found.generation
        )

    async def _read(self, key: StoredKey) -> Secret | None:
        store = self._referenced if key.config.secret_ref else self._sealed
        try:
            return await store.read(key)
        except KeyUnreadableError as error:
            self._log.warning(
                "stored key cannot be read",
                reason=str(error),
                config_id=key.config.id,
                account_id=key.config.account_id,
                provider=key.config.provider,
            )
            return None
