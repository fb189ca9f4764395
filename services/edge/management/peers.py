"""
The services behind the management API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from headrace.audit.v1.audit_service_pb2_grpc import AuditServiceStub
from headrace.auth.v1 import provider_config_pb2
from headrace.auth.v1.account_pb2_grpc import AccountServiceStub
from headrace.auth.v1.provider_config_pb2_grpc import ProviderConfigServiceStub
from headrace.auth.v1.token_pb2_grpc import TokenServiceStub
from headrace.cache.v1 import cache_service_pb2
from headrace.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from headrace.ledger.v1.ledger_service_pb2_grpc import LedgerServiceStub
from headrace.router.v1 import gateway_service_pb2
from headrace.router.v1.custom_provider_pb2_grpc import CustomProviderServiceStub
from headrace.router.v1.gateway_service_pb2_grpc import GatewayServiceStub
from headrace.router.v1.route_service_pb2_grpc import RouteServiceStub
from headrace.router.v1.router_service_pb2_grpc import RouterServiceStub
from kit.errors import GatewayError

if TYPE_CHECKING:
    from headrace.router.v1 import gateway_pb2
    from kit.service import Runtime

__all__ = ["Peers"]

_PAGE: Final = 1000


class Peers:
    """
    The stubs that operations call.

    Args:
        runtime: What the process gives.
        timeout_s: How long one call may take.

    Attributes:
        account: The account of this installation itself.
        audits: The audit log of each service that keeps configuration.
    """

    def __init__(self, runtime: Runtime, *, timeout_s: float = 10.0) -> None:
        auth, router, ledger = (runtime.channel(name) for name in ("auth", "router", "ledger"))
        self._log = runtime.log("management")
        self.timeout_s = timeout_s
        self.account = runtime.settings.account
        self.accounts = AccountServiceStub(auth)
        self.tokens = TokenServiceStub(auth)
        self.provider_configs = ProviderConfigServiceStub(auth)
        self.gateways = GatewayServiceStub(router)
        self.custom_providers = CustomProviderServiceStub(router)
        self.routes = RouteServiceStub(router)
        self.router = RouterServiceStub(router)
        self.ledger = LedgerServiceStub(ledger)
        self.cache = CacheServiceStub(runtime.channel("cache"))
        self.audits = (AuditServiceStub(auth), AuditServiceStub(router))

    async def gateway(self, account_id: str, gateway_id: str) -> gateway_pb2.Gateway:
        """
        Find a gateway.

        Raises:
            GatewayError: GATEWAY_NOT_FOUND, or router is away.
        """
        request = gateway_service_pb2.GetGatewayRequest(account_id=account_id, gateway_id=gateway_id)
        return (await self.gateways.GetGateway(request, timeout=self.timeout_s)).gateway

    async def forget(self, account_id: str, *, gateway_id: str = "", provider: str = "") -> None:
        """
        Forget kept answers that a change made wrong: of a gateway, of a provider, or all of an account's.

        The change is made by then and stays, so that a cache that is away is told in the log alone.
        """
        request = cache_service_pb2.PurgeRequest(
            account_id=account_id, gateway_id=gateway_id, provider=provider
        )
        try:
            await self.cache.Purge(request, timeout=self.timeout_s)
        except GatewayError as error:
            self._log.warning(
                "kept answers were not forgotten",
                account=account_id,
                gateway=gateway_id,
                provider=provider,
                reason=error.reason,
            )

    async def has_keys(self, account_id: str, provider: str) -> bool:
        """
        Say whether an account has stored keys for a provider, whatever the gateway.

        Raises:
            GatewayError: auth is away.
        """
        offset = 0
        while True:
            request = provider_config_pb2.ListProviderConfigsRequest(
                account_id=account_id, page_size=_PAGE, offset=offset
            )
            answer = await self.provider_configs.ListProviderConfigs(request, timeout=self.timeout_s)
            if any(config.provider == provider for config in answer.configs):
                return True
            offset += _PAGE
            if len(answer.configs) < _PAGE:
                return False
