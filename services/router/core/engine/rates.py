"""The limits in a route: what they count for, and what is said of them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from services.router.core.engine.effects import CheckRate, Done
from services.router.core.engine.pattern import ExhaustedError
from services.router.core.engine.state import Passed, Ticket

if TYPE_CHECKING:
    from services.router.core.engine.compiled import CompiledRoute, Rate
    from services.router.core.engine.effects import Effect, RateResult
    from services.router.core.engine.state import State
    from services.router.core.engine.surroundings import Surroundings

__all__ = ["amount", "checked", "rated"]

_NANO_USD: Final = 1_000_000_000
_LONGEST_SHOWN: Final = 100


def checked(
    route: CompiledRoute, node: Rate, around: Surroundings, state: State
) -> tuple[State, Effect | None]:
    """Come to a limit: it is to be looked at, unless the request does not say what it counts for."""
    value = _value(node, around)
    if value is None:
        passed = Passed(node.id, "rate", "success", f"{node.key} is missing, so this does not limit it")
        return state.passing(passed, node.success), None
    shown = "" if node.key is None else f"{node.key}={value}"
    cut = shown if len(shown) <= _LONGEST_SHOWN else shown[:_LONGEST_SHOWN] + "…"
    return state, CheckRate(node=node, counter=_counter(route, node, value), shown=cut)


def rated(
    route: CompiledRoute, node: Rate, around: Surroundings, state: State, result: RateResult
) -> tuple[State, Effect | None]:
    """Go on from a limit, now that it is known how it stands."""
    state = replace(state, counted=True)
    used = f"{amount(result.used, node)} of {amount(node.limit, node)} used in {node.window_s} s"
    if result.taken:
        state = state.passing(Passed(node.id, "rate", "success", used), node.success)
        value = _value(node, around)
        if node.unit != "requests" and value is not None:
            ticket = Ticket(
                _counter(route, node, value), node.unit, node.limit, node.window_s, node.technique
            )
            state = replace(state, tickets=(*state.tickets, ticket))
        return state, None
    if node.fallback is not None:
        return state.passing(Passed(node.id, "rate", "fallback", used), node.fallback), None
    state = state.ending(Passed(node.id, "rate", "", used))
    return state, Done(outcome="refused", rate=node, reset_ms=result.reset_ms)


def amount(number: float, node: Rate) -> str:
    """Say an amount in a limit's unit."""
    if node.unit == "cost":
        return f"${number / _NANO_USD:.10g}"
    return f"{number:g} {node.unit}"


def _value(node: Rate, around: Surroundings) -> str | None:
    """Return what a limit counts for; None when the request does not say it."""
    if node.key is None:
        return ""
    try:
        return around.asked.single(node.key, around.effort) or None
    except ExhaustedError:
        return None


def _counter(route: CompiledRoute, node: Rate, value: str) -> str:
    # Lengths keep ("a", "bc") and ("ab", "c") apart; a digest holds nothing that a client wrote.
    text = "".join(f"{len(part)}:{part}" for part in (route.id, node.id, str(node.key or ""), value))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
