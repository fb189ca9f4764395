"""What of a WebSocket's messages is counted while they come."""

from __future__ import annotations

import random
from typing import Any

import pytest
from aiohttp import WSCloseCode

from services.edge.arriving import Arriving
from services.edge.body_room import SMALL_BYTES, BodyRoom

MIB = 1 << 20
TEXT, MORE, BINARY, PING = 1, 0, 2, 9


def frame(size: int, opcode: int = TEXT, *, last: bool = True, masked: bool = True) -> bytes:
    """Write a frame of so many bytes."""
    flags, mask = opcode | last << 7, masked << 7
    if size < 126:
        head = bytes([flags, mask | size])
    elif size < 1 << 16:
        head = bytes([flags, mask | 126]) + size.to_bytes(2)
    else:
        head = bytes([flags, mask | 127]) + size.to_bytes(8)
    return head + bytes(4 * masked + size)


class Reader:
    """Stands for aiohttp's reader and its queue."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.fed: list[bytes] = []
        self.told: list[Any] = []

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take data."""
        self.fed.append(data)
        return False, b""

    def feed_eof(self) -> None:
        """Take the end."""

    def set_exception(self, error: Any) -> None:
        """Take an error."""
        self.told.append(error)


def arriving(most_bytes: int = 64 * MIB) -> tuple[Arriving, BodyRoom, Reader]:
    """Give a counter, its room, and what stands behind it."""
    reader = Reader()
    room = BodyRoom(most_bytes, longest_bytes=MIB, refused=lambda: None)
    found = Arriving(reader, room)
    found.tell(reader)
    return found, room, reader


LARGE = SMALL_BYTES + 1


@pytest.mark.parametrize(
    ("frames", "held"),
    [
        ([], 0),
        ([frame(SMALL_BYTES)], 0),
        ([frame(SMALL_BYTES)] * 5, 0),
        ([frame(LARGE)], LARGE),
        ([frame(LARGE, masked=False), frame(10)], LARGE),
        ([frame(LARGE), frame(LARGE, BINARY)], 2 * LARGE),
        ([frame(LARGE)[:-1]], 0),
        ([frame(LARGE + 1)[:-1]], LARGE),
        ([frame(LARGE - 1, last=False), frame(1, MORE)], LARGE),
        ([frame(LARGE, last=False), frame(125, PING), frame(0, MORE), frame(SMALL_BYTES)], LARGE),
        ([frame(0), frame(0, PING), frame(125), frame(126), frame(65535), frame(65536)], 0),
    ],
)
@pytest.mark.parametrize("piece", [7919, 1 << 18, 1 << 30])
def test_what_is_counted(frames: list[bytes], held: int, piece: int) -> None:
    """Of messages that are large, all that came; heads, pings and small messages count nothing."""
    found, room, reader = arriving()
    data = b"".join(frames)
    for place in range(0, len(data), piece):
        found.feed_data(data[place : place + piece])

    assert (held, data) == (room.held_bytes, b"".join(reader.fed))
    found.close()
    assert 0 == room.held_bytes


def test_a_message_that_is_read_is_held_by_whoever_has_it() -> None:
    """Nothing is counted twice, nor by nobody."""
    found, room, _ = arriving()
    found.feed_data(frame(LARGE) + frame(LARGE + 5)[:-5])
    before = room.held_bytes
    with found.take(LARGE) as held:
        assert (LARGE, before) == (held.size, room.held_bytes)

    assert (2 * LARGE, LARGE) == (before, room.held_bytes)
    with found.take(SMALL_BYTES) as held:
        assert 0 == held.size


def test_a_message_that_finds_no_room() -> None:
    """The connection ends with a code that says when to come back, and nothing more is taken from it."""
    found, room, reader = arriving(most_bytes=2 * MIB)
    whole = frame(2 * MIB)
    for place in range(0, len(whole), 1 << 18):
        assert (False, b"") == found.feed_data(whole[place : place + (1 << 18)])

    assert [WSCloseCode.TRY_AGAIN_LATER] == [each.code for each in reader.told]
    assert 0 < room.held_bytes <= 1.5 * MIB
    assert 1.25 * MIB < sum(map(len, reader.fed)) < 1.75 * MIB


def test_nothing_is_left_of_what_was_read() -> None:
    """Wherever frames are cut in pieces, and whatever stands between them."""
    order = random.Random(3)
    data = bytearray()
    expected: list[int] = []
    for _ in range(30):
        parts = [order.choice((0, 1, 125, 126, 70_000, 400_000)) for _ in range(order.randint(1, 4))]
        for number, size in enumerate(parts):
            data += frame(size, MORE if number else TEXT, last=number == len(parts) - 1)
            if order.random() < 0.3:
                data += frame(order.randrange(126), PING)
        expected.append(sum(parts))
    found, room, reader = arriving(most_bytes=1 << 30)
    place = 0
    while place < len(data):
        step = order.choice((1, 3, 14, 1000, 200_000))
        found.feed_data(bytes(data[place : place + step]))
        place += step
    for size in expected:
        found.take(size).give_back()

    assert 0 == room.held_bytes
    assert max(expected) > SMALL_BYTES
    assert data == b"".join(reader.fed)
