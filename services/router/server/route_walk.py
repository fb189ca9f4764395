"""Carries out dynamic routes: answers what the engine wants, and makes steps of what it tries."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

import orjson

from kit.errors import GatewayError, Reason
from services.router.core.engine.compiled import End, Model
from services.router.core.engine.effects import (
    Begin,
    CheckRate,
    Claimed,
    ClaimProbe,
    Done,
    Drawn,
    Failed,
    NeedDraw,
    NeedInputs,
    RateResult,
    Try,
)
from services.router.core.engine.pattern import Effort
from services.router.core.engine.rates import amount
from services.router.core.engine.state import Continuation, write_continuation
from services.router.core.engine.steps import begun, resumed, step
from services.router.core.engine.surroundings import Surroundings
from services.router.core.limit_ticket import Counted
from services.router.core.plan import RouteSteps, own_slug, step_to
from services.router.counters.store import CountersAwayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.router.core.engine.asked import Asked
    from services.router.core.engine.compiled import CompiledRoute
    from services.router.core.engine.effects import Effect, Event
    from services.router.core.engine.health_view import HealthView
    from services.router.core.engine.state import State
    from services.router.core.plan import Catalogue, Step
    from services.router.counters.route_counters import RouteCounters
    from services.router.counters.store import Scope
    from services.router.store import PlanProviders

__all__ = ["Answers", "CountingAnswers", "RouteWalk", "rate_result"]

# Steps that are told at once; what comes after them is asked for when they failed.
_MOST_STEPS: Final = 8


class Answers(Protocol):
    """Answers what the engine wants to know."""

    async def rate(self, effect: CheckRate) -> RateResult:
        """Say whether a limit lets the request through."""
        ...

    def claim(self, node: Model) -> bool:
        """Take a probe of a model, if there is one left."""
        ...

    def draw(self) -> float:
        """Draw a number, from 0 up to 1."""
        ...


class CountingAnswers:
    """
    Answers for a request that is really made: it counts.

    Attributes:
        counted: What it counted, and can be given back.

    Args:
        counters: Where limits count.
        scope: The gateway.
        health: Has the probes.
        draw: Draws a number.
    """

    def __init__(
        self,
        *,
        counters: RouteCounters,
        scope: Scope,
        health: HealthView,
        draw: Callable[[], float],
    ) -> None:
        self._counters = counters
        self._scope = scope
        self._health = health
        self._draw = draw
        self.counted: list[Counted] = []

    async def rate(self, effect: CheckRate) -> RateResult:
        """Count a request; look at what is left of tokens and money."""
        node = effect.node
        if node.unit != "requests":
            return await rate_result(self._counters, self._scope, effect)
        try:
            taken, state, window = await self._counters.take(
                self._scope,
                effect.counter,
                limit=node.limit,
                window_s=node.window_s,
                technique=node.technique,
            )
        except CountersAwayError:
            raise _away() from None
        if window is not None:
            self.counted.append(Counted(effect.counter, node.window_s, window))
        return RateResult(taken=taken, used=state.used, reset_ms=state.reset_ms)

    def claim(self, node: Model) -> bool:
        """Take a probe."""
        return self._health.claim(node.provider, node.model, self._scope.account_id)

    def draw(self) -> float:
        """Draw a number."""
        return self._draw()


class RouteWalk:
    """
    Makes plans of routes.

    Args:
        health: How providers do.
        custom_providers: The accounts' own providers.
        catalogue: What there is to choose from.
        health_reuse_s: How long a plan holds that may depend on how providers do.
    """

    def __init__(
        self,
        *,
        health: HealthView,
        custom_providers: PlanProviders,
        catalogue: Catalogue,
        health_reuse_s: float,
    ) -> None:
        self._health = health
        self._custom_providers = custom_providers
        self._catalogue = catalogue
        self._health_reuse_s = health_reuse_s

    async def plan(
        self,
        route: CompiledRoute,
        asked: Asked,
        answers: Answers,
        *,
        after: Continuation | None = None,
        failed: Failed | None = None,
    ) -> tuple[tuple[Step, ...], RouteSteps]:
        """
        Return what to try next, as far as it is certain.

        Args:
            route: Which way.
            asked: The request.
            answers: Answers what the engine wants to know.
            after: What was tried before. None: nothing was.
            failed: How that failed.

        Raises:
            GatewayError: RATE_LIMITED by the route; ALL_STEPS_FAILED, it ends without a model;
                INVALID_PROVIDER, its model's provider is not there any more; INVALID_REQUEST, it looks at a
                body that is no JSON.
        """
        around = Surroundings(asked=asked, health=self._health, effort=Effort())
        state, event = _beginning(route, after, failed)
        steps: list[Step] = []
        told = state
        trouble: GatewayError | None = None
        more = False
        while True:
            state, effect = step(route, around, state, event)
            if isinstance(effect, NeedInputs):
                return (), RouteSteps(name=route.name, version_id=route.version_id, needs=effect.inputs)
            if isinstance(effect, Done):
                if not steps:
                    told = state
                    if effect.outcome == "refused" or after is None:
                        raise _no_step(route, effect, trouble)
                break
            if not isinstance(effect, Try):
                if steps:
                    # What counts, and what takes a probe, is done when the way really goes there.
                    more = True
                    break
                event = await answer(effect, answers)
                continue
            try:
                steps.append(await self.step(effect.node, asked.account_id))
            except GatewayError as error:
                if error.reason is not Reason.INVALID_PROVIDER:
                    raise
                trouble, event = error, Failed(reason=error.reason.value)
                continue
            told, event = state, Failed()
            if len(steps) == _MOST_STEPS or not _is_certain(route, effect.node):
                more = effect.node.fallback is not None
                break
        return tuple(steps), self._steps(route, told, after, more=more)

    async def step(self, node: Model, account_id: str) -> Step:
        """
        Return the step that tries a model.

        Raises:
            GatewayError: INVALID_PROVIDER.
        """
        slug = own_slug(node.provider, self._catalogue)
        own = await self._custom_providers.find(account_id, slug) if slug else None
        found = step_to(node.provider, node.model, self._catalogue, own)
        return replace(
            found,
            element_id=node.id,
            first_byte_ms=node.first_byte_ms,
            retries=node.retries,
            stream_failover=node.stream_failover,
        )

    def _steps(
        self, route: CompiledRoute, state: State, after: Continuation | None, *, more: bool
    ) -> RouteSteps:
        continuation = Continuation(
            route_id=route.id, version_id=route.version_id, at=state.at, tickets=state.tickets
        )
        reuse_for_s = None
        if after is not None or route.needs or state.drew or state.counted or state.probe:
            reuse_for_s = 0.0
        elif state.watched:
            reuse_for_s = self._health_reuse_s
        return RouteSteps(
            name=route.name,
            version_id=route.version_id,
            trace=state.trace,
            needs=route.needs if more else frozenset(),
            continuation=write_continuation(continuation) if more else b"",
            ticket=_ticket(state),
            reuse_for_s=reuse_for_s,
        )


async def answer(effect: Effect, answers: Answers) -> Event:
    """Answer what the engine wants to know."""
    match effect:
        case NeedDraw():
            return Drawn(answers.draw())
        case CheckRate():
            return await answers.rate(effect)
        case ClaimProbe(node=node):
            return Claimed(answers.claim(node))
        case _:
            raise AssertionError(f"{type(effect).__name__} has no answer")


async def rate_result(counters: RouteCounters, scope: Scope, effect: CheckRate) -> RateResult:
    """
    Look at a limit, without counting.

    Raises:
        GatewayError: SERVICE_UNAVAILABLE.
    """
    node = effect.node
    try:
        state = await counters.look(
            scope,
            effect.counter,
            unit=node.unit,
            limit=node.limit,
            window_s=node.window_s,
            technique=node.technique,
        )
    except CountersAwayError:
        raise _away() from None
    return RateResult(taken=state.remaining > 0, used=state.used, reset_ms=state.reset_ms)


def _beginning(
    route: CompiledRoute, after: Continuation | None, failed: Failed | None
) -> tuple[State, Event]:
    if after is None:
        return begun(route), Begin()
    if not isinstance(route.nodes.get(after.at), Model):
        raise GatewayError(Reason.INVALID_REQUEST, "The route has no such model.", param="continuation")
    return resumed(after.at, after.tickets), failed or Failed()


def _is_certain(route: CompiledRoute, node: Model) -> bool:
    """Tell whether what comes after a model's failure can be said without looking at the request again."""
    return node.fallback is None or isinstance(route.nodes[node.fallback], Model | End)


def _ticket(state: State) -> bytes:
    if not state.tickets:
        return b""
    return orjson.dumps([{name: getattr(each, name) for name in each.__slots__} for each in state.tickets])


def _no_step(route: CompiledRoute, done: Done, trouble: GatewayError | None) -> GatewayError:
    rate = done.rate
    if rate is None:
        return trouble or GatewayError(
            Reason.ALL_STEPS_FAILED, f"The dynamic route {route.name!r} ends here without a model."
        )
    limit = f"{amount(rate.limit, rate)} per {rate.window_s}s, {rate.technique}"
    return GatewayError(
        Reason.RATE_LIMITED,
        f"Rate limited: element {rate.id!r} of the dynamic route {route.name!r} ({limit})",
        retry_after_s=max(1.0, float(-(-done.reset_ms // 1000))),
        rule=rate.id,
        limit=str(rate.limit),
        remaining="0",
        reset_s=f"{done.reset_ms / 1000:.3f}",
        unit=rate.unit if rate.unit != "cost" else "nano_usd",
    )


def _away() -> GatewayError:
    return GatewayError(
        Reason.SERVICE_UNAVAILABLE, "Limits cannot be checked at the moment.", retry_after_s=1.0
    )
