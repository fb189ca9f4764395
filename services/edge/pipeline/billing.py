"""
What a whole answer's headers say of its usage and its cost. A stream says it in its own dialect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from headrace.router.v1 import router_service_pb2
from services.edge import headers as names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from headrace.common.v1 import usage_pb2
    from services.edge.pipeline.exchange import HeaderList, Progress

__all__ = ["beside", "billing_headers", "limit_headers"]

_NANO: Final = 1_000_000_000


def billing_headers(progress: Progress) -> HeaderList:
    """Give the headers for what is known; what is not known is left out, never zero."""
    headers = []
    if progress.usage is not None and (usage := _usage(progress.usage)):
        headers.append((names.USAGE, usage))
    if progress.cost is not None:
        headers.append((names.COST, _dollars(progress.cost.nano_usd)))
    return headers


def limit_headers(limits: Iterable[router_service_pb2.LimitState]) -> HeaderList:
    """
    Give the headers that tell what is left of limits.

    Requests and tokens in the words of OpenAI's API; money, which it has no words for, in US dollars.
    """
    headers = []
    for state in limits:
        reset = f"{state.reset.ToMilliseconds() / 1000:g}s"
        if state.unit == router_service_pb2.LIMIT_UNIT_NANO_USD:
            headers += [
                (names.BUDGET_LIMIT, _dollars(state.limit)),
                (names.BUDGET_REMAINING, _dollars(max(0, state.remaining))),
                (names.BUDGET_RESET, reset),
            ]
        else:
            word = "tokens" if state.unit == router_service_pb2.LIMIT_UNIT_TOKENS else "requests"
            headers += [
                (f"x-ratelimit-limit-{word}", str(state.limit)),
                (f"x-ratelimit-remaining-{word}", str(max(0, state.remaining))),
                (f"x-ratelimit-reset-{word}", reset),
            ]
    return headers


def beside(
    theirs: HeaderList, own: HeaderList, limits: Sequence[router_service_pb2.LimitState]
) -> HeaderList:
    """
    Give a provider's headers and ours.

    Where both tell of a limit in the same words, ours stay: it is the one that the client meets first.
    """
    if not limits:
        return [*theirs, *own]
    ours = {name for name, _ in own}
    return [*(header for header in theirs if header[0] not in ours), *own]


def _usage(usage: usage_pb2.Usage) -> str:
    """Write counts as a JSON object, such as `{"input_tokens":12}`, in the order of the message's fields."""
    counts = {field.name: value for field, value in usage.ListFields()}
    return orjson.dumps(counts).decode() if counts else ""


def _dollars(nano_usd: int) -> str:
    """Write an amount in US dollars, exactly: nine digits after the point."""
    whole, rest = divmod(nano_usd, _NANO)
    return f"{whole}.{rest:09d}"
