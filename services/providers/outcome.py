"""
What a relay of a provider's answer is, and how the attempt went that it belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from headrace.provider.v1 import provider_service_pb2 as pb
    from services.providers.dialects.failures import FailureClass
    from services.providers.dialects.usage import UsageCounts

__all__ = ["Outcome", "Relay"]


@dataclass(slots=True, kw_only=True)
class Outcome:
    """How an attempt went, as far as it has. `key` says which key paid, as `Payment.key` does."""

    key: str = ""
    status: int = 0
    usage: UsageCounts | None = None
    finish_reason: str = ""
    served_model: str = ""
    failure_class: FailureClass | None = None
    first_byte_s: float = 0.0


class Relay(Protocol):
    """Gives the parts of an answer, in order."""

    outcome: Outcome

    @property
    def read_ahead(self) -> bool:
        """True when `next` has something to return without waiting."""

    @property
    def over(self) -> bool:
        """True when nothing but the tail is left."""

    async def head(self) -> pb.InvokeResponse:
        """
        Return how the answer begins.

        Raises:
            GatewayError: there is no answer after all.
        """

    async def next(self) -> pb.InvokeResponse | None:
        """Return more of the answer; None at its end."""

    def tail(self) -> pb.InvokeResponse:
        """Return how the answer ended."""

    async def trailing(self) -> pb.InvokeResponse | None:
        """Return what follows the end of the dialect, where that is passed on; None when nothing does."""
