"""AWS's frames: what the test writes by the documented layout is what is read."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import botocore.session
import pytest
from botocore.eventstream import EventStream
from botocore.parsers import EventStreamJSONParser
from hypothesis import given
from hypothesis import strategies as st

from services.providers.adapters.aws_eventstream import AwsFrames
from services.providers.dialects.converse.frames import Frame, payload_of
from tests.fakes import eventstream as aws

STREAM = aws.said(["Hel", "lo ", "wörld"])
LONGEST = 1 << 20


def read(data: bytes, size: int = LONGEST, longest: int = LONGEST) -> tuple[list[Frame], str]:
    frames, source = [], AwsFrames(longest)
    for at in range(0, len(data), size):
        frames += source.feed(data[at : at + size])
    return frames, source.broken


def test_frames_are_read_as_they_were_written() -> None:
    """Headers of every type, and any payload, arrive as they were."""
    headers: dict[str, aws.HeaderValue] = {
        ":event-type": "x",
        "yes": True,
        "no": False,
        "n": -7,
        "raw": b"\0a",
    }

    assert read(aws.frame(headers, b"\0payload")) == ([Frame(headers, b"\0payload")], "")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 11, 12, 13, 64])
def test_frames_split_anywhere(size: int) -> None:
    """Case 111: a binary stream gives the same frames whatever the size of the pieces that it comes in."""
    assert read(STREAM, size) == read(STREAM)


def test_frames_split_at_every_byte() -> None:
    """Case 111: one cut, at each byte in turn, changes nothing."""
    whole = read(STREAM)
    for at in range(len(STREAM)):
        source = AwsFrames(LONGEST)
        assert (source.feed(STREAM[:at]) + source.feed(STREAM[at:]), source.broken) == whole


@pytest.mark.parametrize("at", range(len(aws.content_delta(0, text="hi"))))
def test_a_damaged_frame_is_noticed(at: int) -> None:
    """Case 111: a flipped bit anywhere in a frame fails a checksum, and what came before it is kept."""
    first, second = aws.message_start(), bytearray(aws.content_delta(0, text="hi"))
    second[at] ^= 1

    frames, broken = read(first + bytes(second) + aws.content_stop(0))

    assert (len(frames), "damaged" in broken) == (1, True)


@pytest.mark.parametrize("at", range(len(aws.content_delta(0, text="hi"))))
def test_a_damaged_frame_like_one_before_is_noticed(at: int) -> None:
    """Case 111: a flipped bit is noticed also in a frame whose headers were read before."""
    whole, damaged = aws.content_delta(0, text="ho"), bytearray(aws.content_delta(0, text="hi"))
    damaged[at] ^= 1

    frames, broken = read(whole + bytes(damaged) + aws.content_stop(0))

    assert (len(frames), "damaged" in broken) == (1, True)


def prelude(length: int, headers: int) -> bytes:
    lengths = struct.pack("!II", length, headers)
    return lengths + struct.pack("!I", zlib.crc32(lengths))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (prelude(LONGEST + 1, 0), "longer than allowed"),
        (prelude(0xFFFFFFFF, 0), "longer than allowed"),
        (prelude(0, 0), "cannot be read"),
        (prelude(15, 0), "cannot be read"),
        (prelude(100, 0xFFFFFFF0), "cannot be read"),
        (b"HTTP/1.1 502 Bad Gateway", "damaged"),
    ],
)
def test_lengths_that_cannot_be_are_refused_at_once(data: bytes, says: str) -> None:
    """A length is judged as soon as it is there, so nothing is collected for a frame that cannot come."""
    frames, broken = read(data)

    assert (frames, says in broken) == ([], True)


def test_headers_that_cannot_be_read() -> None:
    """Headers of an unknown type, cut short or twice the same end the stream, and raise nothing."""

    def with_head(head: bytes) -> bytes:
        checked = prelude(16 + len(head), len(head)) + head
        return checked + struct.pack("!I", zlib.crc32(checked))

    twice = b"\x01a\x00\x01a\x00"
    for head in (b"\x01a\x63", b"\x01a\x07\xff", b"\xffa", b"\x01\xff\x00", twice):
        assert read(with_head(head))[1].startswith("The provider's stream holds a frame that cannot be read")


def test_nothing_is_read_after_damage() -> None:
    """What follows a broken frame is not looked at: its beginning cannot be known."""
    source = AwsFrames(LONGEST)
    source.feed(b"\0" * 12)

    assert source.feed(STREAM) == []


@given(data=st.binary(max_size=200), at=st.integers(0, len(STREAM)))
def test_any_bytes_break_it_or_are_waited_for(data: bytes, at: int) -> None:
    """No bytes raise, wherever they stand."""
    source = AwsFrames(LONGEST)
    source.feed(STREAM[:at] + data)
    source.feed(STREAM)


def test_botocore_reads_what_the_encoder_writes() -> None:
    """The SDK's own parser finds the events of ConverseStream in what the encoder makes."""

    class Raw:
        def stream(self) -> list[bytes]:
            return [STREAM[:50], STREAM[50:]]

    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    shape = model.operation_model("ConverseStream").output_shape.members["stream"]
    events: list[dict[str, Any]] = list(EventStream(Raw(), shape, EventStreamJSONParser(), "ConverseStream"))

    assert [name for item in events for name in item] == [
        "messageStart",
        *["contentBlockDelta"] * 3,
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    assert "".join(i["contentBlockDelta"]["delta"]["text"] for i in events[1:4]) == "Hello wörld"


@pytest.mark.parametrize(
    ("payload", "read_as"), [(b"", {}), (b'{"a":1}', {"a": 1}), (b"[1]", None), (b"{", None)]
)
def test_payloads(payload: bytes, read_as: object) -> None:
    """What is no JSON object is none."""
    assert payload_of(Frame({}, payload)) == read_as
