"""
Counters in Valkey, for several replicas of router: one round trip each, atomic, by the server's clock.

Names of keys hold nothing that callers wrote: what could be somebody's name is hashed, and so are ids of
reservations.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from kit.valkey import Trouble, ValkeyError
from services.router.core.settings import Technique
from services.router.core.windows import Cell, Unit
from services.router.counters.scripts import GIVE_BACK, LOOK, RESERVE, SETTLE
from services.router.counters.store import KNOWN_AGAIN_MS, CountersAwayError, Outcome
from services.router.counters.together import Together

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kit.clock import Clock
    from kit.valkey import Valkey
    from services.router.core.windows import Bucket
    from services.router.counters.store import GivingBack, Scope, Settling, Take

__all__ = ["ValkeyCounters"]

_PREFIX: Final = "hr:c:"
_MEMBERS: Final = 5


class ValkeyCounters:
    """
    Counts in Valkey.

    Args:
        valkey: The server.
        expired: Told how many reservations ran out without having been settled, by whoever notices it.
        clock: The time of day in place of the server's, for tests.
    """

    def __init__(
        self, valkey: Valkey, *, expired: Callable[[int], None] = lambda _: None, clock: Clock | None = None
    ) -> None:
        self._valkey = valkey
        self._reserving = Together(valkey, RESERVE)
        self._expired = expired
        self._clock = clock

    async def reserve(
        self, scope: Scope, reservation_id: str, takes: Sequence[Take], lifetime_ms: int
    ) -> Outcome:
        """Count takes if every bucket admits them, all or none."""
        stem = _stem(scope)
        keys = [f"{stem}due", _record_key(stem, reservation_id), *(stem + take.bucket.key for take in takes)]
        arguments: list[str | int] = [
            self._time(), lifetime_ms, 1 if reservation_id else 0, KNOWN_AGAIN_MS
        ]  # fmt: skip
        for bucket, amount in takes:
            sliding = 1 if bucket.technique is Technique.SLIDING else 0
            arguments += (
                bucket.window_ms,
                bucket.limit,
                amount,
                int(bucket.admit),
                sliding,
                int(bucket.unit),
            )
        try:
            found = await self._reserving.run(keys, arguments)
        except ValkeyError as error:
            raise _away(error) from error
        self._note(found[2])
        return Outcome(
            granted=found[0] == 1, now_ms=found[1], cells=_cells(found[4:]), reserved=found[3] == 1
        )

    async def settle(self, settlings: Sequence[Settling]) -> Sequence[bool]:
        """Put what was used in the place of reservations."""
        calls = []
        for each in settlings:
            stem = _stem(each.scope)
            amounts = (each.amounts.get(Unit.TOKENS, ""), each.amounts.get(Unit.NANO_USD, ""))
            calls.append(
                ([f"{stem}due", _record_key(stem, each.id)], [self._time(), KNOWN_AGAIN_MS, *amounts])
            )
        try:
            found = await self._valkey.run_each(SETTLE, calls)
        except ValkeyError as error:
            raise _away(error) from error
        self._note(sum(each[1] for each in found))
        return [each[0] == 1 for each in found]

    async def look(self, scope: Scope, buckets: Sequence[Bucket]) -> Outcome:
        """Read counters."""
        stem = _stem(scope)
        keys = [f"{stem}due", *(stem + bucket.key for bucket in buckets)]
        arguments = [self._time(), *(bucket.window_ms for bucket in buckets)]
        try:
            found = await self._valkey.run(LOOK, keys, arguments)
        except ValkeyError as error:
            raise _away(error) from error
        self._note(found[1])
        return Outcome(granted=True, now_ms=found[0], cells=_cells(found[2:]))

    async def give_back(self, givings: Sequence[GivingBack]) -> None:
        """Take back requests that were counted and are not used, as far as their windows still matter."""
        calls = []
        for each in givings:
            stem = _stem(each.scope)
            keys = [_record_key(stem, each.id), *(stem + taken.bucket.key for taken in each.taken)]
            arguments = [self._time(), KNOWN_AGAIN_MS if each.id else 0]
            for bucket, window, amount in each.taken:
                arguments += (bucket.window_ms, window, amount)
            calls.append((keys, arguments))
        try:
            await self._valkey.run_each(GIVE_BACK, calls)
        except ValkeyError as error:
            raise _away(error) from error

    def _time(self) -> str | int:
        return "" if self._clock is None else self._clock.now_ns() // 1_000_000

    def _note(self, expired: int) -> None:
        if expired:
            self._expired(expired)


def _away(error: ValkeyError) -> CountersAwayError:
    return CountersAwayError(str(error), lasting=error.trouble in {Trouble.FULL, Trouble.ERROR})


def _stem(scope: Scope) -> str:
    # The braces keep all keys of a gateway in one place of a cluster.
    return f"{_PREFIX}{{{scope.account_id}/{scope.gateway_id}}}:"


def _record_key(stem: str, reservation_id: str) -> str:
    return f"{stem}r:{hashlib.blake2b(reservation_id.encode(), digest_size=16).hexdigest()}"


def _cells(values: Sequence[int]) -> tuple[Cell, ...]:
    return tuple(Cell(*values[place : place + _MEMBERS]) for place in range(0, len(values), _MEMBERS))
