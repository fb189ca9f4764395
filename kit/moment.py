"""
Points in time as stores and messages need them: exact to the microsecond, in UTC.

Pure: imports the standard library alone, so `core` modules may use it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kit.clock import Clock

__all__ = ["microseconds", "moment", "now"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(when: datetime) -> int:
    """Return a time as microseconds since 1970."""
    return (when - _EPOCH) // _MICROSECOND


def moment(since_epoch_us: int) -> datetime:
    """
    Return the time that is some microseconds after 1970.

    Raises:
        OverflowError: It is after the year 9999.
    """
    return _EPOCH + since_epoch_us * _MICROSECOND


def now(clock: Clock) -> datetime:
    """Return what time it is."""
    return moment(clock.now_ns() // 1000)
