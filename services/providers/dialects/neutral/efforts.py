"""
Words for how hard a model is to think, and what is made of those that a target does not have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["BUDGETS", "EFFORTS", "nearest_effort", "next_effort"]

# Least first.
EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
# Tokens to think with, for models of Anthropic's that have no efforts; each about doubles the one below.
BUDGETS: Final = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16_384,
    "xhigh": 32_768,
    "max": 32_768,
}


def nearest_effort(effort: str, levels: tuple[str, ...], notes: Notes) -> str:
    """
    Find the level nearest to an effort, the greater of two that are as near.

    Raises:
        GatewayError: UNSUPPORTED, in strict mode.
    """
    if effort in levels:
        return effort
    at = EFFORTS.index(effort) if effort in EFFORTS else EFFORTS.index("medium")
    found = min(levels, key=lambda one: (abs(EFFORTS.index(one) - at), -EFFORTS.index(one)))
    notes.clamped("reasoning", found)
    return found


def next_effort(effort: str, levels: tuple[str, ...], notes: Notes) -> str:
    """
    Find the level for an effort: itself, else the next one up, else the highest.

    Raises:
        GatewayError: UNSUPPORTED, in strict mode.
    """
    if effort in levels:
        return effort
    rank = EFFORTS.index(effort)
    found = next((level for level in levels if EFFORTS.index(level) > rank), levels[-1])
    notes.clamped("reasoning", found)
    return found
