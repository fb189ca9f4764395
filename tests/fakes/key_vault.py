"""
The part of auth that gives out stored keys, as a fake: what is stored is said by the test.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog

from headrace.auth.v1 import auth_service_pb2, auth_service_pb2_grpc, credential_pb2, credential_pb2_grpc
from headrace.common.v1 import lifetime_pb2
from kit.clock import SystemClock
from kit.errors import GatewayError, Reason
from kit.rpc.endpoint import endpoints
from kit.rpc.inline import InlineChannel, InlineRegistry
from kit.service import Binding
from kit.telemetry.tracing import Tracing
from services.providers.key_pool import KeyPools
from services.providers.keyring import Keyring
from services.providers.payer import Payer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headrace.auth.v1 import provider_config_pb2
    from kit.clock import Clock
    from kit.rpc.endpoint import Endpoint

__all__ = ["KeyVault", "paying"]

ACCOUNT = "local"
GATEWAY = "default"


class KeyVault(auth_service_pb2_grpc.AuthServiceServicer, credential_pb2_grpc.CredentialServiceServicer):
    """
    Gives out what was put into it, and keeps what it is told.

    Attributes:
        unified: The account may use the operator's keys.
        asked: (provider, alias) of each question.
        reports: The last report on each key.
        reported: Set when there is one.
        failure: Raised in place of every answer.
    """

    def __init__(self) -> None:
        self.unified = False
        self.asked: list[tuple[str, str]] = []
        self.reports: dict[str, provider_config_pb2.KeyStatus.ValueType] = {}
        self.reported = asyncio.Event()
        self.failure: GatewayError | None = None
        self._keys: dict[tuple[str, str], list[credential_pb2.StoredKey]] = {}
        self._generation = 1
        self._watchers: set[asyncio.Queue[int]] = set()

    def put(self, provider: str, *secrets: str, alias: str = "default", **fields: Any) -> None:
        """Keep a pool of keys, whose ids are their places: `openai/default/0`."""
        self._keys[provider, alias] = [
            credential_pb2.StoredKey(id=f"{provider}/{alias}/{index}", secret=secret, weight=1, **fields)
            for index, secret in enumerate(secrets)
        ]

    def change(self) -> None:
        """Void all answers."""
        self._generation += 1
        for watcher in self._watchers:
            watcher.put_nowait(self._generation)

    async def Authenticate(
        self, request: auth_service_pb2.AuthenticateRequest, context: object
    ) -> auth_service_pb2.AuthenticateResponse:
        raise GatewayError(Reason.UNAUTHENTICATED, "Unauthorized")

    async def ResolveCredential(
        self, request: credential_pb2.ResolveCredentialRequest, context: object
    ) -> credential_pb2.ResolveCredentialResponse:
        self.asked.append((request.provider, request.alias))
        if self.failure is not None:
            raise self.failure
        lifetime = lifetime_pb2.Lifetime(generation=self._generation, scope=request.account_id)
        lifetime.reuse_for.seconds = lifetime.grace.seconds = 60
        if (request.account_id, request.gateway_id) != (ACCOUNT, GATEWAY):
            return credential_pb2.ResolveCredentialResponse(lifetime=lifetime)
        return credential_pb2.ResolveCredentialResponse(
            keys=self._keys.get((request.provider, request.alias or "default"), ()),
            aliases=sorted(alias for provider, alias in self._keys if provider == request.provider),
            unified=self.unified,
            lifetime=lifetime,
        )

    async def ReportKeys(
        self, request: credential_pb2.ReportKeysRequest, context: object
    ) -> credential_pb2.ReportKeysResponse:
        if self.failure is not None:
            raise self.failure
        self.reports |= {report.id: report.status for report in request.reports}
        self.reported.set()
        return credential_pb2.ReportKeysResponse()

    async def Watch(
        self, request: auth_service_pb2.WatchRequest, context: object
    ) -> AsyncIterator[auth_service_pb2.WatchResponse]:
        queue: asyncio.Queue[int] = asyncio.Queue()
        self._watchers.add(queue)
        queue.put_nowait(self._generation)
        try:
            while True:
                invalidation = lifetime_pb2.Invalidation(generation=await queue.get())
                yield auth_service_pb2.WatchResponse(invalidation=invalidation)
        finally:
            self._watchers.discard(queue)

    def endpoints(self) -> list[Endpoint]:
        """Return what serves it."""
        callers = frozenset({"providers"})
        bindings = (
            Binding(
                service="headrace.auth.v1.AuthService",
                add=auth_service_pb2_grpc.add_AuthServiceServicer_to_server,
                servicer=self,
                callers=callers,
            ),
            Binding(
                service="headrace.auth.v1.CredentialService",
                add=credential_pb2_grpc.add_CredentialServiceServicer_to_server,
                servicer=self,
                callers=callers,
            ),
        )
        return [each for binding in bindings for each in endpoints(binding, Tracing("auth"))]


@asynccontextmanager
async def paying(vault: KeyVault, clock: Clock | None = None) -> AsyncIterator[Payer]:
    """Have calls paid for from a vault in this process."""
    inline = InlineRegistry({"auth"})
    inline.add("auth", vault.endpoints())
    channel = InlineChannel(inline, "auth", caller="providers", tracing=Tracing("providers"))
    keyring = Keyring(channel, timeout_s=1.0, capacity=1000, log=structlog.get_logger())
    async with keyring.following():
        yield Payer(
            keyring,
            KeyPools(clock or SystemClock()),
            lambda key_id, status: vault.reports.update({key_id: status}),
        )
