"""
Content codings of provider answers.

We ask for none (`accept-encoding: identity`), since an answer that is read has to be decoded anyway; a
provider that compresses regardless is decoded here.
"""

from __future__ import annotations

import zlib
from typing import Final

__all__ = ["BodyDecoder", "BodyTooLongError", "UndecodableError", "decodable"]

_CODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS  # zlib tells the two apart by their headers
# At the end of a gzip member zlib copies all that follows it, so that a long run of tiny members would take
# time by the square of its length.
_WINDOW_BYTES: Final = 16 << 10


class UndecodableError(ValueError):
    """The bytes are not what their content coding says."""


class BodyTooLongError(ValueError):
    """The decoded body is longer than allowed."""


def decodable(coding: str) -> bool:
    """Tell whether a `content-encoding` can be decoded here."""
    return coding in _CODINGS


class BodyDecoder:
    """
    Decodes one body, piece by piece.

    Args:
        max_bytes: Longest decoded body: a few kilobytes can decode to gigabytes.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._zlib = zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
        self._started = False
        self._left = max_bytes

    def feed(self, data: bytes) -> bytes:
        """
        Return what can be decoded so far.

        Raises:
            UndecodableError: the bytes are not so coded.
            BodyTooLongError: the body is longer than allowed.
        """
        if not self._started and data:
            self._started = True
            self._use_raw_deflate_if_needed(data)
        if len(data) <= _WINDOW_BYTES:
            return self._decoded(data)
        windows = range(0, len(data), _WINDOW_BYTES)
        return b"".join([self._decoded(data[start : start + _WINDOW_BYTES]) for start in windows])

    def _decoded(self, data: bytes) -> bytes:
        try:
            decoded = self._zlib.decompress(data, self._left + 1)
            while self._zlib.eof and self._zlib.unused_data:  # several gzip members in a row are one body
                rest = self._zlib.unused_data
                self._zlib = zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
                decoded += self._zlib.decompress(rest, max(1, self._left + 1 - len(decoded)))
        except zlib.error as error:
            raise UndecodableError(str(error)) from error
        self._left -= len(decoded)
        if self._left < 0:
            raise BodyTooLongError
        return decoded

    @property
    def complete(self) -> bool:
        """True when the coded body has come to its end, or never began."""
        return self._zlib.eof or not self._started

    def _use_raw_deflate_if_needed(self, data: bytes) -> None:
        # Some servers send bare DEFLATE data as `deflate`, without the zlib header of RFC 9110.
        is_zlib = data[0] & 0x0F == 8
        is_gzip = data[0] == 0x1F
        if not is_zlib and not is_gzip:
            self._zlib = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
