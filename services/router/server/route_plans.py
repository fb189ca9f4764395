"""Plans of requests that ask for a dynamic route."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from services.router.core.engine.state import read_continuation
from services.router.core.limit_ticket import write_counted
from services.router.core.plan import Plan, no_such_route_name
from services.router.counters.store import Scope
from services.router.server.route_walk import CountingAnswers
from services.router.store import RouteKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.router.core.engine.asked import Asked
    from services.router.core.engine.effects import Failed
    from services.router.core.engine.health_view import HealthView
    from services.router.core.gateway import Gateway
    from services.router.counters.route_counters import RouteCounters
    from services.router.server.route_book import RouteBook
    from services.router.server.route_walk import RouteWalk

__all__ = ["RoutePlans"]


class RoutePlans:
    """
    Plans by routes.

    Args:
        book: The routes.
        walk: Carries them out.
        counters: Where their limits count.
        health: How providers do.
        draw: Draws a number, from 0 up to 1.
    """

    def __init__(
        self,
        *,
        book: RouteBook,
        walk: RouteWalk,
        counters: RouteCounters,
        health: HealthView,
        draw: Callable[[], float],
    ) -> None:
        self._book = book
        self._walk = walk
        self._counters = counters
        self._health = health
        self._draw = draw

    async def begin(self, name: str, gateway: Gateway, generation: int, asked: Asked) -> Plan:
        """
        Return what to try first.

        Args:
            name: Of the route.
            gateway: Which has it.
            generation: The one at which the gateway was read.
            asked: The request.

        Raises:
            GatewayError: ALL_STEPS_FAILED, there is no such route; and as `RouteWalk.plan` does.
        """
        route = await self._book.find(gateway.account_id, gateway.id, name, generation)
        if route is None:
            raise no_such_route_name(name)
        answers = self._answers(gateway)
        steps, found = await self._walk.plan(route, asked, answers)
        if answers.counted:
            found = replace(found, counted=write_counted(answers.counted))
        return Plan(steps=steps, settings=gateway.settings, route=found)

    async def go_on(
        self, continuation: bytes, gateway: Gateway, generation: int, asked: Asked, failed: Failed
    ) -> Plan:
        """
        Return what to try after that failed which an earlier plan said.

        Args:
            continuation: Of that plan.
            gateway: Which has the route.
            generation: The one at which the gateway was read.
            asked: The request.
            failed: How its last step did.

        Raises:
            GatewayError: INVALID_REQUEST, no plan had this continuation; ALL_STEPS_FAILED, the route was
                deleted meanwhile; and as `RouteWalk.plan` does.
        """
        after = read_continuation(continuation)
        key = RouteKey(account_id=gateway.account_id, gateway_id=gateway.id, route_id=after.route_id)
        route = await self._book.version(key, after.version_id, generation)
        steps, found = await self._walk.plan(route, asked, self._answers(gateway), after=after, failed=failed)
        return Plan(steps=steps, settings=gateway.settings, route=found)

    def _answers(self, gateway: Gateway) -> CountingAnswers:
        return CountingAnswers(
            counters=self._counters,
            scope=Scope(gateway.account_id, gateway.id),
            health=self._health,
            draw=self._draw,
        )
