"""Which stored key is taken, with a clock that stands."""

from __future__ import annotations

from collections import Counter

import pytest

from kit.errors import GatewayError, Reason
from kit.secret import Secret
from services.providers.key_pool import KeyPools, Lease, Refusal, StoredKey
from tests.fakes.stopped_clock import StoppedClock


class World:
    """A pool, and a clock that the test moves."""

    def __init__(self, *keys: StoredKey, capacity: int = 100) -> None:
        self.clock = StoppedClock()
        self.pools = KeyPools(self.clock, capacity=capacity)
        self.keys = list(keys)

    def lease(self, *tried: str) -> Lease | None:
        """Choose a key."""
        return self.pools.choose(self.keys, provider="openai", tried=tried)

    def first(self) -> Lease:
        """Choose a key for a first try."""
        lease = self.lease()
        assert lease is not None
        return lease

    def name(self, *tried: str) -> str:
        """Choose a key, and return its id; empty when there is none."""
        lease = self.lease(*tried)
        return lease.key.id if lease is not None else ""

    def names(self, count: int) -> str:
        """Choose some keys one after the other."""
        return "".join(self.name() for _ in range(count))

    def refuse(self, name: str, refusal: Refusal, retry_after_s: float | None = None) -> None:
        """Have the provider refuse a key that was sent just now."""
        key = next(key for key in self.keys if key.id == name)
        self.pools.refused(Lease(key=key, at_s=self.clock.monotonic_s()), refusal, retry_after_s)


def key(name: str, weight: int = 1, rate_limit: int | None = None, period_s: float = 60.0) -> StoredKey:
    """Make a key."""
    return StoredKey(
        id=name, secret=Secret(f"sk-{name}"), weight=weight, rate_limit=rate_limit, period_s=period_s
    )


def test_keys_take_turns() -> None:
    """Keys of the same weight are taken one after the other."""
    assert "abcabc" == World(key("a"), key("b"), key("c")).names(6)


def test_turns_follow_weights_evenly() -> None:
    """A key of three times the weight gets three times the turns, and not all of them at once."""
    assert "aabaaaba" == World(key("a", weight=3), key("b")).names(8)


def test_what_was_tried_is_not_taken_again() -> None:
    """A further try gets another key, as long as there is one."""
    world = World(key("a"), key("b"))

    assert ["b", "a", ""] == [world.name("a"), world.name("b"), world.name("a", "b")]


@pytest.mark.parametrize("refusal", list(Refusal))
def test_a_refused_key_steps_aside(refusal: Refusal) -> None:
    """While a key is aside the others are taken."""
    world = World(key("a"), key("b"), key("c"))
    world.refuse("a", refusal)

    assert {"b": 3, "c": 3} == Counter(world.names(6))


@pytest.mark.parametrize(
    ("refusal", "pauses_s"),
    [
        (Refusal.INVALID, [60, 120, 240, 480, 600, 600]),
        (Refusal.LIMITED, [5, 10, 20, 40, 80, 160, 300, 300]),
    ],
)
def test_pauses_grow(refusal: Refusal, pauses_s: list[int]) -> None:
    """A key that is refused again and again stays away for longer each time, up to a bound."""
    world = World(key("a"), key("b"))

    for pause_s in pauses_s:
        world.refuse("a", refusal)
        world.clock.advance(pause_s - 0.5)
        assert "bbbb" == world.names(4)
        world.clock.advance(1.0)
        assert "a" in world.names(40)


def test_a_provider_says_how_long() -> None:
    """Where the provider says how long to wait, that is how long a key stays away."""
    world = World(key("a"), key("b"))
    world.refuse("a", Refusal.LIMITED, 17.0)

    world.clock.advance(16.0)
    assert "b" * 20 == world.names(20)
    world.clock.advance(1.5)
    assert "a" in world.names(20)


def test_no_provider_sends_a_key_away_for_ever() -> None:
    """However long a provider asks to wait, an hour is the most."""
    world = World(key("a"), key("b"))
    world.refuse("a", Refusal.LIMITED, 10.0**9)

    world.clock.advance(3601)
    assert "a" in world.names(20)


