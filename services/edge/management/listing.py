"""
Pages of lists whose service knows one order only, or not what a page is to leave out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from services.edge.management.models.forms import Listed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from services.edge.management.models.forms import PageQuery

__all__ = ["chosen", "everything", "page", "page_from_the_end"]

T = TypeVar("T")

_LARGEST_PAGE: Final = 1000


async def everything(fetch: Callable[[int, int], Awaitable[tuple[Sequence[T], int]]]) -> list[T]:
    """
    Give a whole list.

    Args:
        fetch: Gives a page, by its size and by how many come before it, with how many there are in all.
    """
    found: list[T] = []
    while True:
        items, total = await fetch(_LARGEST_PAGE, len(found))
        found.extend(items)
        if not items or len(found) >= total:
            return found


async def page(
    fetch: Callable[[int, int], Awaitable[tuple[Sequence[T], int]]],
    query: PageQuery,
    show: Callable[[T], dict[str, Any]],
) -> Listed[Any]:
    """Give a page in the order that the service has."""
    items, total = await fetch(query.per_page, query.offset)
    return Listed(items=[show(each) for each in items], total=total)


async def page_from_the_end(
    fetch: Callable[[int, int], Awaitable[tuple[Sequence[T], int]]],
    query: PageQuery,
    show: Callable[[T], dict[str, Any]],
) -> Listed[Any]:
    """Give a page in the other order, so that page 1 is the end of the list."""
    _, total = await fetch(1, 0)
    end = total - query.offset
    if end <= 0:
        return Listed(items=[], total=total)
    start = max(0, end - query.per_page)
    items, total = await fetch(end - start, start)
    return Listed(items=[show(each) for each in reversed(items)], total=total)


def chosen(items: Sequence[T], query: PageQuery, show: Callable[[T], dict[str, Any]]) -> Listed[Any]:
    """Give a page of what was chosen from a whole list."""
    there = items[query.offset : query.offset + query.per_page]
    return Listed(items=[show(each) for each in there], total=len(items))
