"""Which output of a percentage a request takes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from services.router.core.engine.compiled import Model, Percentage, Share
    from services.router.core.engine.health_view import HealthView, Look

__all__ = ["Choice", "choose", "half_open", "sticky_draw"]

_BYTES: Final = 6


@dataclass(frozen=True, slots=True)
class Choice:
    """
    An output that is taken.

    Attributes:
        reason: Why, for people.
    """

    share: Share
    reason: str


def sticky_draw(route_id: str, element_id: str, value: str) -> float:
    """Return a number from 0 up to 1 that is always the same for a value, and evenly spread over values."""
    # Lengths keep ("a", "bc") and ("ab", "c") apart.
    text = "".join(f"{len(part)}:{part}" for part in (route_id, element_id, value))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_BYTES).digest()
    return int.from_bytes(digest) / float(1 << 8 * _BYTES)


def half_open(
    node: Percentage, health: HealthView, account_id: str, refused: Collection[str]
) -> tuple[Share, Model] | None:
    """Return the first output whose model is half open, so that a probe of it may be due; and that model."""
    for share in node.shares:
        look = _look(share, health, account_id)
        if share.first is None or look is None or look.circuit != "half_open" or share.name in refused:
            continue
        return share, share.first
    return None


def choose(
    node: Percentage,
    health: HealthView,
    account_id: str,
    refused: Collection[str],
    draw: float | None,
    *,
    drew: bool,
) -> Choice | None:
    """
    Return the output that a request takes.

    Args:
        node: The percentage.
        health: How providers do.
        account_id: Who asks.
        refused: Outputs that are passed over.
        draw: A number from 0 up to 1. None: there is none yet.
        drew: Whether it comes from chance, rather than from a value of the request.

    Returns:
        None when a number has to be drawn.
    """
    how = "by chance" if drew else f"by the value of {node.key}"
    if node.strategy == "random":
        return None if draw is None else Choice(_picked(node.shares, _parts(node.shares), draw), how)
    looks = [_look(share, health, account_id) for share in node.shares]
    usable = [
        share.name not in refused and (look is None or look.circuit == "closed")
        for share, look in zip(node.shares, looks, strict=True)
    ]
    if not any(usable):
        usable = [True] * len(usable)
    parts = [share.part if is_usable else 0.0 for share, is_usable in zip(node.shares, usable, strict=True)]
    if not any(parts):
        # What can be asked has no share: an `else` for which nothing remains.
        parts = [float(is_usable) for is_usable in usable]
    if node.strategy == "weighted":
        if draw is None:
            return None
        weights = [part * _weight(look) for part, look in zip(parts, looks, strict=True)]
        return Choice(_picked(node.shares, weights, draw), f"{how}, weighted by how providers do")
    return _fastest(node.shares, looks, parts, draw)


def _fastest(
    shares: Sequence[Share], looks: Sequence[Look | None], parts: Sequence[float], draw: float | None
) -> Choice | None:
    # What is not known is tried first, and is known then.
    times = [-1.0 if look is None or look.first_byte_s is None else look.first_byte_s for look in looks]
    best = min(time for time, part in zip(times, parts, strict=True) if part)
    weights = [part if time == best else 0.0 for time, part in zip(times, parts, strict=True)]
    reason = "how fast it is is not known" if best < 0 else f"the fastest, {best * 1000:.0f} ms"
    ties = [share for share, weight in zip(shares, weights, strict=True) if weight]
    if len(ties) == 1:
        return Choice(ties[0], reason)
    return None if draw is None else Choice(_picked(shares, weights, draw), reason)


def _picked(shares: Sequence[Share], weights: Sequence[float], draw: float) -> Share:
    """Return the share that a number falls on, when each takes as much of the line as its weight."""
    rest = draw * sum(weights)
    last = shares[0]
    for share, weight in zip(shares, weights, strict=True):
        if weight <= 0:
            continue
        last = share
        if rest < weight:
            break
        rest -= weight
    return last


def _parts(shares: Sequence[Share]) -> list[float]:
    return [share.part for share in shares]


def _weight(look: Look | None) -> float:
    if look is None:
        return 1.0
    # One that always fails is still asked now and then, so that it is seen when it works again.
    rate = 1.0 if look.success_rate is None else max(look.success_rate, 0.01)
    return rate * look.weight


def _look(share: Share, health: HealthView, account_id: str) -> Look | None:
    first = share.first
    return None if first is None else health.look(first.provider, first.model, account_id)
