"""Answers in this process's memory, bounded in bytes."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

from services.cache.core.epochs import Epochs
from services.cache.store import Found
from services.cache.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kit.clock import Clock
    from services.cache.core.epochs import Scope
    from services.cache.core.key import Key
    from services.cache.store import Answer, Claim, Wanted

__all__ = ["ENTRY_OVERHEAD_BYTES", "MemoryAnswerStore"]

ENTRY_OVERHEAD_BYTES = 500
"""What an entry takes besides its value, measured and rounded up: objects and slots in structures."""


@dataclass(frozen=True, slots=True)
class _Kept:
    value: bytes
    size: int
    fresh_until_s: float
    expires_s: float
    born: int
    provider: bytes
    request: bytes


@dataclass(frozen=True, slots=True)
class _Claim:
    id: int
    born: int
    request: bytes
    expires_s: float


class MemoryAnswerStore:
    """
    Keeps answers, the ones asked for last the longest.

    Attributes:
        evicted_count: Answers that made room for others before their time was over.
        expired_count: Answers thrown away because their time was over.
        purged_count: Answers thrown away because they were purged.

    Args:
        max_bytes: Most bytes of all answers together.
        claim_s: How long a claim lasts.
        clock: The time.
    """

    def __init__(self, *, max_bytes: int, claim_s: float, clock: Clock) -> None:
        self._max_bytes = max_bytes
        self._claim_s = claim_s
        self._clock = clock
        self._epochs = Epochs(int(clock.now_s() * 1_000_000))
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        # By time of expiry. An entry that was replaced or evicted leaves its mark behind until it comes up.
        self._expiries: list[tuple[float, bytes]] = []
        # All claims last equally long: what was claimed or renewed first comes first.
        self._claims: OrderedDict[bytes, _Claim] = OrderedDict()
        self._claim_ids = count(1)
        self._waiting = Waiting()
        self._bytes = 0
        self.evicted_count = 0
        self.expired_count = 0
        self.purged_count = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of all answers together."""
        return self._bytes

    @property
    def claim_count(self) -> int:
        """Answers that are being fetched."""
        return len(self._claims)

    def __len__(self) -> int:
        return len(self._kept)

    async def find(self, key: Key, wanted: Wanted) -> Found:
        """Look for an answer, and claim it when it is not there."""
        now_s, born = self._clock.monotonic_s(), self._epochs.count
        kept, claim = self._valid(key, now_s), self._claim(key, now_s)
        if key.request and any(each and each.request != key.request for each in (kept, claim)):
            return Found(born=born, conflict=True)
        if not wanted.read:
            return Found(born=born)
        if kept is not None and now_s < kept.fresh_until_s:
            self._kept.move_to_end(key.digest)
            return Found(born=born, value=kept.value)
        claim_id = next(self._claim_ids) if wanted.claims and claim is None else 0
        if claim_id:
            self._claims[key.digest] = _Claim(claim_id, born, key.request, now_s + self._claim_s)
        old = None
        if kept is not None and now_s < kept.fresh_until_s + wanted.stale_s:
            self._kept.move_to_end(key.digest)
            old = kept.value
        return Found(
            born=born,
            value=old,
            stale=old is not None,
            claimed=claim_id > 0,
            taken=claim is not None,
            claim_id=claim_id,
        )

    async def changed(self, key: Key, left_s: float) -> None:
        """Wait until there may be something new about a key that is taken, or for so long."""
        now_s = self._clock.monotonic_s()
        claim = self._claim(key, now_s)
        if claim is not None:
            await self._waiting.wait(key.digest, min(left_s, claim.expires_s - now_s))

    async def put(self, key: Key, answer: Answer) -> bool:
        """Keep an answer in place of any earlier one, and end the claim; false when it is not kept."""
        is_kept = key.born >= self._epochs.of(key, answer.provider) and self._put(key, answer)
        await self.release(key)
        return is_kept

    async def release(self, key: Key) -> None:
        """End the claim on a key."""
        claim = self._claims.get(key.digest)
        if claim is not None and claim.born > key.born:
            # Of somebody who asked after a purge, which came after this key.
            return
        self._claims.pop(key.digest, None)
        self._waiting.wake(key.digest)

    async def renew(self, claims: Sequence[Claim]) -> list[bool]:
        """Let claims last for their time again, and say which are still there."""
        now_s = self._clock.monotonic_s()
        self._end_claims(now_s)
        return [self._renew(claim, now_s + self._claim_s) for claim in claims]

    async def purge(self, scope: Scope) -> None:
        """Forget answers, and those that are being fetched now."""
        self._epochs.purge(scope)
        # Some wait for what nobody will be given.
        self._waiting.wake_all()

    def sweep(self, limit: int = 100) -> bool:
        """Throw away answers and claims whose time is over, at most so many; true when there may be more."""
        now_s = self._clock.monotonic_s()
        self._end_claims(now_s)
        for _ in range(limit):
            if not self._expiries or self._expiries[0][0] > now_s:
                return False
            expires_s, digest = heapq.heappop(self._expiries)
            kept = self._kept.get(digest)
            if kept is not None and kept.expires_s == expires_s:
                self._drop(digest)
                self.expired_count += 1
        return True

    def _put(self, key: Key, answer: Answer) -> bool:
        size = len(key.digest) + len(answer.value) + ENTRY_OVERHEAD_BYTES
        self._drop(key.digest)
        if size > self._max_bytes:
            return False
        self.sweep()
        while self._bytes + size > self._max_bytes:
            self._drop(next(iter(self._kept)))
            self.evicted_count += 1
        fresh_until_s = self._clock.monotonic_s() + answer.ttl_s
        expires_s = fresh_until_s + answer.stale_s
        self._kept[key.digest] = _Kept(
            answer.value, size, fresh_until_s, expires_s, key.born, answer.provider, key.request
        )
        self._bytes += size
        heapq.heappush(self._expiries, (expires_s, key.digest))
        self._compact()
        return True

    def _valid(self, key: Key, now_s: float) -> _Kept | None:
        """Give what is kept under a key and of use to anybody; throw away what is not."""
        kept = self._kept.get(key.digest)
        if kept is None:
            return None
        if kept.expires_s <= now_s:
            self.expired_count += 1
        elif kept.born < self._epochs.of(key, kept.provider):
            self.purged_count += 1
        else:
            return kept
        self._drop(key.digest)
        return None

    def _claim(self, key: Key, now_s: float) -> _Claim | None:
        self._end_claims(now_s)
        claim = self._claims.get(key.digest)
        if claim is not None and claim.born < self._epochs.of(key):
            del self._claims[key.digest]
            return None
        return claim

    def _renew(self, claim: Claim, expires_s: float) -> bool:
        digest = claim.key.digest
        held = self._claims.get(digest)
        # Names begin anew with the process, and counts of purges do not.
        if held is None or (held.id, held.born) != (claim.id, claim.key.born):
            return False
        self._claims[digest] = replace(held, expires_s=expires_s)
        self._claims.move_to_end(digest)
        return True

    def _end_claims(self, now_s: float) -> None:
        while self._claims:
            digest, claim = next(iter(self._claims.items()))
            if claim.expires_s > now_s:
                break
            del self._claims[digest]
            self._waiting.wake(digest)

    def _drop(self, digest: bytes) -> None:
        kept = self._kept.pop(digest, None)
        if kept is not None:
            self._bytes -= kept.size

    def _compact(self) -> None:
        """Rebuild the expiries when most of them belong to entries that are gone."""
        if len(self._expiries) > 2 * len(self._kept) + 64:
            self._expiries = [(kept.expires_s, digest) for digest, kept in self._kept.items()]
            heapq.heapify(self._expiries)
