"""What a way through a route depends on besides the route."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.router.core.engine.asked import Asked
    from services.router.core.engine.health_view import HealthView
    from services.router.core.engine.pattern import Effort

__all__ = ["Surroundings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """
    What a way depends on.

    Attributes:
        asked: The request.
        health: How providers do.
        effort: How much may still be done to decide this request.
    """

    asked: Asked
    health: HealthView
    effort: Effort
