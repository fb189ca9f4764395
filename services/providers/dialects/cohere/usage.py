"""
Token counts as Cohere reports them: what a model read and wrote, and what is paid for.
"""

from __future__ import annotations

from typing import Any

from services.providers.dialects.usage import UsageCounts

__all__ = ["read_billed", "read_usage"]

_TOKENS = "tokens"
_BILLED = "billed_units"


def read_usage(report: Any) -> UsageCounts | None:
    """
    Read what was used from `usage` of a chat answer, or `meta` of another.

    `tokens` counts all that the model read and wrote, with the words that Cohere adds to a prompt;
    `billed_units`, without those, stands in where it is missing.
    """
    return _read(report, (_TOKENS, _BILLED))


def read_billed(report: Any) -> UsageCounts | None:
    """
    Read what is paid for, likewise.

    Searches and classifications are paid for as well, but are no tokens and not counted here.
    """
    return _read(report, (_BILLED, _TOKENS))


def _read(report: Any, sources: tuple[str, ...]) -> UsageCounts | None:
    if not isinstance(report, dict):
        return None
    input_tokens, output_tokens = (
        _first(report, sources, name) for name in ("input_tokens", "output_tokens")
    )
    if input_tokens is None:
        # What is embedded may be text and images, counted apart.
        parts = [_first(report, sources, name) for name in ("text_tokens", "image_tokens")]
        known = [part for part in parts if part is not None]
        input_tokens = sum(known) if known else None
    cached = _count(report, "cached_tokens")
    if input_tokens is None and output_tokens is None and cached is None:
        return None
    if cached is not None and input_tokens is not None:
        cached = min(cached, input_tokens)
    return UsageCounts(input_tokens=input_tokens, output_tokens=output_tokens, cache_read_tokens=cached)


def _first(report: dict[str, Any], sources: tuple[str, ...], name: str) -> int | None:
    counts = (_count(report.get(source), name) for source in sources)
    return next((count for count in counts if count is not None), None)


def _count(source: Any, name: str) -> int | None:
    """Read a count. Cohere writes some of them as `12.0`."""
    value = source.get(name) if isinstance(source, dict) else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < 1 << 62 else None
