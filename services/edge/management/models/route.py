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
