"""Settings of the cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from kit.config import setting

__all__ = ["CALLERS", "CacheConfig"]

CALLERS: Final = frozenset({"edge"})
"""Who may look up and store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig:
    """How much the cache keeps."""

    PREFIX: ClassVar[str] = "HEADRACE_CACHE_"

    max_bytes: int = setting(
        256 * 1024 * 1024,
        "Most bytes of answers kept in memory, bookkeeping included. When there are more, those go that "
        "nobody asked for the longest.",
        at_least=0,
    )
    max_entry_bytes: int = setting(
        25_000_000,
        "Largest request that is looked up and largest answer that is kept, in bytes. The default is the "
        "public product's limit.",
        at_least=1,
    )
    sweep_interval_s: float = setting(
        30.0,
        "How often answers past their time are thrown away, in seconds. They are never given out, whether "
        "thrown away or not; this only frees their memory.",
        at_least=0.01,
    )
