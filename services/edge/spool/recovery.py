"""
What an earlier life left in a directory: its files, and the requests that it did not finish. Blocks.

Files are only ever deleted oldest first, and an intent is never newer than its final record. So a request
whose intent is found and whose final record is not was still running when the process died, or was recorded
long ago; in the latter case the ledger knows its id and ignores what is sent again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.edge.spool.claim import ADOPTED
from services.edge.spool.record import Kind, scan
from services.edge.spool.segment import Segment, segments_in

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Leftovers", "collect"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftovers:
    """
    What was found.

    Attributes:
        segments: The files, in the order in which to ship them.
        last_number: Number of the newest file of the directory itself; zero when there is none.
        unfinished: Intents without a final record, by log id.
        corrupt_count: Damaged places passed over.
        torn_count: Files that end in an unfinished record.
    """

    segments: tuple[Segment, ...]
    last_number: int
    unfinished: dict[str, bytes]
    corrupt_count: int
    torn_count: int


def collect(directory: Path) -> Leftovers:
    """Look through a directory and those adopted into it."""
    segments = segments_in(directory)
    last_number = segments[-1].number if segments else 0
    unfinished: dict[str, bytes] = {}
    corrupt = torn = 0
    for segment in segments:
        content = scan(segment.path.read_bytes(), salt=segment.salt)
        corrupt += content.corrupt_count
        torn += content.torn_bytes > 0
        for record in content.records:
            if record.kind is Kind.INTENT:
                unfinished[record.log_id] = record.payload
                segment.intents.append(record.log_id)
            else:
                unfinished.pop(record.log_id, None)
    for adopted in sorted(directory.glob(f"{ADOPTED}*")):
        inner = collect(adopted)
        segments = [*inner.segments, *segments]
        unfinished |= inner.unfinished
        corrupt += inner.corrupt_count
        torn += inner.torn_count
        with suppress(OSError):  # not empty
            adopted.rmdir()
    return Leftovers(
        segments=tuple(segments),
        last_number=last_number,
        unfinished=unfinished,
        corrupt_count=corrupt,
        torn_count=torn,
    )
