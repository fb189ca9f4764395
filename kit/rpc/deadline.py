"""
Deadlines that shrink with each hop.

A call made while another is being answered gets what is left of that one's time, less a reserve, so that
the innermost error reaches the caller before its own patience ends (the idea of Boulder's interceptors).
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING

from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["HOP_RESERVE_S", "accept", "budget"]

# Enough for an error to travel one hop back on a busy machine.
HOP_RESERVE_S = 0.02

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def accept(remaining_s: float | None) -> Iterator[None]:
    """Hold the time that the caller of this call left, for the calls made meanwhile."""
    if remaining_s is None:
        yield
        return
    token = _deadline.set(time.monotonic() + remaining_s)
    try:
        yield
    finally:
        # A stream that its caller dropped may be closed by the event loop, in another context: there the
        # variable was never set.
        with suppress(ValueError):
            _deadline.reset(token)


def budget(wanted_s: float | None) -> float | None:
    """
    Give the time-out for an outgoing call, in seconds, or None for no limit.

    Args:
        wanted_s: What the call would get if time were no matter.

    Raises:
        GatewayError: DEADLINE_EXCEEDED; too little is left for the call to make sense.
    """
    deadline = _deadline.get()
    if deadline is None:
        return wanted_s
    left = deadline - time.monotonic() - HOP_RESERVE_S
    if left <= 0:
        raise GatewayError(Reason.DEADLINE_EXCEEDED, "The request's time is over.")
    return left if wanted_s is None else min(left, wanted_s)
