"""Durations as people write them: `30d`, `12h`, `1h30m`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

__all__ = ["parse_duration"]

_PART: Final = re.compile(r"(\d{1,9})([smhdw])")
_UNITS: Final = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
# A century: anything longer is a slip of the keyboard, and "never" is said by saying nothing.
_MOST: Final = timedelta(days=36525)


def parse_duration(text: str) -> timedelta:
    """
    Read a duration.

    Raises:
        ValueError: It is none, or is not above zero and below a century.
    """
    compact = text.strip().lower()
    parts = _PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError(f"{text!r} is not a duration; write 30d, 12h or 45m")
    # Added up in whole numbers first: nine digits of weeks are more than a timedelta holds.
    seconds = sum(int(number) * int(_UNITS[unit].total_seconds()) for number, unit in parts)
    if not 0 < seconds <= _MOST.total_seconds():
        raise ValueError(f"{text!r} is not between one second and a hundred years")
    return timedelta(seconds=seconds)
