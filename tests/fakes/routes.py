"""Dynamic routes in memory, and what plans by them, with chance and health as a test wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kit.clock import SystemClock
from kit.moment import now
from services.router.core.engine.health_view import UNKNOWN, NeutralHealth
from services.router.core.route import (
    Route,
    RouteDeployment,
    RouteVersion,
    no_such_route,
    no_such_version,
)
from services.router.counters.memory import MemoryCounters
from services.router.counters.route_counters import RouteCounters
from services.router.server.route_book import RouteBook
from services.router.server.route_plans import RoutePlans
from services.router.server.route_simulation import RouteSimulator
from services.router.server.route_walk import RouteWalk

if TYPE_CHECKING:
    from collections.abc import Callable

    from kit.clock import Clock
    from kit.generation import WatchHub
    from services.router.core.engine.health_view import HealthView, Look
    from services.router.core.plan import Catalogue
    from services.router.server.limits import LimitServicer
    from services.router.store import PlanProviders, RouteKey

__all__ = ["MemoryRoutes", "ToldHealth", "route_plans", "route_simulator"]


class MemoryRoutes:
    """Keeps routes for as long as the object lives."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str, str, str], Route] = {}
        self._versions: dict[tuple[str, str], RouteVersion] = {}
        self.reads = 0

    def put(self, account_id: str, gateway_id: str, name: str, elements: str) -> Route:
        """Keep a route, or a new version of it, which answers."""
        at = now(SystemClock())
        key = (account_id, gateway_id, name)
        number = len(self._versions)
        version = RouteVersion(
            id=f"version-{number}", elements=elements, active=True, comment="", created_at=at
        )
        kept = self._routes.get(key)
        route = Route(
            id=f"route-{len(self._routes)}" if kept is None else kept.id,
            account_id=account_id,
            gateway_id=gateway_id,
            name=name,
            created_at=at,
            updated_at=at,
            version=version,
            deployment=RouteDeployment(id="d", version_id=version.id, created_at=at),
        )
        self._routes[key] = route
        self._versions[route.id, version.id] = version
        return route

    def forget(self, account_id: str, gateway_id: str, name: str) -> None:
        """Delete a route."""
        del self._routes[account_id, gateway_id, name]

    async def find(self, account_id: str, gateway_id: str, name: str) -> Route | None:
        """Return a route by its name."""
        self.reads += 1
        return self._routes.get((account_id, gateway_id, name))

    async def version(self, key: RouteKey, version_id: str) -> tuple[Route, RouteVersion]:
        """Return a route and one of its versions."""
        self.reads += 1
        for route in self._routes.values():
            if (route.account_id, route.gateway_id, route.id) == (
                key.account_id,
                key.gateway_id,
                key.route_id,
            ):
                if (route.id, version_id) in self._versions:
                    return route, self._versions[route.id, version_id]
                raise no_such_version(version_id)
        raise no_such_route(key.route_id)


class ToldHealth:
    """
    Knows of providers what it was told.

    Args:
        looks: By `provider/model`.
        probes: How many probes there are of each that is half open.
    """

    def __init__(self, looks: dict[str, Look] | None = None, *, probes: int = 1) -> None:
        self.looks = dict(looks or {})
        self.probes = probes
        self.claims: list[str] = []

    def look(self, provider: str, model: str, account_id: str) -> Look:
        """Say what was told."""
        return self.looks.get(f"{provider}/{model}", UNKNOWN)

    def claim(self, provider: str, model: str, account_id: str) -> bool:
        """Take a probe, if there is one left."""
        self.claims.append(f"{provider}/{model}")
        self.probes -= 1
        return self.probes >= 0


def route_plans(
    routes: MemoryRoutes,
    hub: WatchHub,
    *,
    custom_providers: PlanProviders,
    catalogue: Catalogue,
    health: HealthView | None = None,
    draw: Callable[[], float] = lambda: 0.0,
    clock: Clock | None = None,
    health_reuse_s: float = 1.0,
) -> RoutePlans:
    """Return what plans by routes, counting in memory."""
    known = health or NeutralHealth()
    return RoutePlans(
        book=RouteBook(store=routes, hub=hub, aliases=catalogue.aliases),
        walk=RouteWalk(
            health=known,
            custom_providers=custom_providers,
            catalogue=catalogue,
            health_reuse_s=health_reuse_s,
        ),
        counters=RouteCounters(MemoryCounters(clock=clock or SystemClock())),
        health=known,
        draw=draw,
    )


def route_simulator(
    limits: LimitServicer,
    *,
    custom_providers: PlanProviders,
    catalogue: Catalogue,
    health: HealthView | None = None,
    draw: Callable[[], float] = lambda: 0.0,
    counters: RouteCounters | None = None,
) -> RouteSimulator:
    """Return what simulates routes."""
    known = health or NeutralHealth()
    return RouteSimulator(
        walk=RouteWalk(
            health=known, custom_providers=custom_providers, catalogue=catalogue, health_reuse_s=1.0
        ),
        counters=counters or RouteCounters(MemoryCounters(clock=SystemClock())),
        limits=limits,
        health=known,
        draw=draw,
    )
