"""How long a provider asks to wait, in each of the forms in which providers say it."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?")
# Header families with one reset and one remaining count per limit.
_RESET = "x-ratelimit-reset-"
_RESET_OF_ALL = ("x-ratelimit-reset", "ratelimit-reset", "ratelimitbysize-reset")
# In 2001 since 1970, in seconds and in milliseconds: later than any limit lasts.
_LEAST_MOMENT = 1e9
_LEAST_MILLISECONDS = 1e12
_ANTHROPIC_LIMITS = ("requests", "tokens", "input-tokens", "output-tokens")


def parse_retry_after(headers: Mapping[str, str], *, now_s: float) -> float | None:
    """
    Find out how long to wait before the next try.

    Args:
        headers: The answer's headers, names in lower case.
        now_s: The time now, in seconds since 1970.

    Returns:
        Seconds, never negative. None: the provider did not say, or said it in no known form.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "").strip()
    if value:
        seconds = parse_duration(value)
        return seconds if seconds is not None else _until_http_date(value, now_s)
    return _until_reset(headers, now_s)


def parse_duration(value: str) -> float | None:
    """Read a duration such as `6m0s`, `1h2m3.5s`, `20ms` or a plain number of seconds."""
    value = value.strip()
    plain = _number(value)
    if plain is not None:
        return plain
    match = _DURATION.fullmatch(value)
    if match is None or not value:
        return None
    days, hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds + milliseconds / 1000


def _number(value: str) -> float | None:
    return float(value) if _NUMBER.fullmatch(value.strip()) else None


def _until_http_date(value: str, now_s: float) -> float | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return _until(date, now_s)


def _until(date: datetime, now_s: float) -> float | None:
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    try:
        return max(0.0, date.timestamp() - now_s)
    except (ValueError, OverflowError):
        return None


def _until_reset(headers: Mapping[str, str], now_s: float) -> float | None:
    """Wait for the limits that are used up; for the longest reset where no header tells which those are."""
    waits: list[tuple[float, str]] = []
    # OpenAI has limits for requests and tokens, others more and of other names.
    for name in headers:
        if name.startswith(_RESET) or name in _RESET_OF_ALL:
            wait = _until_moment(headers[name], now_s)
            if wait is not None:
                waits.append((wait, headers.get(name.replace("-reset", "-remaining", 1), "")))
    for limit in _ANTHROPIC_LIMITS:
        moment = headers.get(f"anthropic-ratelimit-{limit}-reset", "")
        wait = _until_timestamp(moment, now_s)
        if wait is not None:
            waits.append((wait, headers.get(f"anthropic-ratelimit-{limit}-remaining", "")))
    used_up = [wait for wait, remaining in waits if remaining.strip() == "0"]
    return max(used_up or [wait for wait, _ in waits], default=None)


def _until_moment(value: str, now_s: float) -> float | None:
    """Read a duration, or a moment since 1970 in seconds or milliseconds, which no duration is as long as."""
    wait = parse_duration(value)
    if wait is None or not math.isfinite(wait):
        return None
    if wait >= _LEAST_MILLISECONDS:
        wait /= 1000
    return max(0.0, wait - now_s) if wait >= _LEAST_MOMENT else wait


def _until_timestamp(value: str, now_s: float) -> float | None:
    try:
        return _until(datetime.fromisoformat(value), now_s)
    except ValueError:
        return None
