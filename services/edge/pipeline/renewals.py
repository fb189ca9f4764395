"""
Keeps what this edge undertook to fetch its own, for as long as the calls take.

One timer renews the claims of all calls, those that are due soon together. A call that is over before its
first renewal costs an entry in a table. When this edge dies nobody renews them, and they end by themselves.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from headrace.cache.v1 import cache_service_pb2
from kit.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.cache.v1.cache_service_pb2_grpc import CacheServiceAsyncStub
    from kit.clock import Clock
    from services.edge.pipeline.flight import Flight

__all__ = ["HeldClaim", "Renewals"]

# In parts of a claim's life: when it is renewed, how much sooner it may be when others are, and when it is
# tried again after the cache could not be asked.
_PERIOD: Final = 1 / 3
_COMPANY: Final = 1 / 6
_RETRY: Final = 1 / 12
# What the cache takes at once.
_BATCH: Final = 1000
_MICROSECONDS: Final = 1_000_000


@dataclass(slots=True, kw_only=True, eq=False)
class HeldClaim:
    """
    A claim that the cache gave us.

    Attributes:
        key: What it is on.
        id: Its name.
        life_s: How long it lasts.
        due_s: When it is to be renewed, by the clock.
        flight: The call that it was given for.
        is_lost: Whether the cache said that it is over: somebody else may have one on the key.
    """

    key: bytes
    id: int
    life_s: float
    due_s: float
    flight: Flight
    is_lost: bool = False


class Renewals:
    """
    Renews claims. What goes wrong with it changes nothing for a request: somebody else may fetch the same.

    Args:
        stub: The cache.
        timeout_s: How long a renewal may take.
        clock: The time.
        log: Where defects are told.
    """

    def __init__(self, stub: CacheServiceAsyncStub, *, timeout_s: float, clock: Clock, log: Any) -> None:
        self._stub = stub
        self._timeout_s = timeout_s
        self._clock = clock
        self._log = log
        self._held: dict[HeldClaim, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0
        self._renewing: asyncio.Task[None] | None = None

    def hold(self, found: cache_service_pb2.LookupResponse, flight: Flight) -> HeldClaim | None:
        """Begin to renew a claim that a lookup gave; None where it cannot be renewed."""
        life_s = found.claim_lifetime.ToMicroseconds() / _MICROSECONDS if found.claim_id else 0.0
        if not life_s:
            return None
        held = HeldClaim(
            key=found.key,
            id=found.claim_id,
            life_s=life_s,
            due_s=self._clock.monotonic_s() + life_s * _PERIOD,
            flight=flight,
        )
        self._held[held] = None
        if self._renewing is None and (self._timer is None or held.due_s < self._timer_s):
            self._set_timer(held.due_s)
        return held

    def let_go(self, held: HeldClaim) -> None:
        """Renew a claim no more."""
        self._held.pop(held, None)

    async def renew_due(self) -> None:
        """Renew what is due, and what will be soon."""
        now_s, due = self._clock.monotonic_s(), []
        for held in list(self._held):
            if not held.flight.may_be_kept:
                # Those who wait for its answer would wait in vain.
                self.let_go(held)
            elif held.due_s <= now_s + held.life_s * _COMPANY:
                due.append(held)
        for start in range(0, len(due), _BATCH):
            await self._renew(due[start : start + _BATCH])

    async def close(self) -> None:
        """Stop."""
        self._held.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait((self._renewing,))

    async def _renew(self, batch: Sequence[HeldClaim]) -> None:
        now_s = self._clock.monotonic_s()
        claims = [cache_service_pb2.Claim(key=held.key, id=held.id) for held in batch]
        try:
            answer = await self._stub.Renew(
                cache_service_pb2.RenewRequest(claims=claims), timeout=self._timeout_s
            )
        except GatewayError as error:
            self._log.debug("claims not renewed", reason=error.reason, count=len(batch))
            for held in batch:
                held.due_s = now_s + held.life_s * _RETRY
            return
        for held, is_kept in zip(batch, answer.kept, strict=True):
            held.due_s = now_s + held.life_s * _PERIOD
            if not is_kept:
                held.is_lost = True
                self.let_go(held)

    def _set_timer(self, due_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = due_s
        pause_s = max(0.0, due_s - self._clock.monotonic_s())
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self._held:
            self._renewing = asyncio.create_task(self._turn(), name="renewals")

    async def _turn(self) -> None:
        try:
            await self.renew_due()
        except Exception as failure:  # noqa: BLE001 - a task of its own: nobody else would tell
            self._log.error("claims not renewed", exc_info=failure)
            now_s = self._clock.monotonic_s()
            for held in self._held:
                held.due_s = max(held.due_s, now_s + held.life_s * _RETRY)
        finally:
            self._renewing = None
        if self._held:
            self._set_timer(min(held.due_s for held in self._held))
