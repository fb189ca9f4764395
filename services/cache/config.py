"""Settings of the cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from kit.config import setting
from kit.valkey_config import check_valkey_url

if TYPE_CHECKING:
    from kit.secret import Secret

__all__ = ["CALLERS", "CacheConfig"]

CALLERS: Final = frozenset({"edge"})
"""Who may look up and store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig:
    """How much the cache keeps, where and how."""

    PREFIX: ClassVar[str] = "HEADRACE_CACHE_"

    valkey_url: Secret | None = setting(
        None,
        "Valkey that answers are kept in: `valkey://[user:password@]host[:port][/database]`, "
        "`valkey-cluster://host,host…`, `valkey-sentinel://host,host…/name`, each with `valkeys` for TLS. "
        "Several caches may share it. Default: this process's memory.",
        secret=True,
    )
    max_bytes: int = setting(
        256 * 1024 * 1024,
        "Most bytes of answers kept in memory, bookkeeping included. When there are more, those go that "
        "nobody asked for the longest. Valkey has a limit of its own, `maxmemory`.",
        at_least=0,
    )
    max_entry_bytes: int = setting(
        25_000_000,
        "Largest request that is looked up and largest answer that is kept, in bytes. The default is the "
        "public product's limit.",
        at_least=1,
    )
    compress_from_bytes: int = setting(
        1024,
        "Answers from this length on are kept compressed, in bytes. Shorter ones gain less than the work is "
        "worth.",
        at_least=0,
    )
    compress_level: int = setting(
        3,
        "Level of zstd that answers are compressed with. Higher ones take several times as long for a few "
        "percent less.",
        at_least=1,
        at_most=19,
    )
    claim_s: float = setting(
        30.0,
        "How long others wait for whoever fetches an answer and is not heard of, in seconds. The edge renews "
        "its claim every third of it while the call runs; when it dies, one of those who wait fetches the "
        "answer after so long.",
        at_least=0.01,
        at_most=3600,
    )
    max_wait_s: float = setting(
        300.0,
        "How long one lookup may wait for an answer that is being fetched, in seconds, whatever the caller "
        "asks for.",
        at_least=0,
        at_most=3600,
    )
    sweep_interval_s: float = setting(
        30.0,
        "How often answers past their time are thrown away, in seconds. They are never given out, whether "
        "thrown away or not; this only frees their memory.",
        at_least=0.01,
    )

    def __post_init__(self) -> None:
        """Refuse what is no address of Valkey."""
        check_valkey_url(self.valkey_url, "HEADRACE_CACHE_VALKEY_URL")
