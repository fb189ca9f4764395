"""Which part of a list is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from kit.errors import GatewayError, Reason

__all__ = ["Page", "checked_page", "is_uuid"]

_MOST: Final = 1000
# PostgreSQL counts what it passes over in 64 bits.
_MOST_OFFSET: Final = 2**63 - 1
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """At most `size` of a list, from behind the first `offset` on."""

    size: int = 100
    offset: int = 0


def checked_page(size: int, offset: int, *, usual: int = 100) -> Page:
    """
    Return a page that may be asked for.

    Args:
        size: Most items; zero for as many as usual.
        offset: How many to pass over.
        usual: How many are usual.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    if not 0 <= size <= _MOST:
        raise GatewayError(Reason.INVALID_REQUEST, f"A page has 1 to {_MOST} items.", param="page_size")
    if not 0 <= offset <= _MOST_OFFSET:
        raise GatewayError(Reason.INVALID_REQUEST, "An offset is at least 0.", param="offset")
    return Page(size=size or usual, offset=offset)


def is_uuid(text: str) -> bool:
    """Tell whether a text could be the id of something here; what could not is not there."""
    return _UUID.fullmatch(text) is not None
