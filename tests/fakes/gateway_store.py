"""What plans need of router's stores, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.router.core.documents import Documents
from services.router.core.gateway import ManagedGateway

if TYPE_CHECKING:
    from kit.audit import Actor
    from services.router.core.custom_provider import CustomProvider
    from services.router.core.gateway import Gateway

__all__ = ["MemoryPlanGateways", "MemoryPlanProviders"]


class MemoryPlanGateways:
    """Keeps gateways for as long as the object lives."""

    def __init__(self) -> None:
        self.gateways: dict[tuple[str, str], Gateway] = {}

    async def generation(self) -> int:
        """Return the generation, which never changes."""
        return 1

    async def find(self, account_id: str, gateway_id: str) -> tuple[Gateway | None, int]:
        """Return a gateway, and the generation."""
        return self.gateways.get((account_id, gateway_id)), 1

    async def find_managed(self, account_id: str, gateway_id: str) -> tuple[ManagedGateway | None, int]:
        """Return a gateway without documents, and the generation."""
        found = self.gateways.get((account_id, gateway_id))
        return (None if found is None else ManagedGateway(gateway=found, documents=Documents())), 1

    async def ensure(self, gateway: Gateway, actor: Actor) -> tuple[Gateway, int]:
        """Add a gateway unless there is one of its name; return the one that there is."""
        return self.gateways.setdefault((gateway.account_id, gateway.id), gateway), 1

    async def check(self) -> None:
        """Answer always."""


class MemoryPlanProviders:
    """Keeps accounts' own providers for as long as the object lives."""

    def __init__(self) -> None:
        self.providers: dict[tuple[str, str], CustomProvider] = {}

    async def find(self, account_id: str, slug: str) -> CustomProvider | None:
        """Return a provider."""
        return self.providers.get((account_id, slug))
