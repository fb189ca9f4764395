"""The routes of gateways, as plans need them: read and compiled once, until something changes."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from kit.errors import GatewayError, Reason
from services.router.core.engine.compiled import compile_route
from services.router.core.engine.pattern import PatternError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kit.generation import WatchHub
    from services.router.core.engine.compiled import CompiledRoute
    from services.router.core.route import Route, RouteVersion
    from services.router.store import RouteKey

__all__ = ["PlanRoutes", "RouteBook", "compiled"]

_MOST_NAMES: Final = 4000
_MOST_VERSIONS: Final = 2000
# Of all versions together: each remembers some hundred kilobytes.
_MOST_PATTERNS: Final = 2000


class PlanRoutes(Protocol):
    """Dynamic routes as plans need them."""

    async def find(self, account_id: str, gateway_id: str, name: str) -> Route | None:
        """Return a route by its name."""
        ...

    async def version(self, key: RouteKey, version_id: str) -> tuple[Route, RouteVersion]:
        """Return a route and one of its versions. Raises NOT_FOUND and GATEWAY_NOT_FOUND."""
        ...


class RouteBook:
    """
    Knows routes.

    Args:
        store: Where they are kept.
        hub: Knows the newest generation that was told.
        aliases: Other names of providers.
    """

    def __init__(self, *, store: PlanRoutes, hub: WatchHub, aliases: Mapping[str, str]) -> None:
        self._store = store
        self._hub = hub
        self._aliases = aliases
        # By account, gateway, and name or version: the version, and the generation at which it was so.
        self._known: OrderedDict[tuple[str, ...], tuple[int, str]] = OrderedDict()
        self._compiled: OrderedDict[str, CompiledRoute] = OrderedDict()
        self._patterns = 0

    async def find(
        self, account_id: str, gateway_id: str, name: str, generation: int
    ) -> CompiledRoute | None:
        """
        Return the version of a route that answers.

        Args:
            account_id: Whose.
            gateway_id: Of which gateway.
            name: Which.
            generation: What has been read besides is of this one: nothing older will do.
        """
        key = (account_id, gateway_id, name)
        known = self._fresh(key, generation)
        if known is None:
            found = await self._store.find(account_id, gateway_id, name)
            if found is None:
                return None
            known = self._keep(key, generation, self._compile(found, found.version))
        return known

    async def version(self, key: RouteKey, version_id: str, generation: int) -> CompiledRoute:
        """
        Return a version that a request began with, whichever answers by now.

        Args:
            key: The route.
            version_id: Which.
            generation: As for `find`.

        Raises:
            GatewayError: ALL_STEPS_FAILED; there is none such any more.
        """
        place = (key.account_id, key.gateway_id, key.route_id, version_id)
        known = self._fresh(place, generation)
        if known is None:
            try:
                route, version = await self._store.version(key, version_id)
            except GatewayError as error:
                if error.reason not in (Reason.NOT_FOUND, Reason.GATEWAY_NOT_FOUND):
                    raise
                raise GatewayError(
                    Reason.ALL_STEPS_FAILED, "The dynamic route was deleted while the request was under way."
                ) from None
            known = self._keep(place, generation, self._compile(route, version))
        return known

    def _fresh(self, key: tuple[str, ...], generation: int) -> CompiledRoute | None:
        known = self._known.get(key)
        if known is None or known[0] < max(generation, self._hub.generation):
            return None
        found = self._compiled.get(known[1])
        if found is not None:
            self._compiled.move_to_end(known[1])
        return found

    def _keep(self, key: tuple[str, ...], generation: int, found: CompiledRoute) -> CompiledRoute:
        self._known[key] = (generation, found.version_id)
        self._known.move_to_end(key)
        if len(self._known) > _MOST_NAMES:
            self._known.popitem(last=False)
        return found

    def _compile(self, route: Route, version: RouteVersion) -> CompiledRoute:
        """Compile a version, which never changes, unless that was done already."""
        found = self._compiled.get(version.id)
        if found is None:
            found = compiled(
                version.elements, self._aliases, route_id=route.id, version_id=version.id, name=route.name
            )
            self._patterns += found.patterns
        elif found.name != route.name:
            found = replace(found, name=route.name)
        self._compiled[version.id] = found
        self._compiled.move_to_end(version.id)
        while len(self._compiled) > _MOST_VERSIONS or (
            self._patterns > _MOST_PATTERNS and len(self._compiled) > 1
        ):
            _, oldest = self._compiled.popitem(last=False)
            self._patterns -= oldest.patterns
        return found


def compiled(
    elements: str, aliases: Mapping[str, str], *, route_id: str, version_id: str, name: str = ""
) -> CompiledRoute:
    """
    Compile what was checked to be a route, perhaps by an earlier release that took more.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    try:
        return compile_route(elements, aliases, route_id=route_id, name=name, version_id=version_id)
    except PatternError as error:
        raise GatewayError(
            Reason.INVALID_REQUEST,
            f"The dynamic route has a pattern that is not taken: {error}",
            param="model",
        ) from None
