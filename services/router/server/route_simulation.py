"""Goes through routes for requests that are only thought of: changes and counts nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from kit.errors import GatewayError, Reason
from services.router.core.engine.compiled import Model
from services.router.core.engine.effects import Begin, Done, Failed, Try
from services.router.core.engine.pattern import Effort
from services.router.core.engine.simulation import SimulatedAttempt, SimulatedLimit, Simulation
from services.router.core.engine.steps import begun, step
from services.router.core.engine.surroundings import Surroundings
from services.router.core.limits import Asked as Counted
from services.router.core.windows import Unit
from services.router.server.route_walk import answer, rate_result

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.router.core.engine.asked import Asked
    from services.router.core.engine.compiled import CompiledRoute
    from services.router.core.engine.effects import CheckRate, Event, RateResult
    from services.router.core.engine.health_view import HealthView
    from services.router.core.engine.state import State
    from services.router.counters.route_counters import RouteCounters
    from services.router.counters.store import Scope
    from services.router.server.limits import LimitServicer
    from services.router.server.route_walk import RouteWalk

__all__ = ["RouteSimulator", "Thought"]

_UNITS: Final = {Unit.REQUESTS: "requests", Unit.TOKENS: "tokens", Unit.NANO_USD: "cost"}
_LIMITED: Final = frozenset((Reason.SPEND_LIMITED.value, Reason.RATE_LIMITED.value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Thought:
    """
    A request that is thought of.

    Attributes:
        token_id: That it would present. Empty: none.
        failing: Elements that are taken to fail.
        draw: What is drawn at random. None: is drawn.
    """

    asked: Asked
    scope: Scope
    token_id: str = ""
    failing: frozenset[str] = frozenset()
    draw: float | None = None


class RouteSimulator:
    """
    Simulates routes.

    Args:
        walk: Makes steps.
        counters: Where limits of routes count.
        limits: The gateways' limits.
        health: How providers do.
        draw: Draws a number, from 0 up to 1.
    """

    def __init__(
        self,
        *,
        walk: RouteWalk,
        counters: RouteCounters,
        limits: LimitServicer,
        health: HealthView,
        draw: Callable[[], float],
    ) -> None:
        self._walk = walk
        self._counters = counters
        self._limits = limits
        self._health = health
        self._draw = draw

    async def run(self, route: CompiledRoute, thought: Thought) -> Simulation:
        """
        Return the way that a request would take.

        Args:
            route: Through which route.
            thought: Which request.

        Raises:
            GatewayError: INVALID_REQUEST, the route looks at a body that is no JSON; SERVICE_UNAVAILABLE,
                limits cannot be read.
        """
        around = Surroundings(asked=thought.asked, health=self._health, effort=Effort())
        answers = _LookingAnswers(self._counters, thought, self._draw)
        attempts: list[SimulatedAttempt] = []
        limits: list[SimulatedLimit] = []
        state = begun(route)
        event: Event = Begin()
        limited = False
        while True:
            before = len(state.trace)
            state, effect = step(route, around, state, event)
            attempts += self._passed_over(route, state, before, attempts, thought)
            if isinstance(effect, Done):
                refused = effect.outcome == "refused" or limited
                return self._ended(route, state, attempts, [*answers.limits, *limits], refused=refused)
            if not isinstance(effect, Try):
                event = await answer(effect, answers)
                continue
            failure, found = await self._try(effect.node, thought, counted=bool(attempts))
            limits += found
            attempts.append(self._attempt(effect.node, thought))
            limited = failure is not None and failure.reason in _LIMITED
            if failure is None:
                state = replace(state, trace=(*state.trace[:-1], replace(state.trace[-1], output="success")))
                return self._ended(route, state, attempts, [*answers.limits, *limits])
            event = failure

    async def _try(
        self, node: Model, thought: Thought, *, counted: bool
    ) -> tuple[Failed | None, list[SimulatedLimit]]:
        """Say how an attempt would fail, if it would, and which limits of the gateway were looked at."""
        try:
            made = await self._walk.step(node, thought.scope.account_id)
        except GatewayError as error:
            return Failed(reason=error.reason.value), []
        looked = await self._limits.look(
            thought.scope,
            Counted(
                provider=made.provider,
                model=made.model or "",
                token_id=thought.token_id,
                metadata=thought.asked.metadata,
                counted=counted,
                nano_usd=0,
            ),
        )
        found = [
            SimulatedLimit(
                rule=rule.id,
                unit=_UNITS[rule.unit],
                limit=rule.limit,
                used=state.used,
                exceeded=state.remaining <= 0,
            )
            for rule, state in looked
        ]
        exceeded = [each for each in found if each.exceeded]
        if exceeded:
            is_money = any(each.unit == "cost" for each in exceeded)
            reason = Reason.SPEND_LIMITED if is_money else Reason.RATE_LIMITED
            return Failed(reason=reason.value), found
        return (Failed(reason="taken to fail") if node.id in thought.failing else None), found

    def _passed_over(
        self,
        route: CompiledRoute,
        state: State,
        before: int,
        attempts: list[SimulatedAttempt],
        thought: Thought,
    ) -> list[SimulatedAttempt]:
        """Return the models that were passed over since a part of the trace."""
        tried = {each.element_id for each in attempts}
        return [
            replace(self._attempt(node, thought), skipped=True)
            for each in state.trace[max(0, before - 1) :]
            if each.output == "fallback"
            and each.element_id not in tried
            and isinstance(node := route.nodes[each.element_id], Model)
        ]

    def _attempt(self, node: Model, thought: Thought) -> SimulatedAttempt:
        look = self._health.look(node.provider, node.model, thought.scope.account_id)
        return SimulatedAttempt(element_id=node.id, provider=node.provider, model=node.model, look=look)

    def _ended(
        self,
        route: CompiledRoute,
        state: State,
        attempts: list[SimulatedAttempt],
        limits: list[SimulatedLimit],
        *,
        refused: bool | None = None,
    ) -> Simulation:
        outcome: Literal["answered", "failed", "refused"] = "answered"
        if refused is not None:
            outcome = "refused" if refused else "failed"
        return Simulation(
            name=route.name,
            version_id=route.version_id,
            trace=state.trace,
            attempts=tuple(attempts),
            outcome=outcome,
            limits=tuple(limits),
        )


class _LookingAnswers:
    """Answers for a request that is only thought of."""

    def __init__(self, counters: RouteCounters, thought: Thought, draw: Callable[[], float]) -> None:
        self._counters = counters
        self._thought = thought
        self._draw = draw
        self.limits: list[SimulatedLimit] = []

    async def rate(self, effect: CheckRate) -> RateResult:
        """Look at a limit."""
        found = await rate_result(self._counters, self._thought.scope, effect)
        node = effect.node
        self.limits.append(
            SimulatedLimit(
                element_id=node.id,
                key=effect.shown,
                unit=node.unit,
                limit=node.limit,
                used=found.used,
                exceeded=not found.taken,
            )
        )
        return found

    def claim(self, node: Model) -> bool:
        """Take it that there is a probe left, without taking it."""
        return True

    def draw(self) -> float:
        """Give what is to be drawn, or draw."""
        return self._draw() if self._thought.draw is None else self._thought.draw
