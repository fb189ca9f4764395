"""
The usage of an answer that several attempts made, as its client sees it.

It is that of one answer: the input is the first attempt's, as far as it was told, and the output is all that
the client has. A fallback that was spliced wrote all of it itself; one that went on wrote the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.edge.splice.fields import Json
    from services.edge.splice.verdict import Spent

__all__ = ["count", "counted"]


def count(usage: Json, name: str) -> int | None:
    """Read a count. None: it is not there."""
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def counted(usage: Json, before: Spent, given: str, made: str, total: str = "") -> Json:
    """
    Return usage with what was spent before.

    Args:
        usage: Of the fallback.
        before: Spent before. What is None stays the fallback's.
        given: Name of the input's count.
        made: Name of the output's count.
        total: Name of the sum; empty for none.
    """
    usage = dict(usage)
    changed = 0
    if before.input_tokens is not None and (old := count(usage, given)) is not None:
        usage[given] = before.input_tokens
        changed += before.input_tokens - old
    if before.output_tokens is not None and (old := count(usage, made)) is not None:
        usage[made] = old + before.output_tokens
        changed += before.output_tokens
    if total and (old := count(usage, total)) is not None:
        usage[total] = old + changed
    return usage
