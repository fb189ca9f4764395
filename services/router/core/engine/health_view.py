"""What a route asks about the health of providers, and the answer of one that knows nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

__all__ = ["UNKNOWN", "Circuit", "HealthView", "Look", "NeutralHealth"]

Circuit = Literal["closed", "open", "half_open"]
"""`closed`: asked as usual. `open`: passed over. `half_open`: a few may try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """
    How a provider does with a model.

    Attributes:
        circuit: Whether it is to be asked.
        success_rate: Share of its recent attempts that succeeded, 0 to 1. None: there were none.
        first_byte_s: Its recent time to the first byte. None: not known.
        weight: How much of its usual share it is due, above 0 and up to 1.
    """

    circuit: Circuit = "closed"
    success_rate: float | None = None
    first_byte_s: float | None = None
    weight: float = 1.0


UNKNOWN: Final = Look()
"""Nothing is known, so that it is asked as usual."""


class HealthView(Protocol):
    """Knows how providers do. Neither method waits for anything."""

    def look(self, provider: str, model: str, account_id: str) -> Look:
        """
        Say how a provider does with a model. Changes nothing.

        Args:
            provider: Its slug.
            model: In its naming; empty on native calls.
            account_id: Who asks: with keys of their own, things may be otherwise than with the operator's.
        """
        ...

    def claim(self, provider: str, model: str, account_id: str) -> bool:
        """
        Take one of the few probes of a provider that is half open.

        Returns:
            True: the request may go there. False: there is none left now, and it is as good as open.
        """
        ...


class NeutralHealth:
    """Knows nothing of any provider."""

    def look(self, provider: str, model: str, account_id: str) -> Look:  # noqa: ARG002 - the protocol's
        """Say that nothing is known."""
        return UNKNOWN

    def claim(self, provider: str, model: str, account_id: str) -> bool:  # noqa: ARG002 - the protocol's
        """Let everything through."""
        return True
