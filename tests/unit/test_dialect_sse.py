from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from kit.sse import SseSplitter, parse_events, split_events

LINE_ENDS = (b"\n", b"\r\n", b"\r")


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(bounds)]


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Streams of events whose lines end in any of the three ways, mixed."""
    lines = st.sampled_from(
        [b"data: {}", b"data:", b"data: a b", b"event: x", b": ping", b"id: 1", b"nonsense"]
    )
    out = b""
    for _ in range(draw(st.integers(0, 5))):
        for line in draw(st.lists(lines, max_size=3)):
            out += line + draw(st.sampled_from(LINE_ENDS))
        out += draw(st.sampled_from(LINE_ENDS))
    return out + draw(st.sampled_from([b"", b"data: tail", b"data: tail\r"]))


@given(data=streams(), places=st.lists(st.integers(0, 10_000), max_size=6))
def test_any_split_gives_the_same_bytes(data: bytes, places: list[int]) -> None:
    """Case 54: however the bytes are split, the same bytes come out, in order and complete."""
    splitter = SseSplitter()

    out = b"".join(splitter.feed(piece) for piece in cut(data, places)) + splitter.finish()

    assert data == out


@given(data=streams(), places=st.lists(st.integers(0, 10_000), max_size=6))
def test_any_split_gives_the_same_events(data: bytes, places: list[int]) -> None:
    """Case 54: however the bytes are split, the same events are read."""
    splitter = SseSplitter()
    events = []
    for piece in cut(data, places):
        events += parse_events(splitter.feed(piece))
    events += parse_events(splitter.finish())

    assert parse_events(data) == events


@given(data=streams())
def test_split_events_lose_nothing(data: bytes) -> None:
    """Events that were cut apart are the same bytes again when joined."""
    assert data == b"".join(split_events(data))


@pytest.mark.parametrize("end", LINE_ENDS)
def test_line_ends_comments_and_joined_data(end: bytes) -> None:
    """Case 54: every kind of line end, comments and several data lines are read as the standard says."""
    lines = [
        b": a comment",
        b"event: delta",
        b"data: one",
        b"data:two",
        b"id: 7",
        b"",
        b": only a comment",
        b"",
        b"",
    ]

    assert [("delta", b"one\ntwo")] == parse_events(end.join(lines))


def test_last_event_without_blank_line() -> None:
    """Case 54: the last event may lack its final blank line."""
    splitter = SseSplitter()

    assert b"data: 1\n\n" == splitter.feed(b"data: 1\n\ndata: 2")
    assert [("", b"2")] == parse_events(splitter.finish())


def test_byte_order_mark_is_not_part_of_a_field() -> None:
    """A stream may begin with a byte order mark."""
    assert [("", b"1")] == parse_events(b"\xef\xbb\xbfdata: 1\n\n")


def test_crlf_is_one_line_end() -> None:
    """A CRLF split between two reads does not end an event."""
    splitter = SseSplitter()

    assert b"" == splitter.feed(b"event: x\r")
    assert b"" == splitter.feed(b"\ndata: 1\r")
    assert b"event: x\r\ndata: 1\r\n\r\n" == splitter.feed(b"\n\r\n")


def test_event_longer_than_allowed() -> None:
    """An event that never ends is refused at the limit, not held for ever."""
    splitter = SseSplitter(max_event_bytes=100)
    splitter.feed(b"data: 1\n\n" * 50)
    splitter.feed(b"x" * 100)

    with pytest.raises(GatewayError) as caught:
        splitter.feed(b"y")

    assert Reason.UPSTREAM_MALFORMED is caught.value.reason


def test_half_of_a_line_end_ends_no_event() -> None:
    """Case 54: an event that ends in CRLF is given out with all of it, also when it comes byte by byte."""
    splitter = SseSplitter()

    given = [splitter.feed(bytes([byte])) for byte in b"data: a\r\n\r\ndata: b\r\n\r\n"]

    assert [b"data: a\r\n\r\n", b"data: b\r\n\r\n"] == [piece for piece in given if piece]
