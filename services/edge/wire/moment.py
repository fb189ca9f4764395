"""Times as the management API writes them: RFC 3339, UTC, milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

__all__ = ["iso", "iso_or_none"]


def iso(stamp: Timestamp) -> str:
    """Write a time."""
    moment = datetime.fromtimestamp(stamp.seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{stamp.nanos // 1_000_000:03d}Z"


def iso_or_none(stamp: Timestamp) -> str | None:
    """Write a time; None where none was set."""
    return iso(stamp) if stamp.seconds or stamp.nanos else None
