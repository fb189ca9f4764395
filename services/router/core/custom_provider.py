"""
Providers that accounts named themselves; documented in `headrace.router.v1.CustomProvider`.

Nothing here is trusted: what an address leads to is looked at again where it is called.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from kit import tokens
from kit.errors import GatewayError, Reason
from services.router.core.echo import echo

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from services.router.core.page import Page

__all__ = [
    "MOST_PROVIDERS",
    "PREFIX",
    "CustomProvider",
    "Order",
    "Query",
    "checked",
    "is_slug",
    "no_such_provider",
    "slug_taken",
    "too_many",
]

# Before the slug, wherever a provider is named.
PREFIX: Final = "custom-"
# Of one account; far above what anybody has, and bounds what a list holds.
MOST_PROVIDERS: Final = 200

_SLUG: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)
_LONGEST_SLUG: Final = 50
_LONGEST_URL: Final = 1024
_LONGEST_NAME: Final = 200
_URL: Final = re.compile(r"[\x21-\x7e]*")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+", re.ASCII)
_PATH: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*", re.ASCII)
_LONGEST_TEXTS: Final = {"description": 2000, "link": 1024, "curl_example": 8192, "js_example": 8192}
_MOST_POSITION: Final = 2**31 - 1
# Examples have lines; what else a terminal would obey has no place in them.
_TEXT: Final = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*")
_MOST_HEADERS: Final = 32
_LONGEST_VALUE: Final = 4096
_HEADER_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}", re.ASCII)
_HEADER_VALUE: Final = re.compile(rb"[\x20-\x7e]*")
# What belongs to one connection, and what we set ourselves.
_NOT_SET: Final = frozenset(
    {
        "connection", "content-length", "cookie", "expect", "forwarded", "host", "keep-alive",
        "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "via",
    }
)  # fmt: skip
_PREFIXES_NOT_SET: Final = ("cf-", "headrace-", "x-envoy-", "x-forwarded-")


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomProvider:
    """An address under a name. What comes after the times is for people."""

    account_id: str
    id: str
    slug: str
    base_url: str
    name: str
    headers: tuple[tuple[str, bytes], ...]
    enabled: bool
    created_at: datetime
    updated_at: datetime
    beta: bool = False
    description: str = ""
    link: str = ""
    curl_example: str = ""
    js_example: str = ""
    position: int = 0


class Order(StrEnum):
    """What providers are sorted by."""

    SLUG = "slug"
    NAME = "name"
    CREATE_TIME = "create_time"
    POSITION = "position"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """
    Which providers to list, and how.

    Attributes:
        search: What id, name or slug must hold, whatever the case. Empty: anything.
    """

    page: Page
    enabled: bool | None = None
    beta: bool | None = None
    search: str = ""
    order: Order = Order.SLUG
    descending: bool = False


def is_slug(text: str) -> bool:
    """Tell whether an account's own provider could have this slug."""
    return len(text) <= _LONGEST_SLUG and _SLUG.fullmatch(text) is not None


def checked(provider: CustomProvider, *, taken: Collection[str] = ()) -> CustomProvider:
    """
    Return a provider that may be kept.

    Args:
        provider: As it is asked for.
        taken: Slugs, with prefix, that the operator uses: with one of these an account would have the
            operator's key sent to an address of its own.

    Raises:
        GatewayError: INVALID_REQUEST; or CONFLICT, when the slug is taken.
    """
    if not is_slug(provider.slug):
        raise _invalid(
            "slug",
            f"A slug has 1 to {_LONGEST_SLUG} lower-case letters, digits and single hyphens between them.",
        )
    if PREFIX + provider.slug in taken:
        raise _taken(f"The operator has a provider of the slug {provider.slug!r}.")
    _check_url(provider.base_url)
    _check_texts(provider)
    if len(provider.name) > _LONGEST_NAME or not provider.name.isprintable():
        raise _invalid("name", f"A name has at most {_LONGEST_NAME} printable characters.")
    _check_headers(provider.headers)
    return provider


def no_such_provider(provider_id: str) -> GatewayError:
    """Return the error about a provider that the account does not have."""
    return GatewayError(
        Reason.NOT_FOUND,
        "The account has no such custom provider.",
        resource="custom_provider",
        id=echo(provider_id),
    )


def slug_taken(slug: str) -> GatewayError:
    """Return the error about a slug that another provider of the account has."""
    return _taken(f"The account has a provider of the slug {echo(slug)!r} already.")


def too_many() -> GatewayError:
    """Return the error about one provider more than an account may have."""
    return GatewayError(
        Reason.INVALID_REQUEST,
        f"An account has at most {MOST_PROVIDERS} providers of its own.",
        param="slug",
    )


def _taken(message: str) -> GatewayError:
    return GatewayError(Reason.CONFLICT, message, resource="custom_provider", param="slug")


def _check_texts(provider: CustomProvider) -> None:
    for name, most in _LONGEST_TEXTS.items():
        text: str = getattr(provider, name)
        if len(text) > most or not _TEXT.fullmatch(text):
            raise _invalid(name, f"At most {most} characters are taken, and no control characters.")
    if not -_MOST_POSITION <= provider.position <= _MOST_POSITION:
        raise _invalid("position", f"A position is from -{_MOST_POSITION} to {_MOST_POSITION}.")


def _check_url(text: str) -> None:
    try:
        url = urlsplit(text)
        port_is_right = url.port is None or url.port > 0
    except ValueError:
        raise _bad_url("is no URL") from None
    if len(text) > _LONGEST_URL:
        raise _bad_url(f"has more than {_LONGEST_URL} characters")
    if not _URL.fullmatch(text):
        # Some parsers leave out line feeds, so that what is looked at here is not what is kept.
        raise _bad_url("must be printable ASCII without spaces")
    if url.scheme != "https" or not text.startswith("https://"):
        raise _bad_url("must begin with https://")
    if "@" in url.netloc:
        raise _bad_url("must not hold a user or a password")
    if "?" in text or "#" in text:
        raise _bad_url("must not have a query or a fragment")
    if not (url.hostname and port_is_right and _HOST.fullmatch(url.hostname) and _PATH.fullmatch(url.path)):
        raise _bad_url("has a host or a path that makes no sense")
    if any(part in (".", "..") for part in url.path.replace("%2e", ".").replace("%2E", ".").split("/")):
        raise _bad_url("must not hold dot segments")


def _check_headers(headers: tuple[tuple[str, bytes], ...]) -> None:
    if len(headers) > _MOST_HEADERS:
        raise _invalid("headers", f"At most {_MOST_HEADERS} headers are taken.")
    for name, value in headers:
        if not _HEADER_NAME.fullmatch(name):
            raise _invalid("headers", f"{echo(name)!r} is no name of a header in lower case.")
        if name in tokens.CREDENTIAL_HEADERS:
            raise _invalid("headers", f"{name} holds a key, which is not kept here.")
        if name in _NOT_SET or name.startswith(_PREFIXES_NOT_SET):
            raise _invalid("headers", f"{name} cannot be set.")
        if len(value) > _LONGEST_VALUE or not _HEADER_VALUE.fullmatch(value):
            raise _invalid("headers", f"The value of {name} is too long or not printable ASCII.")
        if tokens.find(value.decode("ascii")):
            raise _invalid("headers", f"The value of {name} holds a token of the gateway's.")


def _bad_url(what: str) -> GatewayError:
    return _invalid("base_url", f"The base URL {what}.")


def _invalid(param: str, message: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, message, param=param)
