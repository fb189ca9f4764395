"""
A ledger as the spool sees it: takes serialised entries, keeps the first of an id, and fails on demand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.ledger.v1 import log_entry_pb2
from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence


def unavailable() -> GatewayError:
    """Make the error of a ledger that cannot be reached."""
    return GatewayError(Reason.SERVICE_UNAVAILABLE, "The ledger is away.", service="ledger")


class LedgerSink:
    """
    Remembers entries.

    Attributes:
        entries: What was recorded, by id.
        down: Whether every call fails at once.
        fail_after: Entries to record before the next call fails without acknowledging them; None: no failure.
        refuses: Ids that spoil the batch they are in.
        breaks: Ids that make it fail as if by a bug.
        broken: Whether every call fails as if by a bug.
        calls: How often it was called.
        batches: How many entries came with each call that succeeded.
    """

    def __init__(self) -> None:
        self.entries: dict[str, log_entry_pb2.LogEntry] = {}
        self.down = False
        self.fail_after: int | None = None
        self.refuses: set[str] = set()
        self.breaks: set[str] = set()
        self.broken = False
        self.calls = 0
        self.batches: list[int] = []

    async def __call__(self, entries: Sequence[bytes]) -> None:
        """Record entries."""
        self.calls += 1
        if self.down:
            raise unavailable()
        parsed = [log_entry_pb2.LogEntry.FromString(entry) for entry in entries]
        if any(entry.id in self.refuses for entry in parsed):
            raise GatewayError(Reason.INVALID_REQUEST, "An entry is wrong.")
        if self.broken or any(entry.id in self.breaks for entry in parsed):
            raise GatewayError(Reason.INTERNAL, "The ledger service failed.", service="ledger")
        accepted = parsed if self.fail_after is None else parsed[: self.fail_after]
        for entry in accepted:
            self.entries.setdefault(entry.id, entry)
        if self.fail_after is not None:
            self.fail_after = None
            raise unavailable()
        self.batches.append(len(parsed))
