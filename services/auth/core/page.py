"""Where a list goes on: a position in it, as a text that callers send back without looking into it."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kit.errors import GatewayError, Reason
from kit.moment import microseconds, moment

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Position", "decode", "encode"]

_POSITION = re.compile(r"([0-9]{1,18}):([a-z0-9]{1,64})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The last token that a page showed; the list is ordered by both members, newest first."""

    created_at: datetime
    id: str


def encode(position: Position) -> str:
    """Return a position as text."""
    return urlsafe_b64encode(f"{microseconds(position.created_at)}:{position.id}".encode()).decode()


def decode(text: str) -> Position | None:
    """
    Return the position in a text; None for the empty text, the start.

    Raises:
        GatewayError: INVALID_REQUEST; the text was not made by `encode`.
    """
    if not text:
        return None
    try:
        match = _POSITION.fullmatch(urlsafe_b64decode(text.encode()).decode())
        if match:
            return Position(created_at=moment(int(match[1])), id=match[2])
    except (ValueError, OverflowError):
        pass
    raise GatewayError(Reason.INVALID_REQUEST, "The page token is not one of ours.", param="page_token")
