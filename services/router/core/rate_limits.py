"""Limits of requests and tokens that a gateway has beyond its one rate limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.router.core.limit_rules import read_rules

if TYPE_CHECKING:
    from services.router.core.json_reader import Value

__all__ = ["read_rate_limits"]


def read_rate_limits(value: Value) -> dict[str, Any]:
    """Read `{"enabled": …, "rules": […]}` and fill in what was left out."""
    return read_rules(value, ("requests", "tokens"))
