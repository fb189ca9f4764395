"""
The framing of records in a spool file, pure.

    magic  4 bytes   where a reader looks for the next record after damage
    length u32       of id and payload together
    kind   u8
    id     u8        its length
    crc    u32       of all the above but the magic, of id and payload, begun with the file's salt
    id, payload

The salt stands in the file's name. Without it somebody could put a well-formed record into a prompt and wait
for damage in front of it.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Kind", "Record", "Scan", "encode", "scan"]

_MAGIC = b"\xf5Hr\x01"  # 0xF5 never occurs in UTF-8, so in text the search for it finds nothing
_FIXED = struct.Struct("<IBB")
_CRC = struct.Struct("<I")
_HEADER_BYTES = len(_MAGIC) + _FIXED.size + _CRC.size


class Kind(IntEnum):
    """What a record says about a request."""

    INTENT = 1  # accepted, or still running; the payload is the entry as far as it is known; the last counts
    FINAL = 2  # over; the payload is the entry to be recorded
    DISCARD = 3  # not to be recorded; no payload


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it was read."""

    kind: Kind
    log_id: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """
    What a spool file holds.

    Attributes:
        records: The valid ones, in order.
        corrupt_count: Damaged places that were passed over.
        torn_bytes: Length of the unfinished record at the end, which a kill in the middle of a write leaves.
    """

    records: tuple[Record, ...]
    corrupt_count: int
    torn_bytes: int


def encode(kind: Kind, log_id: str, payload: bytes, *, salt: int) -> bytes:
    """Frame one record."""
    name = log_id.encode()
    fixed = _FIXED.pack(len(name) + len(payload), kind, len(name))
    crc = zlib.crc32(payload, zlib.crc32(name, zlib.crc32(fixed, salt)))
    return b"".join((_MAGIC, fixed, _CRC.pack(crc), name, payload))


def scan(data: bytes, *, salt: int) -> Scan:
    """Read a spool file's content, passing over damage."""
    records: list[Record] = []
    corrupt = torn = position = 0
    while position < len(data):
        found = _read(data, position, salt)
        if found is None:
            found = next(_search(data, position + 1, salt), None)
            if found is None:
                torn = len(data) - position if _unfinished(data, position) else 0
                corrupt += not torn
                break
            corrupt += 1
        record, position = found
        records.append(record)
    return Scan(records=tuple(records), corrupt_count=corrupt, torn_bytes=torn)


def _read(data: bytes, position: int, salt: int) -> tuple[Record, int] | None:
    """Return the valid record at a position and where it ends."""
    body = position + _HEADER_BYTES
    if not data.startswith(_MAGIC, position) or body > len(data):
        return None
    fixed = data[position + len(_MAGIC) : body - _CRC.size]
    length, kind, name_length = _FIXED.unpack(fixed)
    end = body + length
    if end > len(data) or name_length > length:
        return None
    content = memoryview(data)[body:end]
    if zlib.crc32(content, zlib.crc32(fixed, salt)) != _CRC.unpack_from(data, body - _CRC.size)[0]:
        return None
    try:
        return Record(Kind(kind), str(content[:name_length], "utf-8"), bytes(content[name_length:])), end
    except ValueError:  # a kind or a name that no version of ours writes
        return None


def _search(data: bytes, position: int, salt: int) -> Iterator[tuple[Record, int]]:
    while (position := data.find(_MAGIC, position)) >= 0:
        found = _read(data, position, salt)
        if found is not None:
            yield found
        position += 1


def _unfinished(data: bytes, position: int) -> bool:
    """Tell whether what is left begins like a record that was still being written."""
    rest = data[position : position + _HEADER_BYTES]
    if len(rest) < _HEADER_BYTES:
        return rest.startswith(_MAGIC) or _MAGIC.startswith(rest)
    length = _FIXED.unpack_from(rest, len(_MAGIC))[0]
    return rest.startswith(_MAGIC) and position + _HEADER_BYTES + length > len(data)
