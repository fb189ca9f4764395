"""The health of providers as the management API shows it. The public product has nothing like it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from services.edge.management.models.forms import PageQuery, Shown

__all__ = ["HealthQuery", "ProviderHealth"]


class HealthQuery(PageQuery):
    """What to list."""

    provider: Annotated[str, Field(max_length=64)] = ""
    """Only this provider."""


class ProviderHealth(Shown):
    """How a provider did lately with a model, or with a key."""

    provider: str
    model: str
    """In the provider's naming. Empty for its own API, and where this is about a key."""
    key: str
    """A stored key's id, `operator` or `request`. Empty where this is about a model."""
    shared: bool
    """Whether this is about the operator's keys, which all accounts share."""
    circuit: Literal["closed", "open", "half_open"]
    """`closed`: asked as usual. `open`: passed over where there is something else. `half_open`: a few try."""
    retry_after_ms: int | None
    """Until a few try; null unless it is open."""
    success_rate: float | None
    """Share of the attempts of about the last minute that succeeded; null when there were none."""
    first_byte_ms: int | None
    """Recent time to the first byte; null when not known."""
    weight: float
    """How much of its usual share it gets from a percentage that goes by weight."""
    successes: int
    """Attempts of about the last minute that brought an answer, or an error of the client's own doing."""
    failures: int
    """Those that failed by the provider's doing."""
    refusals: int
    """Those that it refused for their rate."""
