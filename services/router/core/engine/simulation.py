"""What came of a route for a request that was only thought of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from services.router.core.engine.health_view import Look
    from services.router.core.engine.state import Passed

__all__ = ["SimulatedAttempt", "SimulatedLimit", "Simulation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedAttempt:
    """
    Something that would be tried.

    Attributes:
        look: How it does.
        skipped: Whether it would be passed over.
    """

    element_id: str
    provider: str
    model: str
    look: Look
    skipped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedLimit:
    """
    A limit that was looked at.

    Attributes:
        element_id: That has it. Empty: it is the gateway's.
        rule: Id of the gateway's rule.
        key: What it counts for. Empty: everything.
        unit: `requests`, `tokens` or `cost`.
        limit: In requests, tokens or billionths of a US dollar.
        used: Of it.
        exceeded: Whether there is none left.
    """

    element_id: str = ""
    rule: str = ""
    key: str = ""
    unit: str
    limit: int
    used: int
    exceeded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """
    The way of a request.

    Attributes:
        trace: The elements that it would pass.
        attempts: What would be tried, in order.
        outcome: `refused`: by a limit.
        limits: That were looked at.
    """

    name: str
    version_id: str
    trace: tuple[Passed, ...]
    attempts: tuple[SimulatedAttempt, ...]
    outcome: Literal["answered", "failed", "refused"]
    limits: tuple[SimulatedLimit, ...]
