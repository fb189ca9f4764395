"""Settings of the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from kit.config import setting

__all__ = ["CALLERS", "LedgerConfig"]

_READERS: Final = frozenset({"edge", "cli"})
CALLERS: Final = {
    "Record": frozenset({"edge"}),
    "List": _READERS,
    "Get": _READERS,
    "GetPayload": _READERS,
    "UpdateEntry": _READERS,
    "DeleteEntries": _READERS,
}
"""Who may record, and who may read and tidy up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerConfig:
    """What the ledger keeps, and how surely."""

    PREFIX: ClassVar[str] = "HEADRACE_LEDGER_"

    max_entries: int = setting(
        10_000_000,
        "Most entries kept; when there are more, the oldest go, with their bodies. The default is the public "
        "product's limit.",
        at_least=1,
    )
    trim_interval_s: float = setting(
        60.0, "How often it is looked whether entries must go, in seconds.", at_least=0.01
    )
    synchronous: Literal["NORMAL", "FULL"] = setting(
        "FULL",
        "FULL forces every batch to the medium before it is acknowledged, so that not even a loss of power "
        "takes an acknowledged entry. NORMAL survives the death of the process only, and is for slow disks.",
    )
