"""
Carries out a route: `step` is a function of its arguments alone, which goes on by one event.

A route has no way back, and what is asked at an element is asked a bounded number of times, so each way ends.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from services.router.core.engine.choice import Choice, choose, half_open, sticky_draw
from services.router.core.engine.compiled import Conditional, End, Model, Percentage, Rate, Start
from services.router.core.engine.conditions import hold
from services.router.core.engine.effects import (
    Begin,
    Claimed,
    ClaimProbe,
    Done,
    Drawn,
    Failed,
    Inputs,
    NeedDraw,
    NeedInputs,
    RateResult,
    Try,
)
from services.router.core.engine.pattern import ExhaustedError
from services.router.core.engine.rates import checked, rated
from services.router.core.engine.state import Passed, State

if TYPE_CHECKING:
    from services.router.core.engine.compiled import CompiledRoute
    from services.router.core.engine.effects import Effect, Event
    from services.router.core.engine.state import Ticket
    from services.router.core.engine.surroundings import Surroundings

__all__ = ["begun", "resumed", "step"]


def begun(route: CompiledRoute) -> State:
    """Return the state in which a request is before a route; `Begin` comes next."""
    return State(at=route.start)


def resumed(at: str, tickets: tuple[Ticket, ...]) -> State:
    """Return the state in which a model was tried; `Failed` comes next."""
    return State(at=at, tried=True, tickets=tickets)


def step(route: CompiledRoute, around: Surroundings, state: State, event: Event) -> tuple[State, Effect]:
    """
    Go on by one event, until something is wanted.

    Args:
        route: Which is carried out.
        around: What its way depends on besides.
        state: Where the request is.
        event: What happened: an answer to what was wanted last.

    Raises:
        GatewayError: INVALID_REQUEST; the body is looked at, and is no JSON.
    """
    missing = route.needs - around.asked.given
    if missing:
        return state, NeedInputs(inputs=missing)
    state, effect = _answered(route, around, state, event)
    while effect is None:
        state, effect = _enter(route, around, state)
    return state, effect


def _answered(
    route: CompiledRoute, around: Surroundings, state: State, event: Event
) -> tuple[State, Effect | None]:
    """Take an event in. Without an effect, the element that the state is at is to be entered next."""
    node = route.nodes[state.at]
    match event:
        case Begin() | Inputs():
            return state, None
        case Drawn(value) if isinstance(node, Percentage):
            return _choose(node, around, replace(state, drew=True), value)
        case RateResult() if isinstance(node, Rate):
            return rated(route, node, around, state, event)
        case Claimed(granted) if isinstance(node, Percentage):
            return _probed(node, state, granted=granted), None
        case Claimed(granted) if isinstance(node, Model):
            return _claimed(node, state, granted=granted)
        case Failed() if isinstance(node, Model) and state.tried:
            return _failed(node, state, event)
        case _:
            raise AssertionError(f"{type(event).__name__} is no answer at {node.id!r}")


def _enter(route: CompiledRoute, around: Surroundings, state: State) -> tuple[State, Effect | None]:
    match route.nodes[state.at]:
        case Start() as node:
            return state.passing(Passed(node.id, "start", "next"), node.next), None
        case Conditional() as node:
            return _test(node, around, state), None
        case Percentage() as node:
            return _draw(route, node, around, state)
        case Rate() as node:
            return checked(route, node, around, state)
        case Model() as node:
            return _model(node, around, state)
        case End() as node:
            return state.ending(Passed(node.id, "end")), Done(outcome="empty")


def _test(node: Conditional, around: Surroundings, state: State) -> State:
    asked, effort = around.asked, around.effort
    try:
        found = hold(node.condition, asked, effort)
        test, holds = found.because, found.holds
        reason = "" if test is None else f"{test}{asked.shown(test.field, effort)}"
    except ExhaustedError:
        reason, holds = "the conditions take too long to be decided", False
    passed = Passed(node.id, "conditional", "true" if holds else "false", reason)
    return state.passing(passed, node.true if holds else node.false)


def _draw(
    route: CompiledRoute, node: Percentage, around: Surroundings, state: State
) -> tuple[State, Effect | None]:
    if node.strategy != "random":
        state = replace(state, watched=True)
        probe = half_open(node, around.health, around.asked.account_id, state.refused)
        if probe is not None:
            share, model = probe
            return replace(state, asking=share.name), ClaimProbe(node=model)
    value = None
    if node.key is not None:
        with suppress(ExhaustedError):
            value = around.asked.single(node.key, around.effort) or None
    draw = None if value is None else sticky_draw(route.id, node.id, value)
    return _choose(node, around, state, draw)


def _choose(
    node: Percentage, around: Surroundings, state: State, draw: float | None
) -> tuple[State, Effect | None]:
    found = choose(node, around.health, around.asked.account_id, state.refused, draw, drew=state.drew)
    if found is None:
        return state, NeedDraw(element_id=node.id)
    return _took(node, state, found), None


def _took(node: Percentage, state: State, found: Choice) -> State:
    passed = Passed(node.id, "percentage", found.share.name, found.reason)
    return state.passing(passed, found.share.target)


def _probed(node: Percentage, state: State, *, granted: bool) -> State:
    share = next(each for each in node.shares if each.name == state.asking)
    if not granted or share.first is None:
        return replace(state, refused=state.refused | {share.name})
    state = replace(state, probe=(share.first.provider, share.first.model))
    return _took(node, state, Choice(share, "a probe, to see whether it works again"))


def _model(node: Model, around: Surroundings, state: State) -> tuple[State, Effect | None]:
    if node.fallback is None:
        # Whatever is known of it, there is nothing else.
        return _try(node, state)
    state = replace(state, watched=True)
    if state.probe == (node.provider, node.model):
        return _try(node, state, "a probe")
    circuit = around.health.look(node.provider, node.model, around.asked.account_id).circuit
    if circuit == "open":
        return _over(node, state, "the circuit is open: it failed too often", node.fallback), None
    if circuit == "half_open":
        return state, ClaimProbe(node=node)
    return _try(node, state)


def _claimed(node: Model, state: State, *, granted: bool) -> tuple[State, Effect | None]:
    if granted:
        return _try(node, replace(state, probe=(node.provider, node.model)), "a probe")
    if node.fallback is None:
        return _try(node, state)
    return _over(node, state, "the circuit is half open, and no probe is left", node.fallback), None


def _try(node: Model, state: State, reason: str = "") -> tuple[State, Effect]:
    state = replace(state.ending(Passed(node.id, "model", "", reason)), tried=True)
    return state, Try(node=node)


def _over(node: Model, state: State, why: str, fallback: str) -> State:
    return state.passing(Passed(node.id, "model", "fallback", why), fallback)


def _failed(node: Model, state: State, event: Failed) -> tuple[State, Effect | None]:
    reason = f"{event.reason}, status {event.status}" if event.status else event.reason
    # In place of its trying, where that was not told yet.
    trace = state.trace[:-1] if state.trace and state.trace[-1].element_id == node.id else state.trace
    state = replace(state, trace=trace)
    if node.fallback is not None:
        return _over(node, state, reason, node.fallback), None
    return replace(state.ending(Passed(node.id, "model", "", reason)), tried=False), Done(outcome="failed")
