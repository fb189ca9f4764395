"""The vault's servicers: decode, look up, decide, encode."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from headrace.auth.v1 import credential_pb2, vault_pb2
from headrace.auth.v1 import provider_config_pb2 as pb
from headrace.auth.v1.credential_pb2_grpc import CredentialServiceServicer
from headrace.auth.v1.provider_config_pb2_grpc import ProviderConfigServiceServicer
from headrace.auth.v1.vault_pb2_grpc import VaultServiceServicer
from kit import moment
from kit.account import check_account_id
from kit.audit_service import actor_of
from kit.ids import uuid7
from kit.providers import canonical
from services.auth.vault import convert

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.clock import Clock
    from kit.generation import WatchHub
    from services.auth.config import AuthConfig
    from services.auth.core.secret_ref import References
    from services.auth.vault.credentials import Credentials
    from services.auth.vault.master_keys import KeyRing
    from services.auth.vault.rotation import Rotation
    from services.auth.vault.store_sql import SqlVaultStore

__all__ = ["CredentialServicer", "ProviderConfigServicer", "VaultServicer"]


class ProviderConfigServicer(ProviderConfigServiceServicer):
    """
    Answers `headrace.auth.v1.ProviderConfigService`.

    Args:
        store: The configs.
        references: Which references can be followed.
        hub: Is told of changes.
        clock: The time.
        log: Where changes are told.
    """

    def __init__(
        self, *, store: SqlVaultStore, references: References, hub: WatchHub, clock: Clock, log: Any
    ) -> None:
        self._store = store
        self._references = references
        self._hub = hub
        self._clock = clock
        self._log = log

    async def CreateProviderConfig(
        self, request: pb.CreateProviderConfigRequest, context: Any
    ) -> pb.CreateProviderConfigResponse:
        """Keep a key."""
        config, secret = convert.config(
            request, self._references, config_id=uuid7(), now=moment.now(self._clock)
        )
        made = await self._store.create(config, secret, actor_of(request.actor), self._hub.advance)
        self._log.info("key stored", account_id=made.account_id, config_id=made.id, provider=made.provider)
        return pb.CreateProviderConfigResponse(config=convert.message(made))

    async def ListProviderConfigs(
        self, request: pb.ListProviderConfigsRequest, context: Any
    ) -> pb.ListProviderConfigsResponse:
        """List the keys of a gateway or an account."""
        size = convert.page_size(request.page_size, request.offset)
        account_id = check_account_id(request.account_id)
        found, total = await self._store.page(
            account_id, request.gateway_id, size=size, offset=request.offset
        )
        return pb.ListProviderConfigsResponse(configs=map(convert.message, found), total_count=total)

    async def GetProviderConfig(
        self, request: pb.GetProviderConfigRequest, context: Any
    ) -> pb.GetProviderConfigResponse:
        """Find a key."""
        account_id = check_account_id(request.account_id)
        found = await self._store.get(account_id, request.gateway_id, request.id)
        return pb.GetProviderConfigResponse(config=convert.message(found))

    async def UpdateProviderConfig(
        self, request: pb.UpdateProviderConfigRequest, context: Any
    ) -> pb.UpdateProviderConfigResponse:
        """Change a key, or what is known of it."""
        found = await self._store.update(
            check_account_id(request.account_id),
            request.gateway_id,
            request.id,
            convert.change(request, self._references),
            actor_of(request.actor),
            at=moment.now(self._clock),
            then=self._hub.advance,
        )
        self._log.info("key changed", account_id=found.account_id, config_id=found.id)
        return pb.UpdateProviderConfigResponse(config=convert.message(found))

    async def DeleteProviderConfig(
        self, request: pb.DeleteProviderConfigRequest, context: Any
    ) -> pb.DeleteProviderConfigResponse:
        """Delete a key."""
        [found] = await self._store.delete(
            check_account_id(request.account_id),
            request.gateway_id,
            request.id,
            actor_of(request.actor),
            at=moment.now(self._clock),
            then=self._hub.advance,
        )
        self._log.info("key deleted", account_id=found.account_id, config_id=found.id)
        return pb.DeleteProviderConfigResponse(config=convert.message(found))

    async def DeleteGatewayConfigs(
        self, request: pb.DeleteGatewayConfigsRequest, context: Any
    ) -> pb.DeleteGatewayConfigsResponse:
        """Delete all keys of a gateway."""
        found = await self._store.delete(
            check_account_id(request.account_id),
            request.gateway_id,
            None,
            actor_of(request.actor),
            at=moment.now(self._clock),
            then=self._hub.advance,
        )
        return pb.DeleteGatewayConfigsResponse(deleted_count=len(found))


class CredentialServicer(CredentialServiceServicer):
    """
    Answers `headrace.auth.v1.CredentialService`.

    Args:
        credentials: Finds and opens keys.
        store: Notes how they were taken.
        config: How long answers hold.
    """

    def __init__(self, *, credentials: Credentials, store: SqlVaultStore, config: AuthConfig) -> None:
        self._credentials = credentials
        self._store = store
        self._config = config

    async def ResolveCredential(
        self, request: credential_pb2.ResolveCredentialRequest, context: Any
    ) -> credential_pb2.ResolveCredentialResponse:
        """Find the keys that may be used upstream."""
        account_id = check_account_id(request.account_id)
        found = await self._credentials.resolve(
            account_id, request.gateway_id, canonical(request.provider), request.alias
        )
        return credential_pb2.ResolveCredentialResponse(
            keys=[convert.stored_key(config, secret) for config, secret in found.keys],
            aliases=found.aliases,
            unified=found.unified,
            lifetime=convert.lifetime(
                reuse_for_s=self._config.reuse_for_s,
                grace_s=self._config.grace_s,
                generation=found.generation,
                account_id=account_id,
            ),
        )

    async def ReportKeys(
        self, request: credential_pb2.ReportKeysRequest, context: Any
    ) -> credential_pb2.ReportKeysResponse:
        """Note how keys were taken."""
        await self._store.report(convert.reports(request.reports))
        return credential_pb2.ReportKeysResponse()


class VaultServicer(VaultServiceServicer):
    """
    Answers `headrace.auth.v1.VaultService`.

    Args:
        rotation: Changes the master key.
        ring: The master keys.
    """

    def __init__(self, *, rotation: Rotation, ring: KeyRing) -> None:
        self._rotation = rotation
        self._ring = ring

    async def RotateMasterKey(
        self, request: vault_pb2.RotateMasterKeyRequest, context: Any
    ) -> AsyncIterator[vault_pb2.RotateMasterKeyResponse]:
        """Seal every data key under the newest master key."""
        async with aclosing(self._rotation.run(generate=request.generate)) as steps:
            async for step in steps:
                yield vault_pb2.RotateMasterKeyResponse(
                    done_count=step.done, total_count=step.total, master_key_id=step.master_key_id
                )

    async def GetVault(self, request: vault_pb2.GetVaultRequest, context: Any) -> vault_pb2.GetVaultResponse:
        """Tell under which master keys the vault is sealed."""
        return vault_pb2.GetVaultResponse(
            master_key_ids=self._ring.ids, sealed_counts=await self._rotation.counts()
        )
