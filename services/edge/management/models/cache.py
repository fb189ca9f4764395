"""Purges of kept answers as the management API takes them."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from services.edge.management.models.forms import Query

__all__ = ["PurgeGatewayQuery", "PurgeQuery"]


class PurgeQuery(Query):
    """What to forget of an account. A parameter that is unknown or empty is an error: it would be for all."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    provider: Annotated[str | None, Field(min_length=1, max_length=64)] = None
    """Only what this provider answered, such as `openai` or `custom-acme`."""


class PurgeGatewayQuery(PurgeQuery):
    """What to forget of a gateway."""

    key: Annotated[str | None, Field(min_length=1, max_length=1024)] = None
    """Only the answers under this key (`cf-aig-cache-key`)."""
