"""
What the spool itself does to a log entry. Everywhere else an entry is bytes.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError

from headrace.ledger.v1 import log_entry_pb2

__all__ = ["interrupted", "without_payload"]


def interrupted(intent: bytes) -> tuple[bytes, bytes] | None:
    """
    Return the entry of a request that died with its edge, and what settles it: empty where nothing does.

    Nothing when the intent is not an entry.
    """
    try:
        entry = log_entry_pb2.LogEntry.FromString(intent)
    except DecodeError:
        return None
    settlement = entry.settlement
    entry.ClearField("settlement")
    entry.outcome = log_entry_pb2.OUTCOME_INTERRUPTED
    return entry.SerializeToString(), settlement


def without_payload(entry: bytes) -> bytes | None:
    """Return an entry without its bodies; nothing when it has none to leave out."""
    try:
        parsed = log_entry_pb2.LogEntry.FromString(entry)
    except DecodeError:
        return None
    if not parsed.HasField("payload"):
        return None
    parsed.ClearField("payload")
    return parsed.SerializeToString()
