"""
Settings of the spool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kit.config import setting

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolConfig:
    """How the spool uses the disk and how it sends to the ledger."""

    PREFIX: ClassVar[str] = "HEADRACE_SPOOL_"

    interval_s: float = setting(
        0.1,
        "How often finished entries are sent to the ledger, in seconds. Short, because people look into the "
        "log right after a call; longer makes larger batches.",
        at_least=0.001,
    )
    backoff_max_s: float = setting(
        5.0, "Longest pause between two tries while the ledger cannot be reached, in seconds.", at_least=0.001
    )
    send_timeout_s: float = setting(
        10.0, "How long one batch may take until the ledger has acknowledged it, in seconds.", at_least=0.001
    )
    segment_bytes: int = setting(
        4 * _MIB,
        "Size at which a spool file is closed and the next one begun. Bounds the memory that replay takes.",
        at_least=1,
    )
    batch_bytes: int = setting(
        1 * _MIB,
        "Most bytes of entries in a message to the ledger, unless one alone is larger.",
        at_least=1,
    )
    max_entry_bytes: int = setting(
        3_500_000,
        "An entry larger than this is recorded without its payload. Below the 4 MB that gRPC takes.",
        at_least=1,
    )
    soft_limit_bytes: int = setting(
        512 * _MIB,
        "With more than this on disk, entries are recorded without their payloads.",
        at_least=0,
    )
    hard_limit_bytes: int = setting(
        1024 * _MIB,
        "With more than this on disk, new requests are refused as overloaded. Entries are never dropped.",
        at_least=0,
    )
    fsync: bool = setting(
        default=False,
        doc="Whether a spool file is forced to the medium when it is closed. Needed against loss of power "
        "only: what was written survives the death of the process anyway.",
    )
