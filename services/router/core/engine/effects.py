"""
What the engine wants, and what it is told: the effects and events of `steps.step`.

Whoever carries out a route answers each effect with its event: `NeedInputs` with `Inputs`, `NeedDraw` with
`Drawn`, `CheckRate` with `RateResult`, `ClaimProbe` with `Claimed`, and `Try` with `Failed`, or not at all
when there was an answer. After `Done` nothing comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from services.router.core.engine.asked import Input
    from services.router.core.engine.compiled import Model, Rate

__all__ = [
    "Begin",
    "CheckRate",
    "ClaimProbe",
    "Claimed",
    "Done",
    "Drawn",
    "Effect",
    "Event",
    "Failed",
    "Inputs",
    "NeedDraw",
    "NeedInputs",
    "RateResult",
    "Try",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedInputs:
    """Parts of the request must be told, without which nothing is decided."""

    inputs: frozenset[Input]


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedDraw:
    """A number is to be drawn at random."""

    element_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRate:
    """
    A limit is to be looked at; one of requests is counted against, if it lets the request through.

    Attributes:
        counter: Name of the counter; holds nothing that a client wrote.
        shown: What it counts for, such as `metadata.user_id=42`. Empty: everything.
    """

    node: Rate
    counter: str
    shown: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimProbe:
    """One of the few probes of a model is to be taken that is half open."""

    node: Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """A model is to be tried."""

    node: Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """
    The way ends here, without an answer.

    Attributes:
        outcome: `failed`: what was tried failed. `empty`: nothing was there to be tried. `refused`: a limit
            is exceeded.
        rate: The limit that refuses.
        reset_ms: Until that has more.
    """

    outcome: Literal["failed", "empty", "refused"]
    rate: Rate | None = None
    reset_ms: int = 0


Effect = NeedInputs | NeedDraw | CheckRate | ClaimProbe | Try | Done


@dataclass(frozen=True, slots=True)
class Begin:
    """The request begins."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What was asked for of the request is there."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A number was drawn, from 0 up to 1."""

    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RateResult:
    """
    How a limit stands.

    Attributes:
        taken: Whether it lets the request through.
        used: What is used of it, in its unit.
        reset_ms: Until there is more.
    """

    taken: bool
    used: int
    reset_ms: int = 0


@dataclass(frozen=True, slots=True)
class Claimed:
    """Whether a probe was there to be taken."""

    granted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """
    What was tried failed, or is taken to.

    Attributes:
        reason: Name of a reason. Empty: it is only taken to fail.
        status: Of the provider. 0: there was none.
    """

    reason: str = ""
    status: int = 0


Event = Begin | Inputs | Drawn | RateResult | Claimed | Failed
