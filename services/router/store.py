"""What router needs of its stores. `store_sql` and the modules beside it have them in a database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime

    from kit.audit import Actor, Change
    from services.router.core.custom_provider import CustomProvider, Query
    from services.router.core.documents import Documents
    from services.router.core.gateway import Gateway, ManagedGateway
    from services.router.core.page import Page
    from services.router.core.route import Route, RouteDeployment, RouteVersion
    from services.router.core.settings import GatewaySettings

__all__ = [
    "By",
    "CustomProviderStore",
    "GatewayStore",
    "LimitGateways",
    "PlanGateways",
    "PlanProviders",
    "RouteKey",
    "RouteStore",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """
    Who changes something, and when.

    Attributes:
        then: Is told the new generation and the account, once the change is stored.
    """

    actor: Actor
    at: datetime
    then: Callable[[int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteKey:
    """Where a route is."""

    account_id: str
    gateway_id: str
    route_id: str


class PlanGateways(Protocol):
    """Gateways as plans need them, and the generation. Each method is one transaction."""

    async def generation(self) -> int:
        """Return the generation of what is stored."""
        ...

    async def find(self, account_id: str, gateway_id: str) -> tuple[Gateway | None, int]:
        """Return a gateway as far as plans need it, and the generation that it was read at."""
        ...

    async def ensure(self, gateway: Gateway, actor: Actor) -> tuple[Gateway, int]:
        """
        Add a gateway unless there is one of its name; return the one that there is, and the generation.

        The generation does not change: answers given before assumed the same settings.
        """
        ...


class LimitGateways(Protocol):
    """Gateways with all their settings, as limits need them."""

    async def find_managed(self, account_id: str, gateway_id: str) -> tuple[ManagedGateway | None, int]:
        """Return a gateway, and the generation that it was read at."""
        ...


class PlanProviders(Protocol):
    """Providers that accounts named themselves, as plans need them."""

    async def find(self, account_id: str, slug: str) -> CustomProvider | None:
        """Return a provider by its slug."""
        ...


class GatewayStore(PlanGateways, Protocol):
    """Gateways to be managed. Each method is one transaction; what makes no difference is no change."""

    async def get(self, account_id: str, gateway_id: str) -> ManagedGateway:
        """
        Return a gateway.

        Raises:
            GatewayError: GATEWAY_NOT_FOUND.
        """
        ...

    async def page(
        self, account_id: str, page: Page, *, search: str = "", ids: Collection[str] = ()
    ) -> tuple[list[ManagedGateway], int]:
        """
        Return a part of an account's gateways, by id, and how many there are in all.

        Args:
            account_id: The account.
            page: Which part.
            search: Only those with this in their id, whatever the case.
            ids: Only these. Empty: all.
        """
        ...

    async def create(self, gateway: ManagedGateway, by: By) -> ManagedGateway:
        """
        Add a gateway and return it.

        Raises:
            GatewayError: CONFLICT; INVALID_REQUEST, the account has too many.
        """
        ...

    async def replace(
        self, account_id: str, gateway_id: str, settings: GatewaySettings, documents: Documents, by: By
    ) -> ManagedGateway:
        """
        Replace all settings of a gateway and return it.

        Raises:
            GatewayError: GATEWAY_NOT_FOUND.
        """
        ...

    async def delete(self, account_id: str, gateway_id: str, by: By) -> ManagedGateway:
        """
        Delete a gateway with its routes and return it as it was.

        Raises:
            GatewayError: GATEWAY_NOT_FOUND.
        """
        ...

    async def write_down(self, change: Change, by: By) -> None:
        """Add an entry to the audit log about something that is kept elsewhere; plans stay as they are."""
        ...

    async def check(self) -> None:
        """Raise when the store does not answer."""
        ...


class CustomProviderStore(PlanProviders, Protocol):
    """
    Providers that accounts named themselves, to be managed. Each method is one transaction.

    They share the generation of the gateways: a plan depends on both.
    """

    async def slugs(self, account_id: str) -> frozenset[str]:
        """Return the slugs of an account's providers."""
        ...

    async def get(self, account_id: str, provider_id: str) -> CustomProvider:
        """
        Return a provider by its id.

        Raises:
            GatewayError: NOT_FOUND.
        """
        ...

    async def page(self, account_id: str, query: Query) -> tuple[list[CustomProvider], int]:
        """Return a part of an account's providers, and how many satisfy the query in all."""
        ...

    async def create(self, provider: CustomProvider, by: By) -> CustomProvider:
        """
        Add a provider and return it.

        Raises:
            GatewayError: CONFLICT; INVALID_REQUEST, the account has too many.
        """
        ...

    async def change(
        self, account_id: str, provider_id: str, edit: Callable[[CustomProvider], CustomProvider], by: By
    ) -> CustomProvider:
        """
        Change a provider and return it. What makes no difference is no change.

        Args:
            account_id: Its account.
            provider_id: Which.
            edit: Returns what it shall be, without looking at anything else; may be called again.
            by: Who does it.

        Raises:
            GatewayError: NOT_FOUND, CONFLICT.
        """
        ...

    async def delete(self, account_id: str, provider_id: str, by: By) -> CustomProvider:
        """
        Delete a provider and return it as it was.

        Raises:
            GatewayError: NOT_FOUND.
        """
        ...


class RouteStore(Protocol):
    """
    Dynamic routes, their versions and deployments. Each method is one transaction.

    All fail with GATEWAY_NOT_FOUND, and with NOT_FOUND where there is no such route or version.
    """

    async def create(self, route: Route, by: By) -> Route:
        """
        Add a route with its version and its deployment, and return it.

        Raises:
            GatewayError: CONFLICT; INVALID_REQUEST, the gateway has too many.
        """
        ...

    async def page(self, account_id: str, gateway_id: str, page: Page) -> tuple[list[Route], int]:
        """Return a part of a gateway's routes, newest first, and how many there are in all."""
        ...

    async def get(self, key: RouteKey) -> Route:
        """Return a route."""
        ...

    async def find(self, account_id: str, gateway_id: str, name: str) -> Route | None:
        """Return a route by its name; unlike the others, without a word about the gateway."""
        ...

    async def rename(self, key: RouteKey, name: str, by: By) -> Route:
        """
        Give a route another name and return it. What makes no difference is no change.

        Raises:
            GatewayError: CONFLICT.
        """
        ...

    async def delete(self, key: RouteKey, by: By) -> Route:
        """Delete a route with its versions and return it as it was."""
        ...

    async def add_version(self, key: RouteKey, version: RouteVersion, by: By) -> Route:
        """
        Add a version without deploying it, and return the route.

        Raises:
            GatewayError: INVALID_REQUEST; the route has too many.
        """
        ...

    async def version(self, key: RouteKey, version_id: str) -> tuple[Route, RouteVersion]:
        """Return a route and one of its versions."""
        ...

    async def versions(self, key: RouteKey, page: Page) -> tuple[list[RouteVersion], int]:
        """Return a part of a route's versions, newest first, and how many there are in all."""
        ...

    async def deploy(self, key: RouteKey, deployment: RouteDeployment, by: By) -> Route:
        """Let a version answer from now on, and return the route."""
        ...

    async def deployments(self, key: RouteKey, page: Page) -> tuple[list[RouteDeployment], int]:
        """Return a part of a route's deployments, newest first, and how many there are in all."""
        ...
