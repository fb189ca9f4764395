"""Providers that accounts named themselves, as messages."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from headrace.common.v1 import http_pb2
from headrace.router.v1 import custom_provider_pb2 as pb
from services.router.convert.fields import invalid, timestamp
from services.router.core.custom_provider import CustomProvider, Order, Query
from services.router.core.echo import echo
from services.router.core.page import checked_page

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

__all__ = ["changed", "custom_provider", "mask", "message", "plan_provider", "query"]

# By the name that a mask uses, which is the field's name in the message and in the core.
_READERS: dict[str, Callable[[pb.CustomProvider], object]] = {
    "slug": lambda message: message.slug,
    "base_url": lambda message: message.base_url,
    "name": lambda message: message.name,
    "headers": lambda message: tuple((header.name, header.value) for header in message.headers),
    "enabled": lambda message: message.enabled,
    "beta": lambda message: message.beta,
    "description": lambda message: message.description,
    "link": lambda message: message.link,
    "curl_example": lambda message: message.curl_example,
    "js_example": lambda message: message.js_example,
    "position": lambda message: message.position,
}
# Of search, which looks in what is shorter.
_LONGEST_SEARCH = 256
_USUAL_PAGE = 1000


def custom_provider(
    wanted: pb.CustomProvider, *, account_id: str, provider_id: str, now: datetime
) -> CustomProvider:
    """Return a provider as somebody wants it to be, made now. Its account is checked already, it is not."""
    made = CustomProvider(
        account_id=account_id,
        id=provider_id,
        slug="",
        base_url="",
        name="",
        headers=(),
        enabled=False,
        created_at=now,
        updated_at=now,
    )
    return changed(made, wanted, frozenset(_READERS))


def mask(request: pb.UpdateCustomProviderRequest) -> frozenset[str]:
    """
    Return the names of the fields that an update sets.

    Raises:
        GatewayError: INVALID_REQUEST; there are none, or one that cannot be set.
    """
    paths = frozenset(request.update_mask.paths)
    if not paths:
        raise invalid("update_mask", "Name the fields to change.")
    for path in sorted(paths - _READERS.keys()):
        raise invalid("update_mask", f"There is no field named {echo(path)!r} to change.")
    return paths


def changed(provider: CustomProvider, wanted: pb.CustomProvider, paths: frozenset[str]) -> CustomProvider:
    """Return a provider with some fields taken from a message."""
    return replace(provider, **{path: _READERS[path](wanted) for path in paths})  # type: ignore[arg-type]  # by name


def message(found: CustomProvider) -> pb.CustomProvider:
    """Return a provider as a message."""
    shown = plan_provider(found)
    shown.MergeFrom(
        pb.CustomProvider(
            id=found.id,
            description=found.description,
            link=found.link,
            beta=found.beta,
            curl_example=found.curl_example,
            js_example=found.js_example,
            position=found.position,
        )
    )
    return shown


def plan_provider(found: CustomProvider) -> pb.CustomProvider:
    """Return what a plan says of a provider: what is needed to call it, and nothing for people."""
    return pb.CustomProvider(
        slug=found.slug,
        base_url=found.base_url,
        name=found.name,
        headers=[http_pb2.Header(name=name, value=value) for name, value in found.headers],
        enabled=found.enabled,
        create_time=timestamp(found.created_at),
        update_time=timestamp(found.updated_at),
    )


def query(request: pb.ListCustomProvidersRequest) -> Query:
    """
    Return which providers to list.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    orders = {order.value: order for order in Order}
    if request.order_by and request.order_by not in orders:
        raise invalid("order_by", f"One of these is expected: {', '.join(orders)}.")
    if len(request.search) > _LONGEST_SEARCH or not request.search.isprintable():
        raise invalid("search", f"A search has at most {_LONGEST_SEARCH} printable characters.")
    return Query(
        page=checked_page(request.page_size, request.offset, usual=_USUAL_PAGE),
        enabled=request.enabled if request.HasField("enabled") else None,
        beta=request.beta if request.HasField("beta") else None,
        search=request.search,
        order=orders.get(request.order_by, Order.SLUG),
        descending=request.descending,
    )
