"""What callers are told of limits: how much is left, and why a request was refused. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from kit.errors import GatewayError, Reason
from services.router.core.limits import NANO_USD
from services.router.core.windows import Admit, Unit, admits, state_of, wait_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.router.core.limits import Asked, Rule
    from services.router.core.windows import Bucket, Cell, LimitState

__all__ = ["refusal", "tightest"]

_NAMES: Final = {Unit.REQUESTS: "requests", Unit.TOKENS: "tokens", Unit.NANO_USD: "cost"}
_NEVER_MS: Final = 2**62


def tightest(
    rules: Sequence[tuple[Rule, Bucket]], cells: Sequence[Cell], now_ms: int
) -> list[tuple[Rule, LimitState]]:
    """Return the limits of each unit of which the least is left, in order of units."""
    found: dict[Unit, tuple[Rule, LimitState]] = {}
    for (rule, bucket), cell in zip(rules, cells, strict=True):
        state = state_of(cell, bucket, now_ms)
        kept = found.get(bucket.unit)
        if kept is None or state.remaining < kept[1].remaining:
            found[bucket.unit] = (rule, state)
    return [found[unit] for unit in sorted(found)]


def refusal(
    rules: Sequence[tuple[Rule, Bucket]], cells: Sequence[Cell], now_ms: int, asked: Asked
) -> GatewayError:
    """
    Return the error about the limit that refused a step: of several, the one that does so for the longest.

    Args:
        rules: The limits that apply, at least one of which refused.
        cells: Their counters.
        now_ms: When.
        asked: The step.
    """
    refused = [
        (wait, place)
        for place, ((_, bucket), cell) in enumerate(zip(rules, cells, strict=True))
        if bucket.admit is not Admit.ALWAYS
        and not admits(cell, bucket, asked.amount(bucket.unit), now_ms)
        and (wait := wait_ms(cell, bucket, asked.amount(bucket.unit), now_ms) or _NEVER_MS)
    ]
    # A limit of money is named before others that refuse for as long: it says more.
    wait, place = max(refused, key=lambda each: (each[0], rules[each[1]][0].unit), default=(_NEVER_MS, 0))
    rule, bucket = rules[place]
    state = state_of(cells[place], bucket, now_ms)
    told = {
        "rule": rule.id,
        "limit": str(rule.limit),
        "remaining": str(state.remaining),
        "reset_s": f"{state.reset_ms / 1000:.3f}",
        "unit": rule.unit.name.lower(),
    }
    reason = Reason.SPEND_LIMITED if rule.unit is Unit.NANO_USD else Reason.RATE_LIMITED
    retry_after_s = None if wait >= _NEVER_MS else float(math.ceil(wait / 1000))
    message = _message(rule, asked, never=wait >= _NEVER_MS)
    return GatewayError(reason, message, retry_after_s=retry_after_s, **told)


def _message(rule: Rule, asked: Asked, *, never: bool) -> str:
    if rule.kind == "gateway":
        return "Rate limited"
    limit = _dollars(rule.limit) if rule.unit is Unit.NANO_USD else str(rule.limit)
    what = (
        f"rule '{rule.id}' ({_NAMES[rule.unit]} limit {limit} per {rule.window_s}s, {rule.technique.value})"
    )
    if rule.unit is not Unit.NANO_USD:
        return f"Rate limited: {what}{_too_large(asked.tokens, 'tokens') if never else ''}"
    model = f"{asked.provider} {asked.model}".rstrip()
    too_large = _too_large(_dollars(asked.nano_usd or 0), "US dollars") if never else ""
    return f"Spend limit exceeded: {what} for {model}{too_large}"


def _too_large(amount: int | str, unit: str) -> str:
    return f"; the request alone may use {amount} {unit}"


def _dollars(nano_usd: int) -> str:
    whole, rest = divmod(nano_usd, NANO_USD)
    return f"{whole}.{rest:09}".rstrip("0").rstrip(".")
