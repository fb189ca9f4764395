"""Answers in this process's memory, bounded in bytes."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kit.clock import Clock

__all__ = ["ENTRY_OVERHEAD_BYTES", "MemoryAnswerStore"]

ENTRY_OVERHEAD_BYTES = 400
"""What an entry takes besides its value, measured and rounded up: objects and slots in structures."""


@dataclass(frozen=True, slots=True)
class _Kept:
    value: bytes
    size: int
    expires_s: float


class MemoryAnswerStore:
    """
    Keeps answers, the ones asked for last the longest.

    Attributes:
        evicted_count: Answers that made room for others before their time was over.
        expired_count: Answers thrown away because their time was over.

    Args:
        max_bytes: Most bytes of all answers together.
        max_entry_bytes: Most bytes of one.
        clock: The time.
    """

    def __init__(self, *, max_bytes: int, max_entry_bytes: int, clock: Clock) -> None:
        self._max_bytes = max_bytes
        self._max_entry_bytes = max_entry_bytes
        self._clock = clock
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        # By time of expiry. An entry that was replaced or evicted leaves its mark behind until it comes up.
        self._expiries: list[tuple[float, bytes]] = []
        self._bytes = 0
        self.evicted_count = 0
        self.expired_count = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of all answers together."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, key: bytes) -> bytes | None:
        """Return a value whose time is not over."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.expires_s <= self._clock.monotonic_s():
            self._drop(key)
            self.expired_count += 1
            return None
        self._kept.move_to_end(key)
        return kept.value

    async def put(self, key: bytes, value: bytes, *, ttl_s: float) -> bool:
        """Keep a value in place of any earlier one; false when it is too large to keep."""
        size = len(key) + len(value) + ENTRY_OVERHEAD_BYTES
        self._drop(key)
        if len(value) > self._max_entry_bytes or size > self._max_bytes:
            return False
        self.sweep()
        while self._bytes + size > self._max_bytes:
            self._drop(next(iter(self._kept)))
            self.evicted_count += 1
        expires_s = self._clock.monotonic_s() + ttl_s
        self._kept[key] = _Kept(value, size, expires_s)
        self._bytes += size
        heapq.heappush(self._expiries, (expires_s, key))
        self._compact()
        return True

    async def check(self) -> None:
        """Succeed: memory answers."""

    def sweep(self, limit: int = 100) -> bool:
        """Throw away answers whose time is over, at most so many; true when there may be more."""
        now_s = self._clock.monotonic_s()
        for _ in range(limit):
            if not self._expiries or self._expiries[0][0] > now_s:
                return False
            expires_s, key = heapq.heappop(self._expiries)
            kept = self._kept.get(key)
            if kept is not None and kept.expires_s == expires_s:
                self._drop(key)
                self.expired_count += 1
        return True

    def _drop(self, key: bytes) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= kept.size

    def _compact(self) -> None:
        """Rebuild the expiries when most of them belong to entries that are gone."""
        if len(self._expiries) > 2 * len(self._kept) + 64:
            self._expiries = [(kept.expires_s, key) for key, kept in self._kept.items()]
            heapq.heapify(self._expiries)
