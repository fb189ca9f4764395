"""Dynamic routes, their versions and deployments, and the errors about them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kit.errors import GatewayError, Reason
from services.router.core.echo import echo

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "MOST_DEPLOYMENTS",
    "MOST_ROUTES",
    "MOST_VERSIONS",
    "Route",
    "RouteDeployment",
    "RouteVersion",
    "check_comment",
    "check_name",
    "name_taken",
    "no_such_route",
    "no_such_version",
    "too_many_routes",
    "too_many_versions",
]

# Of one gateway, and of one route; far above what anybody has. Beyond them, the oldest deployments are
# forgotten.
MOST_ROUTES: Final = 200
MOST_VERSIONS: Final = 1000
MOST_DEPLOYMENTS: Final = 1000

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_LONGEST_COMMENT: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteVersion:
    """
    What a route is made of.

    Attributes:
        elements: JSON text, as it was sent.
        active: Whether it is the one that answers.
    """

    id: str
    elements: str
    active: bool
    comment: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteDeployment:
    """A version that was made to answer."""

    id: str
    version_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A name for a decision about which model to ask, with the version that decides now."""

    id: str
    account_id: str
    gateway_id: str
    name: str
    created_at: datetime
    updated_at: datetime
    version: RouteVersion
    deployment: RouteDeployment


def check_name(text: str) -> str:
    """
    Return a name that a route may have.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    if not _NAME.fullmatch(text):
        raise _invalid("name", "A route's name has 1 to 64 letters, digits, dots, underscores or hyphens.")
    return text


def check_comment(text: str) -> str:
    """
    Return what a version may be said to be for.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    if len(text) > _LONGEST_COMMENT or not text.replace("\n", "").isprintable():
        raise _invalid("comment", f"A comment has at most {_LONGEST_COMMENT} printable characters.")
    return text


def no_such_route(route_id: str) -> GatewayError:
    """Return the error about a route that the gateway does not have."""
    return GatewayError(
        Reason.NOT_FOUND, "The gateway has no such route.", resource="route", id=echo(route_id)
    )


def no_such_version(version_id: str) -> GatewayError:
    """Return the error about a version that the route does not have."""
    return GatewayError(
        Reason.NOT_FOUND, "The route has no such version.", resource="route_version", id=echo(version_id)
    )


def name_taken(name: str) -> GatewayError:
    """Return the error about a name that another route of the gateway has."""
    return GatewayError(
        Reason.CONFLICT,
        f"The gateway has a route named {echo(name)!r} already.",
        resource="route",
        param="name",
    )


def too_many_routes() -> GatewayError:
    """Return the error about one route more than a gateway may have."""
    return _invalid("name", f"A gateway has at most {MOST_ROUTES} routes.")


def too_many_versions() -> GatewayError:
    """Return the error about one version more than a route may have."""
    return _invalid("elements", f"A route has at most {MOST_VERSIONS} versions: make another route.")


def _invalid(param: str, message: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, message, param=param)
