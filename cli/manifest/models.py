"""
The declarative file, version 1.

Bounds and names are the management API's, since its models are used; what is said otherwise here is what a
file needs and a request does not: defaults, names instead of ids, and secrets by reference only.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, create_model, model_validator

from services.edge.management.models.custom_provider import CreateCustomProvider
from services.edge.management.models.described import texts_of
from services.edge.management.models.forms import Body
from services.edge.management.models.gateway import CreateGateway
from services.edge.management.models.provider_config import CreateProviderConfig
from services.edge.management.models.route import CreateRoute
from services.edge.management.models.token import TokenBody, TokenRestrictions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import BaseModel

__all__ = [
    "GATEWAY_FIELDS",
    "PERMISSIONS",
    "PROVIDER_FIELDS",
    "Account",
    "Key",
    "Manifest",
    "Secret",
    "Token",
]

PERMISSIONS: Final = ("run", "read", "edit", "workers-ai-read", "operator")
# What the API wants of every gateway and a file need not say.
_USUAL: Final[Mapping[str, Any]] = {
    "cache_invalidate_on_update": False,
    "cache_ttl": 0,
    "collect_logs": True,
    "rate_limiting_interval": 0,
    "rate_limiting_limit": 0,
}
_NO_FIELDS: Final = frozenset(
    {"id", "is_default", "internal_id", "account_id", "account_tag", "created_at", "modified_at"}
)

GATEWAY_FIELDS: Final = tuple(name for name in CreateGateway.model_fields if name not in _NO_FIELDS)
PROVIDER_FIELDS: Final = tuple(name for name in CreateCustomProvider.model_fields if name != "slug")


def _taken(model: type[BaseModel], names: Iterable[str], usual: Mapping[str, Any] | None = None) -> Any:
    """Give fields of a model for another one; those in `usual` get a default."""
    found: dict[str, Any] = {}
    texts = texts_of(model)
    for name in names:
        field = copy.copy(model.model_fields[name])
        field.description = field.description or texts.get(name)
        if usual and name in usual:
            field.default = usual[name]
        found[name] = (field.annotation, field)
    return found


class Secret(Body):
    """Where this machine finds a secret. It is read when the file is applied, and sent."""

    env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Variable of the environment."""
    file: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """File, from the directory of this one; white space at its end does not count."""

    @model_validator(mode="after")
    def _one(self) -> Secret:
        if (self.env is None) == (self.file is None):
            raise ValueError("exactly one of env and file is needed")
        return self


_KeyBase: Any = create_model(
    "_KeyBase",
    __base__=Body,
    **_taken(
        CreateProviderConfig, ("alias", "weight", "rate_limit", "rate_limit_period"), {"alias": "default"}
    ),
)


class Key(_KeyBase):  # type: ignore[misc]  # made of the API's fields
    """
    A provider key. Those of the same provider and alias are a pool.

    Says either where this machine finds the key (`secret`) or where the server does (`ref`).
    """

    provider: Annotated[str, Field(min_length=1, max_length=64, examples=["openai"])]
    default_config: bool | None = None
    """Whether it is the provider's usual one. Default: whether its alias is `default`."""
    secret: Secret | None = None
    ref: Annotated[str, Field(max_length=512, pattern=r"^(vault|file|env):.+$")] | None = None
    """Where the server finds it: `vault:…`, `file:…` or `env:…`."""

    @model_validator(mode="after")
    def _one(self) -> Key:
        if (self.secret is None) == (self.ref is None):
            raise ValueError("exactly one of secret and ref is needed")
        return self


_RouteBase: Any = create_model("_RouteBase", __base__=Body, **_taken(CreateRoute, ("name", "elements")))


class Route(_RouteBase):  # type: ignore[misc]  # made of the API's fields
    """A dynamic route. A change of its elements makes a version and deploys it."""


_GatewayBase: Any = create_model(
    "_GatewayBase", __base__=Body, **_taken(CreateGateway, ("id", *GATEWAY_FIELDS), _USUAL)
)


class Gateway(_GatewayBase):  # type: ignore[misc]  # made of the API's fields
    """A gateway. What is left out has its default, whatever it was before."""

    keys: Annotated[list[Key], Field(max_length=1000)] | None = None
    """Its provider keys."""
    routes: Annotated[list[Route], Field(max_length=1000)] | None = None
    """Its dynamic routes."""


_ProviderBase: Any = create_model(
    "_ProviderBase",
    __base__=Body,
    **_taken(
        CreateCustomProvider,
        ("slug", *(name for name in PROVIDER_FIELDS if name not in {"name", "headers", "enable"})),
    ),
)


class Provider(_ProviderBase):  # type: ignore[misc]  # made of the API's fields
    """A provider of the account's own."""

    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Name for people. Default: the slug."""
    enable: bool = True
    """Whether it may be called."""
    headers: dict[str, str] | None = None
    """Headers that every call to it gets. Keys do not belong here."""


_Network = Annotated[str, Field(min_length=1, max_length=64, examples=["192.0.2.0/24"])]
_Networks = Annotated[list[_Network], Field(default_factory=list, max_length=100)]

_TokenBase: Any = create_model(
    "_TokenBase",
    __base__=Body,
    **_taken(TokenBody, ("name", "not_before", "expires_on")),
    **_taken(TokenRestrictions, ("gateways", "providers", "models")),
)


class Token(_TokenBase):  # type: ignore[misc]  # made of the API's fields
    """A token of the account, known by its name. It is made when there is none."""

    permissions: Annotated[
        list[Literal["run", "read", "edit", "workers-ai-read", "operator"]],
        Field(default_factory=lambda: ["run"], min_length=1, max_length=5),
    ]
    """What it may do. Default: `run`."""
    addresses: _Networks
    """Networks that it may be used from. Default: any."""
    forbidden_addresses: _Networks
    """Networks that it may not be used from."""
    disabled: bool = False
    """Whether it is switched off."""
    write_to: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """File that a new token is written to, readable by its owner alone; from the directory of this one."""


class Account(Body):
    """
    An account, and what it has.

    A list that is left out is not looked at; one that is there, even empty, is what `--prune` goes by.
    """

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    """Its id. Default: the account that the command is for."""
    name: Annotated[str, Field(min_length=1, max_length=120)] | None = None
    """Name for people. Left out: as it is."""
    unified: bool | None = None
    """Whether the operator's own keys are used where there is no other. Left out: as it is."""
    gateways: Annotated[list[Gateway], Field(max_length=10_000)] | None = None
    providers: Annotated[list[Provider], Field(max_length=1000)] | None = None
    """Providers of the account's own."""
    tokens: Annotated[list[Token], Field(max_length=10_000)] | None = None


class Manifest(Body):
    """What an installation of Headrace is to be."""

    version: Literal[1]
    """Version of this format."""
    accounts: Annotated[list[Account], Field(max_length=1000)]
