"""
A body that is sent on as it comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headrace.provider.v1 import provider_service_pb2 as pb
    from services.providers.headers import HeaderList

__all__ = ["UploadedBody"]

_LENGTH = "content-length"


class UploadedBody:
    """
    The messages of one `ProviderService.Upload`.

    Attributes:
        invoke: What is asked, without a body.
        whole: All of the body was read.
    """

    def __init__(self, first: pb.UploadRequest, rest: AsyncIterator[pb.UploadRequest]) -> None:
        self.invoke = first.invoke
        self._first = first
        self._rest = rest
        self.whole = False

    @classmethod
    async def begin(cls, messages: AsyncIterator[pb.UploadRequest]) -> UploadedBody:
        """
        Take the first message.

        Raises:
            GatewayError: INVALID_REQUEST; it does not say what is asked, or asks for a translation.
        """
        first = await anext(aiter(messages), None)
        if first is None or not first.HasField("invoke"):
            raise GatewayError(Reason.INVALID_REQUEST, "An upload begins with what is asked.", param="invoke")
        if not first.invoke.HasField("native"):
            text = "Only a native call can be sent as it comes; any other is read first."
            raise GatewayError(Reason.INVALID_REQUEST, text, param="native")
        return cls(first, messages)

    def with_length(self, headers: HeaderList) -> HeaderList:
        """Return headers with the body's length, where the client told it."""
        told = next((row.value for row in self.invoke.headers if row.name.lower() == _LENGTH), b"")
        return [*headers, (_LENGTH, told.decode())] if told.isdigit() else headers

    async def pieces(self) -> AsyncIterator[bytes]:
        """
        Give the body, piece by piece.

        Raises:
            GatewayError: INVALID_REQUEST; it broke off, and must not be taken for the whole.
        """
        if self._first.data:
            yield self._first.data
        if self._first.last:
            self.whole = True
            return
        async for message in self._rest:
            if message.data:
                yield message.data
            if message.last:
                self.whole = True
                return
        raise GatewayError(Reason.INVALID_REQUEST, "The upload broke off before its end.", param="body")

    async def read_all(self, max_bytes: int) -> bytes:
        """
        Read the whole body.

        Raises:
            GatewayError: TOO_LARGE.
        """
        found: list[bytes] = []
        size = 0
        async for piece in self.pieces():
            size += len(piece)
            if size > max_bytes:
                text = "The body is too long to be signed."
                raise GatewayError(Reason.TOO_LARGE, text, limit=str(max_bytes))
            found.append(piece)
        return b"".join(found)
