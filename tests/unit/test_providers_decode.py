"""
Content codings of provider answers.
"""

from __future__ import annotations

import gzip
import itertools
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.providers.decode import BodyDecoder, BodyTooLongError, UndecodableError, decodable

TEXT = b"data: hello\n\n" * 100


def _raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


CODED = {
    "gzip": gzip.compress(TEXT, mtime=0),
    "zlib": zlib.compress(TEXT),
    "raw deflate": _raw_deflate(TEXT),
    "two gzip members": gzip.compress(TEXT[:600], mtime=0) + gzip.compress(TEXT[600:], mtime=0),
}


@pytest.mark.parametrize("kind", CODED)
@given(cuts=st.lists(st.integers(0, 100), max_size=5))
def test_decoded_whatever_the_pieces(kind: str, cuts: list[int]) -> None:
    """Every coding that servers call gzip or deflate is decoded, wherever it is cut."""
    coded = CODED[kind]
    edges = sorted({0, len(coded), *(cut for cut in cuts if cut < len(coded))})
    decoder = BodyDecoder(max_bytes=len(TEXT))

    decoded = b"".join(decoder.feed(coded[a:b]) for a, b in itertools.pairwise(edges))

    assert TEXT == decoded
    assert decoder.complete


def test_many_members() -> None:
    """A long run of tiny gzip members takes no time by the square of its length."""
    member = gzip.compress(b"", mtime=0)

    def took_s(count: int) -> float:
        started = time.process_time()
        BodyDecoder(max_bytes=1 << 20).feed(member * count)
        return time.process_time() - started

    assert took_s(60_000) < 12 * min(took_s(15_000), took_s(15_000))


def test_cut_body() -> None:
    """A body that stops half-way is not complete."""
    decoder = BodyDecoder(max_bytes=1 << 20)
    decoder.feed(CODED["gzip"][:-9])

    assert not decoder.complete


def test_no_body() -> None:
    """A body that never began is complete: some servers name a coding for an empty answer."""
    assert BodyDecoder(max_bytes=1).complete


def test_not_so_coded() -> None:
    """Bytes that are not what was said are refused."""
    with pytest.raises(UndecodableError):
        BodyDecoder(max_bytes=1 << 20).feed(b"\x1f\x8b" + b"nonsense" * 10)


def test_bomb() -> None:
    """A small body that decodes to a huge one is refused before it is in memory."""
    bomb = gzip.compress(bytes(50 << 20), mtime=0)

    with pytest.raises(BodyTooLongError):
        BodyDecoder(max_bytes=1 << 20).feed(bomb)


@pytest.mark.parametrize(
    ("coding", "expected"), [("gzip", True), ("br", False), ("", False), ("zstd", False)]
)
def test_decodable(coding: str, expected: object) -> None:
    """Only what the standard library decodes is decoded."""
    assert expected == decodable(coding)
