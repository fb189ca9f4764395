"""
The parts of a gateway that are objects themselves.

Source: the public product's gateway object, with both shapes of `dlp` that its clients send. The router looks
at them once more, with what a schema cannot say.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from services.edge.management.models.forms import Body

__all__ = ["Dlp", "Guardrails", "Otel", "RateLimits", "SpendLimits", "Stripe"]

_Action = Literal["FLAG", "BLOCK"]
_Name = Annotated[str, Field(min_length=1, max_length=256)]
_Names = Annotated[list[_Name], Field(max_length=100)]


class DlpPolicy(Body):
    """Something that is looked for, and what is done about it."""

    id: _Name
    enabled: bool
    action: _Action
    check: Annotated[list[Literal["REQUEST", "RESPONSE"]], Field(max_length=2)]
    profiles: _Names


class DlpPolicies(Body):
    """Checks for data loss, by policy."""

    enabled: bool
    policies: Annotated[list[DlpPolicy], Field(max_length=100)]


class DlpProfiles(Body):
    """Checks for data loss, in the older form with one action."""

    enabled: bool
    action: _Action
    profiles: _Names


Dlp = DlpPolicies | DlpProfiles


class GuardrailCategories(Body):
    """What is done about each kind of content; what is left out is let through."""

    S1: _Action | None = None
    S2: _Action | None = None
    S3: _Action | None = None
    S4: _Action | None = None
    S5: _Action | None = None
    S6: _Action | None = None
    S7: _Action | None = None
    S8: _Action | None = None
    S9: _Action | None = None
    S10: _Action | None = None
    S11: _Action | None = None
    S12: _Action | None = None
    S13: _Action | None = None
    P1: _Action | None = None


class Guardrails(Body):
    """What is looked for in prompts and in answers."""

    prompt: GuardrailCategories
    response: GuardrailCategories


class Otel(Body):
    """Somewhere that spans are exported to."""

    url: Annotated[str, Field(min_length=1, max_length=2048)]
    headers: dict[str, str]
    authorization: Annotated[str, Field(max_length=4096)] | None = None
    content_type: Literal["json", "protobuf"] = "json"


class Partition(Body):
    """Each value has a limit of its own."""

    mode: Literal["partition"]


class Values(Body):
    """The rule is for these values only."""

    mode: Literal["filter"]
    values: Annotated[list[Annotated[str, Field(max_length=256)]], Field(max_length=100)]


class SpendRule(Body):
    """One limit of what may be spent."""

    id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    enabled: bool = True
    limit_type: Annotated[Literal["cost"], Field(alias="limitType")]
    limit: Annotated[float, Field(gt=0, le=1_000_000_000, strict=False)]
    """US dollars."""
    window: Annotated[int, Field(gt=0, le=2**31 - 1)]
    """Seconds."""
    technique: Literal["sliding", "fixed"] = "sliding"
    mode: Literal["soft", "hard"] = "soft"
    """Soft: refused once over. Hard: what a request may cost is reserved, and it is refused if that is more
    than is left, or not known."""
    model: Partition | Values | None = None
    provider: Partition | Values | None = None
    token: Partition | Values | None = None
    """By the id of the token that was presented."""
    metadata: dict[str, Partition | Values] | None = None


class SpendLimits(Body):
    """Limits of what may be spent."""

    enabled: bool = False
    rules: Annotated[list[SpendRule], Field(default_factory=list, max_length=20)]


class RateRule(Body):
    """One limit of requests or tokens."""

    id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    enabled: bool = True
    limit_type: Annotated[Literal["requests", "tokens"], Field(alias="limitType")]
    limit: Annotated[int, Field(gt=0, le=1_000_000_000_000)]
    window: Annotated[int, Field(gt=0, le=2**31 - 1)]
    """Seconds."""
    technique: Literal["sliding", "fixed"] = "sliding"
    mode: Literal["soft", "hard"] = "soft"
    """For tokens. Soft: let through while something is left. Hard: only if what it may use fits."""
    model: Partition | Values | None = None
    provider: Partition | Values | None = None
    token: Partition | Values | None = None
    """By the id of the token that was presented."""
    metadata: dict[str, Partition | Values] | None = None


class RateLimits(Body):
    """Limits of requests and tokens."""

    enabled: bool = False
    rules: Annotated[list[RateRule], Field(default_factory=list, max_length=20)]


class StripeEvent(Body):
    """An event that usage is told in."""

    payload: Annotated[str, Field(max_length=16_384)]


class Stripe(Body):
    """How usage is billed on."""

    authorization: Annotated[str, Field(min_length=1, max_length=4096)]
    usage_events: Annotated[list[StripeEvent], Field(max_length=100)]
