"""
Accounts' own providers as the management API takes and shows them.

Source of names: the public product's custom providers.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from services.edge.management.models.forms import Body, PageQuery, ReadOnly, Shown

__all__ = ["CreateCustomProvider", "CustomProvider", "CustomProviderQuery", "UpdateCustomProvider"]

_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Slug = Annotated[str, Field(min_length=1, max_length=50, pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$")]
_Url = Annotated[
    str, Field(min_length=9, max_length=1024, pattern=r"^https://", examples=["https://ai.example/v1"])
]
_Text = Annotated[str, Field(max_length=2000)]
_Link = Annotated[str, Field(max_length=1024)]
_Example = Annotated[str, Field(max_length=8192)]
_Headers = Annotated[str, Field(max_length=16_384, examples=['{"x-team": "search"}'])]
_Position = Annotated[int, Field(ge=0, le=2**31 - 1)]


class CustomProviderQuery(PageQuery):
    """Which providers to list."""

    enable: bool | None = None
    """Only those that may be called, or may not."""
    beta: bool | None = None
    """Only those that are not ready yet, or are."""
    search: Annotated[str, Field(max_length=200)] = ""
    """Only those with this in id, name or slug."""
    order_by: Literal[
        "", "name ASC", "name DESC", "slug ASC", "slug DESC", "created_at ASC", "created_at DESC",
        "position ASC", "position DESC",
    ] = ""  # fmt: skip


class CreateCustomProvider(Body):
    """A provider to be made."""

    name: _Name
    slug: _Slug
    base_url: _Url
    description: _Text | None = None
    link: _Link | None = None
    enable: bool = False
    """Whether it may be called."""
    beta: bool = False
    headers: _Headers | None = None
    """JSON object, as text, of headers that every call to it gets. Keys do not belong here."""
    curl_example: _Example | None = None
    js_example: _Example | None = None
    position: _Position = 0


class UpdateCustomProvider(Body):
    """What is to change about a provider; what is left out stays as it is."""

    name: _Name | None = None
    slug: _Slug | None = None
    base_url: _Url | None = None
    description: _Text | None = None
    link: _Link | None = None
    enable: bool | None = None
    beta: bool | None = None
    headers: _Headers | None = None
    curl_example: _Example | None = None
    js_example: _Example | None = None
    position: _Position | None = None

    id: ReadOnly
    logo: ReadOnly
    created_at: ReadOnly
    modified_at: ReadOnly


class CustomProvider(Shown):
    """A provider that an account named itself."""

    id: str
    account_id: str
    account_tag: str
    name: str
    slug: str
    base_url: str
    description: str
    link: str
    enable: bool
    beta: bool
    headers: str
    curl_example: str
    js_example: str
    logo: str
    """A picture with its first letter, SVG in base64."""
    position: int
    created_at: str
    modified_at: str
