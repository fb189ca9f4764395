"""
What a plan asks to be sent with `Reserve`: the limits in a route, which only count there. Pure.

It is opaque to the edge, which sends it back: a JSON array of
`{"key": …, "unit": "requests"|"tokens"|"cost", "limit": …, "window": …, "technique": "fixed"|"sliding"}`.

And what a plan counted already, sent back with `Settle` when nothing was tried: a JSON array of
`{"key": …, "window": …, "index": …}`, of limits of requests in the route, with the window that counted it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from services.router.core.json_reader import parse
from services.router.core.limits import bucket_key
from services.router.core.settings import Technique
from services.router.core.windows import MOST_AMOUNT, Admit, Bucket, Unit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.router.core.json_reader import Value

__all__ = ["Counted", "read_counted", "read_ticket", "route_bucket", "write_counted"]

# As many as a route has elements.
_MOST_BUCKETS: Final = 100
_MOST_BYTES: Final = 64 * 1024
_LONGEST_KEY: Final = 4096
_MOST_S: Final = 2**31 - 1
_UNITS: Final = {
    "requests": Unit.REQUESTS,
    "count": Unit.REQUESTS,
    "tokens": Unit.TOKENS,
    "cost": Unit.NANO_USD,
}
_MEMBERS: Final = ("key", "unit", "limit", "window", "technique")
_COUNTED: Final = ("key", "window", "index")


class Counted(NamedTuple):
    """
    A request that a limit in a route counted.

    Attributes:
        key: What the limit is for.
        window_s: How long a window is.
        window: Number of the window in which it was counted.
    """

    key: str
    window_s: int
    window: int


def route_bucket(
    key: str, unit: str, limit: int, window_s: int, technique: str, *, admit: Admit = Admit.ALWAYS
) -> Bucket:
    """
    Return the counter of a limit in a route.

    Args:
        key: What it is for: the element, and the value that it looks at.
        unit: `requests` (or `count`), `tokens` or `cost`.
        limit: In requests, tokens or billionths of a US dollar.
        window_s: How long a window is.
        technique: `fixed` or `sliding`.
        admit: When it lets through; what is only counted is decided before.
    """
    return Bucket(
        key=bucket_key("route", key, unit, str(window_s)),
        unit=_UNITS[unit],
        limit=limit,
        window_s=window_s,
        technique=Technique(technique),
        admit=admit,
    )


def read_ticket(ticket: bytes) -> list[Bucket]:
    """
    Return the counters that a ticket names, each once.

    Raises:
        GatewayError: INVALID_REQUEST; it is none of ours.
    """
    if not ticket:
        return []
    found = parse(ticket.decode("utf-8", "replace"), "ticket", most_bytes=_MOST_BYTES)
    buckets = [_bucket(item) for item in found.items(most=_MOST_BUCKETS)]
    return list({bucket.key: bucket for bucket in buckets}.values())


def write_counted(counted: Iterable[Counted]) -> bytes:
    """Return what limits counted as bytes."""
    return orjson.dumps(
        [{"key": each.key, "window": each.window_s, "index": each.window} for each in counted]
    )


def read_counted(data: bytes) -> list[tuple[Bucket, int]]:
    """
    Return the counters that counted a request, each with its window.

    What they let through does not matter any more, so it is not told.

    Raises:
        GatewayError: INVALID_REQUEST; `write_counted` did not write it.
    """
    found = parse(data.decode("utf-8", "replace"), "counted", most_bytes=_MOST_BYTES)
    return [_counted(item) for item in found.items(most=_MOST_BUCKETS)]


def _counted(value: Value) -> tuple[Bucket, int]:
    members = value.members(_COUNTED, required=_COUNTED)
    window_s = members["window"].integer(least=1, most=_MOST_S)
    bucket = route_bucket(_key(members["key"]), "requests", 0, window_s, "fixed", admit=Admit.FITS)
    return bucket, members["index"].integer(most=MOST_AMOUNT)


def _key(value: Value) -> str:
    if not isinstance(value.raw, str) or len(value.raw) > _LONGEST_KEY:
        raise value.error("A key is expected.")
    return value.raw


def _bucket(value: Value) -> Bucket:
    members = value.members(_MEMBERS, required=_MEMBERS)
    return route_bucket(
        _key(members["key"]),
        members["unit"].one_of(*_UNITS),
        members["limit"].integer(most=MOST_AMOUNT),
        members["window"].integer(least=1, most=_MOST_S),
        members["technique"].one_of("fixed", "sliding"),
    )
