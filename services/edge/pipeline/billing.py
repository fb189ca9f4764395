"""
What a whole answer's headers say of its usage and its cost. A stream says it in its own dialect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from services.edge import headers as names

if TYPE_CHECKING:
    from headrace.common.v1 import usage_pb2
    from services.edge.pipeline.exchange import HeaderList, Progress

__all__ = ["billing_headers"]

_NANO: Final = 1_000_000_000


def billing_headers(progress: Progress) -> HeaderList:
    """Give the headers for what is known; what is not known is left out, never zero."""
    headers = []
    if progress.usage is not None and (usage := _usage(progress.usage)):
        headers.append((names.USAGE, usage))
    if progress.cost is not None:
        headers.append((names.COST, _dollars(progress.cost.nano_usd)))
    return headers


def _usage(usage: usage_pb2.Usage) -> str:
    """Write counts as a JSON object, such as `{"input_tokens":12}`, in the order of the message's fields."""
    counts = {field.name: value for field, value in usage.ListFields()}
    return orjson.dumps(counts).decode() if counts else ""


def _dollars(nano_usd: int) -> str:
    """Write an amount in US dollars, exactly: nine digits after the point."""
    whole, rest = divmod(nano_usd, _NANO)
    return f"{whole}.{rest:09d}"
