"""
Makes identifiers: UUID version 7 (RFC 9562, section 5.7), which sort by the time they were made.

Log entries, requests and accounts are named by these, so an index on the id is an index on time.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_RANDOM_BITS = 74  # what RFC 9562 leaves besides 48 bits of time, 4 of version and 2 of variant
_RANDOM_MASK = (1 << _RANDOM_BITS) - 1
# The next id in the same millisecond adds a random step of up to 2**32, so that an id does not tell the one
# after it; 2**42 ids fit into one millisecond before the clock has to be pushed on.
_STEP_BYTES = 4
_POOL_BYTES = 4096


class _Pool:
    """
    Randomness from the system, fetched for many ids at once: asking for each costs more than making one.

    Not safe for several threads by itself; `UuidSource` holds a lock around it.
    """

    def __init__(self) -> None:
        self._bytes = b""
        self._at = 0

    def __call__(self, count: int) -> bytes:
        """Return bytes that were never returned before."""
        if self._at + count > len(self._bytes):
            self._bytes = os.urandom(_POOL_BYTES)
            self._at = 0
        self._at += count
        return self._bytes[self._at - count : self._at]


class UuidSource:
    """
    Makes UUIDs that only ever grow, within this object, even when the clock stands or goes back.

    Args:
        now_ns: Wall clock in nanoseconds.
        random_bytes: Source of randomness; the system's when absent.
    """

    def __init__(
        self,
        now_ns: Callable[[], int] = time.time_ns,
        random_bytes: Callable[[int], bytes] | None = None,
    ) -> None:
        self._now_ns = now_ns
        self._random_bytes = random_bytes or _Pool()
        self._lock = threading.Lock()
        self._time_ms = -1
        self._random = 0

    def __call__(self) -> str:
        """Return the next id in the usual lower-case form."""
        with self._lock:
            time_ms, random = self._next()
        high = random >> 62
        low = random & 0x3FFFFFFFFFFFFFFF
        value = (time_ms << 80) | (0x7000 | high) << 64 | 0x8000000000000000 | low
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def _next(self) -> tuple[int, int]:
        now_ms = self._now_ns() // 1_000_000
        if now_ms > self._time_ms:
            self._time_ms = now_ms
            # The top bit stays clear to leave room for the steps.
            self._random = int.from_bytes(self._random_bytes(10)) & (_RANDOM_MASK >> 1)
        else:
            self._random += 1 + int.from_bytes(self._random_bytes(_STEP_BYTES))
            if self._random > _RANDOM_MASK:
                self._time_ms += 1
                self._random &= _RANDOM_MASK >> 1
        return self._time_ms, self._random


# One per process: ids made by different services of one process must not go back either. It holds no setting
# and nothing that a test would need to reset.
uuid7 = UuidSource()
