"""
Takes streams of AWS apart into frames, with botocore's parser.

botocore copies what it holds at every step, and believes whatever length a frame announces. So frames are cut
out here, within a limit, and it is given one whole frame at a time. Headers take most of its time, and nearly
all frames of an answer have the same ones, so those are read once.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.converse.frames import Frame

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AwsFrames"]

# A frame: length of all of it, length of its headers, CRC of these two; headers; payload; CRC of all before.
_PRELUDE: Final = struct.Struct("!III")
_CHECKED: Final = 8
_CHECKSUM: Final = 4
_SHORTEST: Final = _PRELUDE.size + _CHECKSUM
# Converse has six kinds of frames, and none has more than 150 bytes of headers.
_MOST_KNOWN: Final = 16
_LONGEST_KNOWN: Final = 512
_DAMAGED: Final = "The provider's stream is damaged: a frame does not match its checksum."
_UNREADABLE: Final = "The provider's stream holds a frame that cannot be read."
_TOO_LONG: Final = "The provider's stream holds a frame that is longer than allowed."


class AwsFrames:
    """
    Takes one stream apart; see `FrameSource`.

    Args:
        max_frame_bytes: Longest frame that is waited for.
    """

    def __init__(self, max_frame_bytes: int) -> None:
        self._longest = max_frame_bytes
        self._held = bytearray()
        self._known: dict[bytes, Mapping[str, Any]] = {}  # headers, by their bytes
        self._broken = ""

    @property
    def broken(self) -> str:
        """Why nothing more can be read; empty: nothing is wrong."""
        return self._broken

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes and return the frames that they complete, up to the first that is broken."""
        frames: list[Frame] = []
        if self._broken:
            return frames
        self._held += data
        at = 0
        try:
            while (length := self._length(at)) and len(self._held) - at >= length:
                frames.append(self._frame(bytes(self._held[at : at + length])))
                at += length
        except _BrokenFrameError as error:
            self._broken = error.args[0]
            self._held.clear()
        else:
            del self._held[:at]
        return frames

    def _length(self, at: int) -> int:
        """Read the length of the frame that begins here; zero as long as it cannot be known."""
        if len(self._held) - at < _PRELUDE.size:
            return 0
        length, headers, checksum = _PRELUDE.unpack_from(self._held, at)
        if zlib.crc32(self._held[at : at + _CHECKED]) != checksum:
            raise _BrokenFrameError(_DAMAGED)
        if length > self._longest:
            raise _BrokenFrameError(_TOO_LONG)
        if length < _SHORTEST + headers:
            raise _BrokenFrameError(_UNREADABLE)
        return int(length)

    def _frame(self, raw: bytes) -> Frame:
        end = _PRELUDE.size + _PRELUDE.unpack_from(raw)[1]
        spelt = raw[_PRELUDE.size : end]
        headers = self._known.get(spelt)
        if headers is None:
            frame = _parsed(raw)
            if len(spelt) <= _LONGEST_KNOWN and len(self._known) < _MOST_KNOWN:
                self._known[spelt] = frame.headers
            return frame
        if zlib.crc32(raw[:-_CHECKSUM]) != int.from_bytes(raw[-_CHECKSUM:], "big"):
            raise _BrokenFrameError(_DAMAGED)
        return Frame(headers, raw[end:-_CHECKSUM])


class _BrokenFrameError(Exception):
    """Nothing can be read from here on; says why."""


def _parsed(raw: bytes) -> Frame:
    # Imported here: a process that never speaks to AWS does not need it. One that does has it by now.
    from botocore.eventstream import ChecksumMismatch, EventStreamBuffer

    parser = EventStreamBuffer()
    parser.add_data(raw)
    try:
        message = parser.next()
    except ChecksumMismatch as error:
        raise _BrokenFrameError(_DAMAGED) from error
    except Exception as error:
        # Headers of a wrong shape end in errors of any kind.
        raise _BrokenFrameError(_UNREADABLE) from error
    return Frame(message.headers, message.payload)
