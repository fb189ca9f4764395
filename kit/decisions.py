"""
Decisions of another service, kept for as long as that service said.

`Authenticate` and `Plan` answers carry a `Lifetime`; this is the one place that honours it. An answer is
reused while the `Watch` stream that could void it is open; when the stream is lost the service is asked
again; when it cannot be reached, or fails without deciding, the last answer goes on through its grace period.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from headrace.common.v1 import lifetime_pb2

__all__ = ["DecisionCache", "Fetched"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# Decisions to refuse, which end an earlier decision to admit. Every other failure is trouble of the service
# or of the way to it: nothing was decided.
_REFUSALS = frozenset(
    {
        Reason.INVALID_REQUEST, Reason.BAD_CHAT_FORMAT, Reason.UNAUTHENTICATED, Reason.PERMISSION_DENIED,
        Reason.GATEWAY_NOT_FOUND, Reason.INVALID_PROVIDER, Reason.NOT_FOUND, Reason.UNSUPPORTED,
        Reason.CREDENTIAL_MISSING, Reason.ALIAS_NOT_FOUND, Reason.RATE_LIMITED, Reason.SPEND_LIMITED,
        Reason.ALL_STEPS_FAILED, Reason.CALLER_NOT_ALLOWED,
    }
)  # fmt: skip

# Failures that will meet the next question too, whatever it is about. An error like INTERNAL may be about one
# question alone, so it does not stop those about others.
_AWAY = frozenset({Reason.SERVICE_UNAVAILABLE, Reason.DEADLINE_EXCEEDED, Reason.OVERLOADED})

# While a service is known to be away, stale answers are used without knocking again for this long.
_KNOCK_EVERY_S = 0.5

# How long a question without an earlier answer waits for a service that was there and is away: as long as one
# needs to start again, or to be found again by somebody whose host was cut off.
_PATIENCE_S = 2.0

_RECONNECT_FIRST_S = 0.05
_RECONNECT_MOST_S = 0.5


@dataclass(frozen=True, slots=True)
class Fetched(Generic[V]):
    """A decision as the service gave it."""

    value: V
    lifetime: lifetime_pb2.Lifetime


@dataclass(frozen=True, slots=True)
class _Entry(Generic[V]):
    value: V
    fresh_until: float
    grace_until: float
    scope: str


class DecisionCache(Generic[K, V]):
    """
    Keeps decisions by key, asks for each at most once at a time, and forgets what was voided.

    What may not be reused is for the one that asked: whoever waited for it beside them asks again, alone.

    Args:
        capacity: Most decisions kept; the oldest goes first.
        log: Where changes of the watch are told.
        clock: Seconds that only ever grow.
    """

    def __init__(self, *, capacity: int, log: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._log = log
        self._clock = clock
        self._entries: dict[K, _Entry[V]] = {}
        self._flights: dict[K, asyncio.Task[tuple[V, bool]]] = {}
        self._watched = False
        self._back = asyncio.Event()
        self._generation: int | None = None
        self._voided: dict[str, int] = {}
        self._absent_until = 0.0

    def __len__(self) -> int:
        """Return how many decisions are in memory, whether or not they may still be used."""
        return len(self._entries)

    @property
    def watched(self) -> bool:
        """True while the stream that voids decisions is open."""
        return self._watched

    @property
    def heard(self) -> bool:
        """True once the service has been heard of at all."""
        return self._generation is not None

    def fresh(self, key: K) -> V | None:
        """Give a decision that may be used without asking, or None."""
        if not self._watched:
            return None
        entry = self._entries.get(key)
        if entry is None or self._clock() >= entry.fresh_until:
            return None
        return entry.value

    async def get(self, key: K, fetch: Callable[[], Awaitable[Fetched[V]]]) -> V:
        """
        Give a decision, asking for it where needed.

        Args:
            key: All that the decision depends on.
            fetch: Asks the service.

        Raises:
            GatewayError: The service refused, or did not decide and no earlier decision is within its grace.
        """
        value = self.fresh(key)
        if value is not None:
            return value
        entry = self._entries.get(key)
        if entry is not None and self._clock() < min(self._absent_until, entry.grace_until):
            return entry.value
        flight = self._flights.get(key)
        first = flight is None
        if flight is None:
            flight = asyncio.create_task(self._fetch(key, fetch))
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._landed(key, done))
        found, is_for_all = await asyncio.shield(flight)
        if not (first or is_for_all):
            # It was drawn, or counted, for the other.
            found, _ = await self._fetch(key, fetch)
        return found

    def purge(self) -> None:
        """Forget what may not be used any more; whoever keeps secrets calls it now and then."""
        now = self._clock()
        gone = [key for key, entry in self._entries.items() if now >= entry.grace_until]
        for key in gone:
            del self._entries[key]

    async def follow(self, watch: Callable[[], AsyncIterator[lifetime_pb2.Invalidation]]) -> None:
        """
        Follow the stream of invalidations for ever, opening it again when it ends.

        Args:
            watch: Opens the stream.
        """
        pause_s = _RECONNECT_FIRST_S
        while True:
            try:
                first = True
                async for event in watch():
                    self._heard(event, first=first)
                    first, pause_s = False, _RECONNECT_FIRST_S
            except GatewayError as error:
                self._log.debug("watch lost", reason=error.reason)
            finally:
                self._watched = False
                self._back.clear()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _RECONNECT_MOST_S)

    def _heard(self, event: lifetime_pb2.Invalidation, *, first: bool) -> None:
        missed_nothing = first and event.generation == self._generation
        self._generation = event.generation
        self._watched = True
        self._back.set()
        self._absent_until = 0.0
        if missed_nothing:
            return
        # Whoever asks from now on must not get an answer that was on its way before. The scope of a flight is
        # known when it has landed, so all are left to those who wait for them already.
        self._flights.clear()
        if event.scope:
            self._voided[event.scope] = event.generation
            self._entries = {key: entry for key, entry in self._entries.items() if entry.scope != event.scope}
        else:
            self._voided = {"": event.generation}
            self._entries.clear()

    async def _fetch(
        self, key: K, fetch: Callable[[], Awaitable[Fetched[V]]], *, patient: bool = True
    ) -> tuple[V, bool]:
        """Ask; tells whether the answer is for all who wait for one."""
        try:
            fetched = await fetch()
        except GatewayError as error:
            if error.reason in _REFUSALS:
                self._entries.pop(key, None)
                raise
            now = self._clock()
            if error.reason in _AWAY:
                self._absent_until = now + _KNOCK_EVERY_S
            entry = self._entries.get(key)
            if entry is not None and now < entry.grace_until:
                return entry.value, True
            if not (patient and error.reason is Reason.SERVICE_UNAVAILABLE and await self._comes_back()):
                raise
            return await self._fetch(key, fetch, patient=False)
        self._keep(key, fetched)
        return fetched.value, _reuse_s(fetched.lifetime) > 0

    async def _comes_back(self) -> bool:
        """Wait until a service that was lost is heard of, but not for long."""
        if not self.heard:
            return False
        try:
            # The end of the stream may be noticed a moment after that of the call.
            await asyncio.sleep(_RECONNECT_FIRST_S)
            async with asyncio.timeout(_PATIENCE_S):
                await self._back.wait()
        except TimeoutError:
            return False
        return True

    def _keep(self, key: K, fetched: Fetched[V]) -> None:
        lifetime = fetched.lifetime
        reuse_s = _reuse_s(lifetime)
        voided = max(self._voided.get("", 0), self._voided.get(lifetime.scope, 0))
        # An answer that was on its way while its ground changed serves those who waited for it, nobody else.
        if lifetime.generation < voided:
            return
        self._entries.pop(key, None)
        if reuse_s <= 0:
            return
        while len(self._entries) >= self._capacity:
            del self._entries[next(iter(self._entries))]
        fresh_until = self._clock() + reuse_s
        grace_s = lifetime.grace.seconds + lifetime.grace.nanos / 1e9
        self._entries[key] = _Entry(fetched.value, fresh_until, fresh_until + grace_s, lifetime.scope)

    def _landed(self, key: K, flight: asyncio.Task[tuple[V, bool]]) -> None:
        if self._flights.get(key) is flight:  # else a later one took its place
            del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # everyone who waited may be gone; the failure is then nobody's


def _reuse_s(lifetime: lifetime_pb2.Lifetime) -> float:
    return lifetime.reuse_for.seconds + lifetime.reuse_for.nanos / 1e9
