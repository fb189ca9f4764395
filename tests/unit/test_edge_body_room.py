"""How the edge counts the bytes of bodies that it holds, all together."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from kit.errors import Reason
from services.edge.body_room import SMALL_BYTES, BodyRoom, NoRoomError

MIB = 1 << 20


class Counted:
    """A room, and how many requests it refused."""

    def __init__(self, most_bytes: int = 8 * MIB, longest_bytes: int = MIB) -> None:
        """Make it."""
        self.refused = 0
        self.room = BodyRoom(most_bytes, longest_bytes=longest_bytes, refused=self._refuse)

    def _refuse(self) -> None:
        self.refused += 1

    def takes(self, *bodies: int) -> bool:
        """Say whether bodies find room, each of which comes at once."""
        try:
            for size in bodies:
                self.room.hold().add(size)
        except NoRoomError:
            return False
        return True


@pytest.mark.parametrize(
    ("held", "size", "fits"),
    [
        ([], 6 * MIB, True),
        ([], 6 * MIB + 1, False),
        ([2 * MIB], 4 * MIB, True),
        ([2 * MIB], 4 * MIB + 1, False),
        ([6 * MIB], SMALL_BYTES, True),
        ([6 * MIB], SMALL_BYTES + 1, False),
        ([6 * MIB, *[SMALL_BYTES] * 3], SMALL_BYTES, True),
        ([6 * MIB, *[SMALL_BYTES] * 4], 1, False),
        ([SMALL_BYTES] * 16, 1, False),
        ([SMALL_BYTES] * 12, SMALL_BYTES + 1, False),
    ],
)
def test_what_fits(held: list[int], size: int, fits: bool) -> None:  # noqa: FBT001 - a table's column
    """Large bodies get three quarters of eight MiB, small ones all of it."""
    counted = Counted()

    assert counted.takes(*held)
    assert (fits, sum(held) + size * fits) == (counted.takes(size), counted.room.held_bytes)
    assert (not fits) == counted.refused


def test_one_of_the_longest_fits_in_any_case() -> None:
    """A room that is little more than one body takes one body."""
    counted = Counted(most_bytes=33 * MIB, longest_bytes=32 * MIB)

    assert (True, False) == (counted.takes(32 * MIB), counted.takes(MIB))


def test_a_body_grows_out_of_the_small_ones_room() -> None:
    """It is what came so far that counts, and what was refused is not held."""
    counted = Counted()
    counted.takes(6 * MIB)
    held = counted.room.hold()
    held.add(SMALL_BYTES)
    with pytest.raises(NoRoomError) as refusal:
        held.add(1)

    assert (SMALL_BYTES, 6 * MIB + SMALL_BYTES) == (held.size, counted.room.held_bytes)
    assert (Reason.SERVICE_UNAVAILABLE, 1.0) == (refusal.value.reason, refusal.value.retry_after_s)


def test_room_is_given_back_by_the_last_holder() -> None:
    """A call that outlives its client has the body still."""
    counted = Counted()
    with counted.room.hold() as held:
        held.add(MIB)
        held.share()
    left = counted.room.held_bytes
    held.give_back()

    assert (MIB, 0) == (left, counted.room.held_bytes)


def test_room_is_given_back_when_a_request_fails() -> None:
    """Whatever the reason."""
    counted = Counted()
    with pytest.raises(NoRoomError), counted.room.hold() as held:
        held.add(7 * MIB)
    with suppress(KeyError), counted.room.hold() as held:
        held.add(MIB)
        raise KeyError

    assert 0 == counted.room.held_bytes


def test_the_count_is_what_is_held() -> None:
    """Whatever happens in whatever order, the count is the sum, within the bound, and 0 in the end."""
    order = random.Random(7)
    counted = Counted()
    open_ = [counted.room.hold() for _ in range(20)]
    for _ in range(5_000):
        held = order.choice(open_)
        what = order.random()
        if what < 0.6:
            try:
                held.add(order.choice((1, 1000, SMALL_BYTES, MIB)))
            except NoRoomError:
                held.give_back()
                open_[open_.index(held)] = counted.room.hold()
        elif what < 0.8:
            held.drop(order.choice((0, 1000, MIB)))
        else:
            held.share()
            held.give_back()
            held.give_back()
            open_[open_.index(held)] = counted.room.hold()
        assert sum(each.size for each in open_) == counted.room.held_bytes <= 8 * MIB
    for held in open_:
        held.give_back()

    assert 0 == counted.room.held_bytes
    assert counted.refused
