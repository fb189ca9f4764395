"""
Tokens as the management API takes and shows them.

Source of the member names: the public product's token object, policies included; `restrictions` is ours.
`docs/tokens.md` says what each does.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from services.edge.management.models.forms import Body, PageQuery, Query, ReadOnly, Shown
from services.edge.management.models.moment import in_utc

__all__ = [
    "AccountTokenQuery",
    "CreatedToken",
    "DeletedToken",
    "PermissionGroup",
    "PermissionGroupQuery",
    "Token",
    "TokenBody",
    "UserTokenQuery",
    "UserTokensQuery",
    "Verified",
]

RESOURCE_PREFIX: Final = "com.cloudflare.api.account."
_NO_PARTS: Final = 'Resources within an account are not supported; an account goes with "*"'


def _is_text(value: Any) -> Any:
    # A number would be taken for seconds, or for milliseconds if it is large; nobody means that.
    if not isinstance(value, str):
        raise ValueError("Input should be a time in RFC 3339's form")  # noqa: TRY004  # what pydantic reports
    return value


def _allows(value: Any) -> Any:
    if value == "deny":
        raise ValueError("Policies that deny are not supported; leave out what is not to be allowed")
    return value


def _are_accounts(value: Any) -> Any:
    for name, wanted in value.items() if isinstance(value, dict) else ():
        if not isinstance(name, str) or not name.startswith(RESOURCE_PREFIX) or name.endswith(".*"):
            raise ValueError(f"Resources are accounts, each as {RESOURCE_PREFIX}<account id>")
        if isinstance(wanted, dict):
            raise ValueError(_NO_PARTS)  # noqa: TRY004  # what pydantic reports
    return value


Moment = Annotated[datetime, BeforeValidator(_is_text), AfterValidator(in_utc), Field(strict=False)]
_Resource = Annotated[str, Field(pattern=r"^com\.cloudflare\.api\.account\.[A-Za-z0-9_-]{1,64}$")]
_Network = Annotated[str, Field(min_length=1, max_length=64, examples=["192.0.2.0/24"])]
_Networks = Annotated[list[_Network], Field(max_length=100)]
_Name = Annotated[str, Field(min_length=1, max_length=256)]
_Names = Annotated[list[_Name], Field(max_length=100)]
_UserId = Annotated[str, Field(max_length=120)]


class AccountTokenQuery(PageQuery):
    """Which tokens to list."""

    direction: Literal["asc", "desc"] = "desc"
    """`desc`: newest first."""


class UserTokenQuery(Query):
    """Whose token it is."""

    user_id: _UserId = ""
    """User, for an operator. Default: the one that the presented token belongs to."""


class UserTokensQuery(AccountTokenQuery):
    """Which tokens to list, and whose."""

    user_id: _UserId = ""
    """User, for an operator. Default: the one that the presented token belongs to."""


class PermissionGroupQuery(Query):
    """Which permission groups to list."""

    name: Annotated[str, Field(max_length=256)] = ""
    """Only the one of this name."""
    scope: Annotated[str, Field(max_length=256)] = ""
    """Only those for this kind of resource."""


class GivenPermissionGroup(Body):
    """A permission group, by id or by name."""

    id: Annotated[str, Field(max_length=64)] | None = None
    name: Annotated[str, Field(max_length=256)] | None = None
    meta: ReadOnly


class TokenPolicy(Body):
    """Allows something on some accounts."""

    id: ReadOnly
    effect: Annotated[Literal["allow"], BeforeValidator(_allows)]
    permission_groups: Annotated[list[GivenPermissionGroup], Field(min_length=1, max_length=20)]
    resources: Annotated[
        dict[_Resource, Literal["*"]], BeforeValidator(_are_accounts), Field(min_length=1, max_length=100)
    ]
    """Accounts, each as `com.cloudflare.api.account.<id>` with `*`."""


class RequestIp(Body):
    """Addresses that requests come from."""

    in_: Annotated[_Networks, Field(alias="in", default_factory=list)]
    """Networks that the token may be used from. Default: any."""
    not_in: Annotated[_Networks, Field(default_factory=list)]
    """Networks that it may not be used from, even if they are in `in`."""


class TokenCondition(Body):
    """What must hold of a request for the token to work."""

    request_ip: RequestIp | None = None


class TokenRestrictions(Body):
    """What a token is narrowed to. An empty list narrows nothing."""

    gateways: Annotated[_Names, Field(default_factory=list)]
    providers: Annotated[_Names, Field(default_factory=list)]
    models: Annotated[_Names, Field(default_factory=list)]
    """Each as `{provider}/{model}`."""


class TokenBody(Body):
    """What a token is to be."""

    name: Annotated[str, Field(min_length=1, max_length=120)]
    policies: Annotated[list[TokenPolicy], Field(min_length=1, max_length=100)]
    condition: TokenCondition | None = None
    not_before: Moment | None = None
    """When it begins to work."""
    expires_on: Moment | None = None
    """When it stops working."""
    status: Literal["active", "disabled", "expired"] | None = None
    """`disabled` switches it off. Left out: it stays as it is."""
    restrictions: TokenRestrictions | None = None
    """Left out: they stay as they are; null removes them."""

    id: ReadOnly
    issued_on: ReadOnly
    modified_on: ReadOnly
    last_used_on: ReadOnly
    value: ReadOnly


class PermissionGroup(Shown):
    """Something that a token can allow."""

    id: str
    name: str
    scopes: list[str]
    category: str
    is_selectable: bool
    """Whether the token that asks may give it."""


class ShownTokenPolicy(Shown):
    """What a token allows on an account."""

    id: str
    effect: Literal["allow"]
    permission_groups: list[dict[str, Any]]
    resources: dict[str, str]


class Token(Shown):
    """A token, without its secret."""

    id: str
    name: str
    status: Literal["active", "disabled", "expired"]
    issued_on: str
    modified_on: str
    last_used_on: str | None
    not_before: str | None
    expires_on: str | None
    policies: list[ShownTokenPolicy]
    condition: dict[str, Any] = Field(default_factory=dict)
    restrictions: dict[str, list[str]]


class CreatedToken(Token):
    """A token with its secret, which is shown this once."""

    value: str


class Verified(Shown):
    """What a token is told about itself."""

    id: str
    status: Literal["active", "disabled", "expired"]
    not_before: str | None = None
    expires_on: str | None = None


class DeletedToken(Shown):
    """What was deleted."""

    id: str
