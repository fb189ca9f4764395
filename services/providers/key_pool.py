"""
Which of several stored keys the next request is made with.

Keys are taken by weight, in turns that are as even as their weights allow. One that its provider refuses
steps aside for a while, and comes back with few requests at first. Each process keeps count for itself: with
several, a key's `rate_limit` holds for each of them.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from kit.clock import Clock
    from kit.secret import Secret

__all__ = ["KeyPools", "Lease", "Refusal", "StoredKey"]

# A key that was revoked seldom becomes good again; one that was mistyped is replaced, and starts anew.
_INVALID_FIRST_S: Final = 60.0
_INVALID_MOST_S: Final = 600.0
# Limits are counted by the minute mostly; a provider that knows better says so.
_LIMITED_FIRST_S: Final = 5.0
_LIMITED_MOST_S: Final = 300.0
# A provider that asks for days may mean a quota that the operator raises in the meantime.
_RETRY_AFTER_MOST_S: Final = 3600.0
# How long a key takes to get its whole share again, and with which part of it it begins.
_RAMP_S: Final = 30.0
_RAMP_LEAST: Final = 0.1
# A key that was not asked for in this time is forgotten, once it is no longer aside.
_IDLE_S: Final = 3600.0


class Refusal(StrEnum):
    """Why a provider refused a key."""

    INVALID = "invalid"
    LIMITED = "limited"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """
    A key that an account keeps with us.

    Attributes:
        id: Its identifier.
        secret: The key itself.
        weight: Share of requests, at least 1.
        rate_limit: Most requests in `period_s`; None: any number.
        period_s: Time in which `rate_limit` counts.
    """

    id: str
    secret: Secret
    weight: int = 1
    rate_limit: int | None = None
    period_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A key that is being used, since when."""

    key: StoredKey
    at_s: float


@dataclass(slots=True, kw_only=True)
class _State:
    """
    What is known of a key beside what auth says.

    Attributes:
        secret: Hash of its text: another text is another key.
        balance: How much is due to it in the turns.
        aside_until_s: When it comes back, or came back.
        refused_at_s: When it was last told to step aside.
        refusals: How often in a row.
        window_until_s: When `used` begins again.
        used: Requests in the window.
        seen_at_s: When it was last asked for.
    """

    secret: int
    balance: float = 0.0
    aside_until_s: float = -math.inf
    refused_at_s: float = -math.inf
    refusals: int = 0
    window_until_s: float = -math.inf
    used: int = 0
    seen_at_s: float = field(default=-math.inf)

    def share(self, weight: int, now_s: float) -> float:
        """Return the weight as it is now."""
        return weight * min(1.0, max(_RAMP_LEAST, (now_s - self.aside_until_s) / _RAMP_S))

    def is_open(self, key: StoredKey, now_s: float) -> bool:
        """Tell whether the key's own limit allows one more request."""
        return key.rate_limit is None or now_s >= self.window_until_s or self.used < key.rate_limit


class KeyPools:
    """
    Chooses keys, and remembers how they were taken.

    Args:
        clock: The time.
        capacity: Most keys remembered; the one that was not asked for longest goes first.
    """

    def __init__(self, clock: Clock, *, capacity: int = 20_000) -> None:
        self._clock = clock
        self._capacity = capacity
        self._states: OrderedDict[str, _State] = OrderedDict()

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._states)

    def choose(
        self, keys: Sequence[StoredKey], *, provider: str, tried: Collection[str] = ()
    ) -> Lease | None:
        """
        Choose the key for a request.

        Args:
            keys: The pool.
            provider: Whose keys they are, for the error.
            tried: Ids of those that this request was refused with already.

        Returns:
            None: no other key is worth a try. A first try always has one: with all keys aside, the one that
            comes back first.

        Raises:
            GatewayError: RATE_LIMITED; all keys have reached limits of their own.
        """
        now_s = self._clock.monotonic_s()
        left = [(key, self._state(key, now_s)) for key in keys if key.id not in tried]
        within = [pair for pair in left if pair[1].is_open(pair[0], now_s)]
        ready = [pair for pair in within if pair[1].aside_until_s <= now_s]
        if ready:
            key, state = _next_turn(ready, now_s)
        elif tried or not left:
            return None
        elif within:
            key, state = min(within, key=lambda pair: pair[1].aside_until_s)
        else:
            wait_s = min(state.window_until_s for _, state in left) - now_s
            text = f"Every stored key of the provider {provider} has reached its rate limit."
            raise GatewayError(Reason.RATE_LIMITED, text, retry_after_s=max(1.0, wait_s), provider=provider)
        _count(key, state, now_s)
        return Lease(key=key, at_s=now_s)

    def taken(self, lease: Lease) -> None:
        """Hear that a key was taken: one that was aside comes back."""
        state = self._states.get(lease.key.id)
        # What was asked before the key was refused says nothing about it now.
        if state is None or lease.at_s < state.refused_at_s:
            return
        state.refusals = 0
        state.aside_until_s = min(state.aside_until_s, self._clock.monotonic_s())

    def refused(self, lease: Lease, refusal: Refusal, retry_after_s: float | None = None) -> None:
        """Hear that a key was refused: it steps aside, for longer each time."""
        now_s = self._clock.monotonic_s()
        state = self._state(lease.key, now_s)
        asked_s = None if retry_after_s is None else min(retry_after_s, _RETRY_AFTER_MOST_S)
        if lease.at_s < state.refused_at_s:
            # One of many that were on their way together, which count once.
            state.aside_until_s = max(state.aside_until_s, now_s + (asked_s or 0.0))
            return
        first_s, most_s = (
            (_INVALID_FIRST_S, _INVALID_MOST_S)
            if refusal is Refusal.INVALID
            else (_LIMITED_FIRST_S, _LIMITED_MOST_S)
        )
        pause_s = min(most_s, first_s * 2.0 ** min(state.refusals, 10))
        if refusal is Refusal.LIMITED and asked_s is not None:
            pause_s = asked_s
        state.refusals += 1
        state.refused_at_s = now_s
        state.aside_until_s = now_s + pause_s

    def prune(self) -> None:
        """Forget keys that nobody asks for any more."""
        now_s = self._clock.monotonic_s()
        idle = [
            name
            for name, state in self._states.items()
            if now_s - state.seen_at_s > _IDLE_S
            and state.aside_until_s <= now_s
            and state.window_until_s <= now_s
        ]
        for name in idle:
            del self._states[name]

    def _state(self, key: StoredKey, now_s: float) -> _State:
        secret = hash(key.secret)
        state = self._states.get(key.id)
        if state is None or state.secret != secret:
            state = self._states[key.id] = _State(secret=secret)
        self._states.move_to_end(key.id)
        state.seen_at_s = now_s
        while len(self._states) > self._capacity:
            self._states.popitem(last=False)
        return state


def _next_turn(ready: list[tuple[StoredKey, _State]], now_s: float) -> tuple[StoredKey, _State]:
    """Give each key what is due to it, and take the one to which most is: its turns spread evenly."""
    total = 0.0
    chosen = ready[0]
    for pair in ready:
        share = pair[1].share(pair[0].weight, now_s)
        total += share
        pair[1].balance += share
        if pair[1].balance > chosen[1].balance:
            chosen = pair
    chosen[1].balance -= total
    return chosen


def _count(key: StoredKey, state: _State, now_s: float) -> None:
    if key.rate_limit is None:
        return
    if now_s >= state.window_until_s:
        state.window_until_s, state.used = now_s + key.period_s, 0
    state.used += 1
