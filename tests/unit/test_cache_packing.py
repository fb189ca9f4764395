"""Answers are smaller while they are kept, and come back as they were."""

from __future__ import annotations

import os

import pytest
import zstandard

from services.cache.packing import Packing

TEXT = b"An answer like any other. " * 100


@pytest.fixture
def packing() -> Packing:
    return Packing(level=3, from_bytes=100, most_bytes=1_000_000)


@pytest.mark.parametrize(
    "data",
    [b"", b"short", TEXT, TEXT * 300, os.urandom(500), os.urandom(200_000)],
    ids=["nothing", "short", "text", "long text", "noise", "long noise"],
)
async def test_what_is_packed_comes_back(packing: Packing, data: bytes) -> None:
    """Any bytes come back as they were, and never take more than one byte above their own room."""
    packed = await packing.pack(data)

    assert data == await packing.unpack(packed)
    assert len(packed) <= len(data) + 1


async def test_text_takes_less_room(packing: Packing) -> None:
    """What repeats itself is packed; what is short is not worth it."""
    assert len(await packing.pack(TEXT)) < len(TEXT) / 10
    assert b"\x00short" == await packing.pack(b"short")


async def test_another_level_reads_it(packing: Packing) -> None:
    """What was packed under other settings is read."""
    other = Packing(level=19, from_bytes=0, most_bytes=1_000_000)

    assert TEXT == await packing.unpack(await other.pack(TEXT))


BROKEN = {
    "nothing": b"",
    "of another release": b"\x07abc",
    "not packed": b"\x01abc",
    "cut off": b"\x01" + zstandard.compress(TEXT)[:-4],
    "far too long": b"\x01" + zstandard.compress(bytes(2_000_000)),
}


@pytest.mark.parametrize("packed", BROKEN.values(), ids=list(BROKEN))
async def test_what_is_not_ours_is_refused(packing: Packing, packed: bytes) -> None:
    """Bytes that were not packed here, or that would take very much memory, are an error."""
    with pytest.raises(ValueError, match=r"packed|long|zstd"):
        await packing.unpack(packed)
