"""How long an answer may be kept, and how long one is waited for."""

from __future__ import annotations

from kit.errors import GatewayError, Reason

__all__ = ["MAX_TTL_S", "MIN_TTL_S", "checked_stale_s", "checked_ttl_s"]

MIN_TTL_S = 60.0
MAX_TTL_S = 30 * 24 * 3600.0


def checked_ttl_s(ttl_s: float) -> float:
    """
    Return a time to live that is within the bounds.

    Raises:
        GatewayError: INVALID_REQUEST; it is not. Callers bring what clients ask for within the bounds.
    """
    if not MIN_TTL_S <= ttl_s <= MAX_TTL_S:
        raise GatewayError(
            Reason.INVALID_REQUEST,
            f"An answer can be kept for {MIN_TTL_S:.0f} s to {MAX_TTL_S:.0f} s.",
            param="ttl",
            ttl_s=f"{ttl_s:g}",
        )
    return ttl_s


def checked_stale_s(stale_s: float) -> float:
    """
    Return how long an answer is of use past its time, within the bounds.

    Raises:
        GatewayError: INVALID_REQUEST; it is not.
    """
    if not 0 <= stale_s <= MAX_TTL_S:
        raise GatewayError(
            Reason.INVALID_REQUEST,
            f"An answer past its time can be used for {MAX_TTL_S:.0f} s more at most.",
            param="stale",
            stale_s=f"{stale_s:g}",
        )
    return stale_s
