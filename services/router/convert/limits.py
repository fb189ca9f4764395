"""Reservations, settlements and the state of limits, as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from headrace.router.v1 import router_service_pb2 as pb
from services.router.convert.fields import duration, invalid, milliseconds
from services.router.core.limit_ticket import read_counted
from services.router.core.limits import Asked
from services.router.core.windows import MOST_AMOUNT, Unit
from services.router.counters.store import GivingBack, Settling, Taken

if TYPE_CHECKING:
    from services.router.core.limits import Rule
    from services.router.core.windows import LimitState
    from services.router.counters.store import Scope

__all__ = ["asked", "giving_back", "lifetime_ms", "settling", "state"]

_AMOUNTS: Final[tuple[tuple[Literal["tokens", "nano_usd"], Unit], ...]] = (
    ("tokens", Unit.TOKENS),
    ("nano_usd", Unit.NANO_USD),
)
_UNITS: Final = {
    Unit.REQUESTS: pb.LIMIT_UNIT_REQUESTS,
    Unit.TOKENS: pb.LIMIT_UNIT_TOKENS,
    Unit.NANO_USD: pb.LIMIT_UNIT_NANO_USD,
}
_LONGEST_ID: Final = 256
_LONGEST_NAME: Final = 1024
_MOST_OTHERS: Final = 100
_SHORTEST_LIFE_MS: Final = 100
_LONGEST_LIFE_MS: Final = 86_400_000
_USUAL_LIFE_MS: Final = 600_000


def asked(message: pb.ReserveRequest) -> Asked:
    """
    Return what a step is about to use.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    _check_id(message.id)
    if not message.provider or max(len(message.provider), len(message.model)) > _LONGEST_NAME:
        raise invalid("provider", "A step names its provider.")
    if message.tokens < 0 or message.nano_usd < 0:
        raise invalid("tokens", "An amount is not below zero.")
    return Asked(
        provider=message.provider,
        model=message.model,
        other_models=tuple(message.other_models[:_MOST_OTHERS]),
        token_id=message.caller.token_id,
        metadata=dict(message.caller.metadata),
        counted=message.counted,
        tokens=message.tokens,
        nano_usd=message.nano_usd if message.HasField("nano_usd") else None,
    )


def lifetime_ms(message: pb.ReserveRequest) -> int:
    """Return how long a reservation holds, within what is possible."""
    wanted = milliseconds(message, "lifetime")
    if wanted is None or wanted <= 0:
        return _USUAL_LIFE_MS
    return min(max(wanted, _SHORTEST_LIFE_MS), _LONGEST_LIFE_MS)


def settling(message: pb.Settlement, scope: Scope) -> Settling:
    """
    Return a settlement.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    _check_id(message.id)
    amounts = {}
    for name, unit in _AMOUNTS:
        if message.HasField(name):
            amounts[unit] = min(max(0, getattr(message, name)), MOST_AMOUNT)
    return Settling(scope=scope, id=message.id, amounts=amounts)


def giving_back(message: pb.Settlement, scope: Scope) -> GivingBack:
    """
    Return what is given back that a plan counted.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    _check_id(message.id)
    taken = tuple(Taken(bucket, window) for bucket, window in read_counted(message.counted))
    return GivingBack(scope=scope, id=message.id, taken=taken)


def state(rule: Rule, found: LimitState) -> pb.LimitState:
    """Return how a limit stands."""
    return pb.LimitState(
        unit=_UNITS[found.bucket.unit],
        limit=rule.limit,
        remaining=found.remaining,
        reset=duration(found.reset_ms),
        rule=rule.id,
    )


def _check_id(text: str) -> None:
    if not 0 < len(text) <= _LONGEST_ID:
        raise invalid("id", f"An id has 1 to {_LONGEST_ID} characters.")
