"""
A token among the subprotocols that a client offers, which is where browsers can put one.

A browser drops a connection whose answer chooses none of what it offered, and a server may choose nothing
else (RFC 6455 section 4.2.2). So the token itself is chosen only when nothing but tokens was offered: it then
goes back to whom it came from, and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.edge.headers import AUTHORIZATION

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["choose", "offered_token"]

_PREFIX: Final = f"{AUTHORIZATION}."


def offered_token(fields: Sequence[str]) -> str:
    """
    Give the token that a client offers; empty when it offers none.

    Args:
        fields: The values of `Sec-WebSocket-Protocol`, one for each line of it.
    """
    for field in fields:
        for offer in _offers(field):
            if offer.startswith(_PREFIX):
                return offer.removeprefix(_PREFIX)
    return ""


def choose(fields: Sequence[str]) -> tuple[str, ...]:
    """
    Give the subprotocol to answer with, which is one of the first line's; none when nothing was offered.

    aiohttp reads the first line alone, and would log what it holds if nothing of it was chosen.
    """
    offers = _offers(fields[0]) if fields else []
    return tuple(sorted(offers, key=lambda offer: offer.startswith(_PREFIX))[:1])


def _offers(field: str) -> list[str]:
    return [offer.strip() for offer in field.split(",")]