def test_a_key_comes_back_gradually() -> None:
    """After its pause a key gets few turns at first, and its whole share half a minute later."""
    world = World(key("a"), key("b"))
    world.refuse("a", Refusal.LIMITED, 10.0)

    shares = []
    for wait_s in (10.0, 10.0, 20.0):
        world.clock.advance(wait_s)
        shares.append(Counter(world.names(220))["a"])

    assert shares[0] < 30
    assert shares[0] < shares[1] < shares[2]
    assert 105 <= shares[2] <= 115


def test_success_ends_the_growth() -> None:
    """A key that is taken again begins with the shortest pause the next time."""
    world = World(key("a"), key("b"))
    for _ in range(4):
        world.refuse("a", Refusal.INVALID)
    world.clock.advance(600)
    world.pools.taken(Lease(key=world.keys[0], at_s=world.clock.monotonic_s()))
    world.refuse("a", Refusal.INVALID)

    world.clock.advance(61)
    assert "a" in world.names(20)


def test_refusals_of_one_moment_count_once() -> None:
    """A hundred requests that were on their way together do not make a pause of ten minutes."""
    world = World(key("a"), key("b"))
    leases = [Lease(key=world.keys[0], at_s=world.clock.monotonic_s()) for _ in range(100)]
    world.clock.advance(1)
    for lease in leases:
        world.pools.refused(lease, Refusal.INVALID)

    world.clock.advance(61)
    assert "a" in world.names(20)


def test_an_old_success_says_nothing() -> None:
    """What was asked before a key was refused does not bring it back."""
    world = World(key("a"), key("b"))
    old = Lease(key=world.keys[0], at_s=world.clock.monotonic_s())
    world.clock.advance(1)
    world.refuse("a", Refusal.LIMITED)
    world.pools.taken(old)

    assert "bbb" == world.names(3)


def test_with_all_aside_the_soonest_is_tried() -> None:
    """When no key is left, a first try gets the one that comes back first; a further one gets none."""
    world = World(key("a"), key("b"))
    world.refuse("a", Refusal.INVALID)
    world.refuse("b", Refusal.LIMITED)

    assert ["b", "b", ""] == [world.name(), world.name(), world.name("b")]


def test_a_limit_of_ones_own() -> None:
    """A key is not used more often in a period than it may be; when none is left, that is an error."""
    world = World(key("a", rate_limit=2), key("b", rate_limit=1, period_s=10.0))

    assert {"a": 2, "b": 1} == Counter(world.names(3))
    with pytest.raises(GatewayError) as raised:
        world.lease()
    assert (Reason.RATE_LIMITED, 10.0) == (raised.value.reason, raised.value.retry_after_s)
    assert not world.name("b")
    world.clock.advance(10.0)
    assert "b" == world.name()


def test_a_limit_is_no_reason_to_fail_beside_a_key_that_is_aside() -> None:
    """With one key at its limit and the other aside, the other one is tried."""
    world = World(key("a", rate_limit=1), key("b"))
    world.refuse("b", Refusal.INVALID)

    assert "ab" == world.names(2)


def test_another_text_is_another_key() -> None:
    """A key whose text was replaced is taken at once, whatever became of the old one."""
    world = World(key("a"), key("b"))
    world.refuse("a", Refusal.INVALID)
    world.keys[0] = StoredKey(id="a", secret=Secret("sk-new"))

    assert "a" in world.names(2)


def test_state_survives_keys_being_read_anew() -> None:
    """The same keys, given again as other objects, are where they were."""
    world = World(key("a"), key("b"))
    world.refuse("a", Refusal.INVALID)
    world.keys = [key("a"), key("b")]

    assert "bb" == world.names(2)


def test_memory_is_bounded() -> None:
    """As many keys are remembered as is allowed, and those that nobody asks for are forgotten in time."""
    world = World(key("a"), capacity=3)
    for name in "bcde":
        world.keys = [key(name)]
        world.first()
    assert 3 == len(world.pools)

    world.refuse("e", Refusal.INVALID)
    world.clock.advance(3599)
    world.pools.prune()
    assert 3 == len(world.pools)
    world.clock.advance(2)
    world.pools.prune()
    assert 0 == len(world.pools)
