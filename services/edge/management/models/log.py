"""
Log entries as the management API takes and shows them.

Source of the member names: the public product's log endpoints. Members with no counterpart there are ours;
`docs/logs.md` tells them apart.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from services.edge.management.models.forms import Body, PageQuery, Query, Shown
from services.edge.management.models.moment import in_utc

__all__ = ["ChangeLog", "Filter", "Log", "LogDetail", "LogQuery", "LogsQuery"]

_LARGEST = Decimal("1e18")


def _from_json(value: Any) -> Any:
    """Read filters that come as one JSON text; those in parts have been put together already."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise ValueError("Input should be a JSON array of filters") from None
    return value if isinstance(value, list) else [value]


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str | int | float | bool) for each in values):
        raise ValueError("Input should be text, numbers, true or false")
    return [each if isinstance(each, str) else orjson.dumps(each).decode() for each in values]


class Filter(Query):
    """A condition on entries."""

    key: Annotated[str, Field(max_length=64)]
    operator: Literal["eq", "neq", "contains", "lt", "gt"]
    value: Annotated[list[str], BeforeValidator(_texts), Field(min_length=1, max_length=100)]

    model_config = ConfigDict(extra="forbid")


_Time = Annotated[datetime, AfterValidator(in_utc)]
_Word = Annotated[str, Field(max_length=1024)]
_Number = Annotated[Decimal, Field(ge=0, le=_LARGEST)]
_Filters = Annotated[
    list[Filter], BeforeValidator(_from_json), Field(max_length=40), WithJsonSchema({"type": "string"})
]
_Direction = Literal["asc", "desc"]


class LogQuery(PageQuery):
    """Which entries to list, and in which order."""

    per_page: Annotated[int, Field(ge=1, le=50)] = 20
    """Most entries on a page."""
    order_by: Literal[
        "created_at", "provider", "model", "success", "cached",
        "cost", "tokens_in", "tokens_out", "duration", "feedback",
    ] = "created_at"  # fmt: skip
    """What to sort by."""
    order_by_direction: _Direction | None = None
    """Default: `desc`, newest first."""
    direction: _Direction | None = None
    """Older name of `order_by_direction`."""
    after_id: _Word = ""
    """Only what was recorded after this entry, in the order of recording: to follow the log."""
    search: _Word = ""
    """Only entries with this in id, provider, model, event id or metadata, whatever the case."""
    meta_info: bool = False
    """Whether `result_info` says between which values the entries lie."""
    filters: _Filters = Field(default_factory=list)
    """JSON array of `{key, operator, value}`; or parts, `filters.key=…`, `filters.operator=…` and so on."""
    cached: bool | None = None
    success: bool | None = None
    provider: _Word | None = None
    model: _Word | None = None
    request_content_type: _Word | None = None
    response_content_type: _Word | None = None
    feedback: Literal["0", "1"] | None = None
    start_date: _Time | None = None
    end_date: _Time | None = None
    min_cost: _Number | None = None
    max_cost: _Number | None = None
    min_duration: _Number | None = None
    max_duration: _Number | None = None
    min_tokens_in: _Number | None = None
    max_tokens_in: _Number | None = None
    min_tokens_out: _Number | None = None
    max_tokens_out: _Number | None = None
    min_total_tokens: _Number | None = None
    max_total_tokens: _Number | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_filter_is_passed_over(cls, given: Any) -> Any:
        """Refuse a misspelt filter, without which more would be listed than was asked for."""
        wrong = [name for name in given if name.startswith("filter") and name != "filters"]
        if wrong:
            raise ValueError(f"{wrong[0][:64]} is no way to write filters")
        return given

    @model_validator(mode="after")
    def _follows_in_one_order(self) -> LogQuery:
        if self.after_id and self.order_by != "created_at":
            raise ValueError("after_id is in the order of recording, so order_by cannot be given")
        return self

    @property
    def ascending(self) -> bool:
        """Whether the smallest come first."""
        return (self.order_by_direction or self.direction) == "asc"


class LogsQuery(Query):
    """Which entries to delete. A parameter that nobody knows is refused: without a filter, all are meant."""

    model_config = ConfigDict(extra="forbid")

    filters: _Filters = Field(default_factory=list)
    """As for the list. Without any, all entries of the gateway are meant."""
    limit: Annotated[int, Field(ge=1, le=10_000)] = 10_000
    """Most entries to delete."""
    order_by: Literal[
        "created_at", "provider", "model", "success", "cached",
        "cost", "tokens_in", "tokens_out", "duration", "feedback",
    ] = "created_at"  # fmt: skip
    """What to sort by before the limit counts."""
    order_by_direction: _Direction = "asc"
    """Which come first."""


class ChangeLog(Body):
    """What is said of an entry. What is null is cleared, what is left out stays."""

    feedback: Annotated[float, Field(ge=-1, le=1)] | None = None
    score: Annotated[float, Field(ge=0, le=100)] | None = None
    metadata: Annotated[dict[str, str | bool | int | float], Field(max_length=5)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> ChangeLog:
        if not self.model_fields_set:
            raise ValueError("At least one of feedback, score and metadata must be given")
        return self


class Log(Shown):
    """An entry, as it stands in a list."""

    id: str
    created_at: str
    provider: str
    model: str
    requested_model: str
    path: str
    duration: int
    request_content_type: str
    response_content_type: str
    status_code: int
    success: bool
    outcome: str
    error_reason: str
    cached: bool
    streamed: bool
    tokens_in: int | None
    tokens_out: int | None
    cost: float | None
    custom_cost: bool
    metadata: dict[str, str]
    step: int
    event_id: str
    user_agent: str
    authentication: bool
    feedback: float | None
    score: float | None


class LogDetail(Log):
    """An entry with all that is known of it."""

    usage_metadata: dict[str, Any] | None
    finish_reason: str
    trace_id: str
    translation: list[str]
    attempts: list[dict[str, Any]]
    request_size: int
    response_size: int
    cost_source: str | None
    request_head: str | None = None
    request_head_complete: bool | None = None
    response_head: str | None = None
    response_head_complete: bool | None = None
