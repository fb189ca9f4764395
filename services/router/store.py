"""What router needs of a store. `store_sqlite` is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from services.router.core.custom_provider import CustomProvider
    from services.router.core.gateway import Gateway

__all__ = ["CustomProviderStore", "GatewayStore"]


class GatewayStore(Protocol):
    """Gateways and the generation. Each method is one transaction."""

    async def generation(self) -> int:
        """Return the generation of what is stored."""
        ...

    async def find(self, account_id: str, gateway_id: str) -> tuple[Gateway | None, int]:
        """Return a gateway, and the generation that it was read at."""
        ...

    async def ensure(self, gateway: Gateway) -> tuple[Gateway, int]:
        """
        Add a gateway unless there is one of its name; return the one that there is, and the generation.

        The generation does not change: answers given before assumed the same settings.
        """
        ...

    async def change(
        self,
        account_id: str,
        gateway_id: str,
        values: Mapping[tuple[str, ...], object],
        *,
        at: datetime,
        then: Callable[[int, str], None],
    ) -> Gateway:
        """
        Change settings of a gateway and return it. What makes no difference is no change.

        Args:
            account_id: Its account.
            gateway_id: Which.
            values: As `core.gateway.changed` takes them.
            at: The time to note.
            then: Is told the new generation and the account once the change is stored.

        Raises:
            GatewayError: GATEWAY_NOT_FOUND.
        """
        ...

    async def check(self) -> None:
        """Raise when the store does not answer."""
        ...


class CustomProviderStore(Protocol):
    """
    Providers that accounts named themselves. Each method is one transaction.

    They share the generation of the gateways: a plan depends on both.
    """

    async def find(self, account_id: str, slug: str) -> CustomProvider | None:
        """Return a provider."""
        ...

    async def of(self, account_id: str) -> list[CustomProvider]:
        """Return an account's providers, by slug."""
        ...

    async def put(self, provider: CustomProvider, *, then: Callable[[int, str], None]) -> CustomProvider:
        """
        Keep a provider, in place of the one of its slug, and return it as it is kept.

        Args:
            provider: With the time of now as both of its times; the first is kept as it was.
            then: Is told the new generation and the account once the change is stored.

        Raises:
            GatewayError: INVALID_REQUEST; the account has too many.
        """
        ...

    async def delete(self, account_id: str, slug: str, *, then: Callable[[int, str], None]) -> None:
        """
        Delete a provider.

        Raises:
            GatewayError: NOT_FOUND.
        """
        ...
