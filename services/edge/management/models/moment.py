"""
Times as clients of the management API send them.
"""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["in_utc"]


def in_utc(value: datetime) -> datetime:
    """
    Give a time in UTC, which is also meant where no zone is named.

    Raises:
        ValueError: UTC has no year for it.
    """
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise ValueError("Input should be a time between the years 1 and 9999") from None
