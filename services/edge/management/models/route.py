"""
Dynamic routes as the management API takes and shows them.

Source of names: the public product's dynamic routing. What elements are is the router's to know
(`docs/routes.md`); here they are objects with an id and a type.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from services.edge.management.models.forms import Body, PageQuery, Shown

__all__ = [
    "CreateRoute",
    "CreateVersion",
    "Deploy",
    "Deployments",
    "RenameRoute",
    "Route",
    "RouteQuery",
    "Routes",
    "Simulate",
    "SimulateDraft",
    "Simulation",
    "VersionOfRoute",
    "Versions",
]

_Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Element = dict[str, Any]
_Elements = Annotated[list[Element], Field(min_length=1, max_length=100)]


class RouteQuery(PageQuery):
    """Which routes to list."""


class CreateRoute(Body):
    """A route to be made."""

    name: _Name
    elements: _Elements


class RenameRoute(Body):
    """A route's new name."""

    name: _Name


class CreateVersion(Body):
    """What a route is to be made of."""

    elements: _Elements
    comment: Annotated[str, Field(max_length=1000)] = ""


class Deploy(Body):
    """The version that is to answer."""

    version_id: Annotated[str, Field(min_length=1, max_length=64)]


class Simulate(Body):
    """A request that is only thought of."""

    body: dict[str, Any] | None = None
    """Its body."""
    headers: dict[str, str] = Field(default_factory=dict, max_length=100)
    """Its headers."""
    metadata: dict[str, str | int | float | bool] = Field(default_factory=dict, max_length=100)
    """Its metadata; what is no text is taken as one, as it is in the header."""
    token_id: Annotated[str, Field(max_length=64)] = ""
    """Id of the token that it would present."""
    version_id: Annotated[str, Field(max_length=64)] = ""
    """Version of the route. Left out: the one that answers."""
    failing: list[str] = Field(default_factory=list, max_length=100)
    """Elements that are taken to fail, to see what comes after them."""
    draw: Annotated[float, Field(ge=0, lt=1)] | None = None
    """What is drawn at random, from 0 up to 1. Left out: it is drawn."""


class SimulateDraft(Simulate):
    """A request that is only thought of, through a route that is not stored."""

    elements: _Elements


class DecisionStep(Shown):
    """An element that would be passed."""

    element_id: str
    type: str
    output: str
    """The one that would be taken. Empty: the way ends here."""
    reason: str


class SimulatedAttempt(Shown):
    """Something that would be tried."""

    element_id: str
    provider: str
    model: str
    circuit: Literal["closed", "open", "half_open"]
    success_rate: float | None
    first_byte_ms: int | None
    skipped: bool
    """Whether it would be passed over."""


class SimulatedLimit(Shown):
    """A limit that was looked at."""

    element_id: str
    """Empty: it is the gateway's."""
    rule: str
    key: str
    unit: Literal["requests", "tokens", "cost"]
    limit: float
    """In requests, tokens or US dollars."""
    used: float
    exceeded: bool


class Simulation(Shown):
    """The way that a request would take now."""

    route: str
    version_id: str
    outcome: Literal["answered", "failed", "refused"]
    steps: list[DecisionStep]
    attempts: list[SimulatedAttempt]
    limits: list[SimulatedLimit]


class Version(Shown):
    """A version of a route."""

    version_id: str
    active: Literal["true", "false"]
    created_at: str
    data: str
    """Its elements, as JSON text."""
    is_valid: bool
    comment: str


class Deployment(Shown):
    """A version that was made to answer."""

    deployment_id: str
    version_id: str
    created_at: str


class Route(Shown):
    """A dynamic route."""

    id: str
    account_id: str
    account_tag: str
    gateway_id: str
    name: str
    elements: list[Element]
    version: Version
    deployment: Deployment
    created_at: str
    modified_at: str


class VersionOfRoute(Shown):
    """A version, with the route that it is of."""

    id: str
    account_id: str
    account_tag: str
    gateway_id: str
    name: str
    elements: list[Element]
    version_id: str
    active: Literal["true", "false"]
    data: str
    is_valid: bool
    comment: str
    created_at: str
    modified_at: str


class _Page(Shown):
    order_by: str
    order_by_direction: str
    page: int
    per_page: int


class Routes(_Page):
    """A page of routes."""

    routes: list[Route]


class Versions(_Page):
    """A page of versions."""

    versions: list[Version]


class Deployments(_Page):
    """A page of deployments."""

    deployments: list[Deployment]
