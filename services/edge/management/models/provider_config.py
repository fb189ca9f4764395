"""
Stored provider keys as the management API takes and shows them.

Source of names: the public product's provider configs; `weight`, `status`, `last_used_at` and `created_at`
are ours. A key goes in and never comes out.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from services.edge.management.models.forms import Body, ReadOnly, Shown

__all__ = ["CreateProviderConfig", "ProviderConfig", "UpdateProviderConfig"]

_Alias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", min_length=1, max_length=64)]
_Secret = Annotated[str, Field(min_length=1, max_length=65_536, json_schema_extra={"writeOnly": True})]
_Reference = Annotated[str, Field(min_length=1, max_length=512, examples=["vault:openai#api_key"])]
_Weight = Annotated[int, Field(ge=1, le=1000)]
# The public product's clients send numbers as 1 or as 1.0.
_Number = Annotated[float, Field(ge=0, le=2**31 - 1, strict=False)]
# No part of a request: cut down to 0, it would be any number of them.
_Count = Annotated[int, Field(ge=0, le=2**31 - 1, strict=False)]


class CreateProviderConfig(Body):
    """A key to be kept: its text, or the name of it in another store."""

    provider_slug: Annotated[str, Field(min_length=1, max_length=64, examples=["openai"])]
    alias: _Alias
    default_config: bool
    secret: _Secret | None = None
    secret_id: _Reference | None = None
    """Where the key is, where it is not kept here: `vault:…`, `file:…` or `env:…`."""
    weight: _Weight = 1
    """Share of requests among the keys of the same gateway, provider and alias."""
    rate_limit: _Count | None = None
    """Most requests in `rate_limit_period`; 0 or null: any number."""
    rate_limit_period: _Number | None = None
    """Seconds. Default: 60."""

    @model_validator(mode="after")
    def _one_key(self) -> CreateProviderConfig:
        if (self.secret is None) == (self.secret_id is None):
            raise ValueError("exactly one of secret and secret_id is needed")
        return self


class UpdateProviderConfig(Body):
    """What is to change about a key; what is left out stays as it is."""

    secret: _Secret | None = None
    secret_id: _Reference | None = None
    alias: _Alias | None = None
    default_config: bool | None = None
    weight: _Weight | None = None
    rate_limit: _Count | None = None
    rate_limit_period: _Number | None = None

    provider_slug: ReadOnly
    secret_preview: ReadOnly
    secret_fingerprint: ReadOnly
    id: ReadOnly
    gateway_id: ReadOnly

    @model_validator(mode="after")
    def _one_key(self) -> UpdateProviderConfig:
        if self.secret is not None and self.secret_id is not None:
            raise ValueError("secret and secret_id do not go together")
        return self


class ProviderConfig(Shown):
    """A key, without the key."""

    id: str
    account_id: str
    account_tag: str
    gateway_id: str
    provider_slug: str
    alias: str
    default_config: bool
    secret_id: str
    """Where the key is; its own id where it is kept here."""
    secret_preview: str
    """Its last characters, where they give nothing away."""
    secret_fingerprint: str
    """The first 8 digits of HMAC-SHA-256 over the key under its `id`; empty for one in another store."""
    weight: int
    rate_limit: float | None
    rate_limit_period: float
    status: Literal["unused", "active", "invalid", "limited"]
    """How the provider took it last."""
    created_at: str
    modified_at: str
    last_used_at: str | None
