"""
A request's body that is sent on while it comes, and is never held as a whole.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.client_exceptions import ClientError

from kit.errors import GatewayError, Reason
from services.edge.http_body import let_go_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.edge.body_room import Held

__all__ = ["HttpUpload"]


class HttpUpload:
    """
    An `Upload` over aiohttp.

    Args:
        request: Whose body it is.
        first: What was read of it already.
        held: The room that this takes.
        limit_bytes: Longest body that is taken.
        idle_s: Longest pause between two pieces, in seconds.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        *,
        first: bytes = b"",
        held: Held | None = None,
        limit_bytes: int,
        idle_s: float,
    ) -> None:
        self.length = request.content_length
        self.size = 0
        self.keep_bytes = 0
        self.error: GatewayError | None = None
        self._request = request
        self._first = first
        self._held = held
        self._limit_bytes = limit_bytes
        self._idle_s = idle_s
        self._head = bytearray()
        self._closed = False
        self._reading: asyncio.Timeout | None = None
        self._left = asyncio.Event()
        if self.length is not None and self.length > limit_bytes:
            raise self._too_large()

    @property
    def head(self) -> bytes:
        """The beginning of the body."""
        return bytes(self._head)

    async def pieces(self) -> AsyncIterator[bytes]:
        """
        Give the body piece by piece.

        Raises:
            GatewayError: The same as `error`.
        """
        try:
            await let_go_on(self._request)
            data, self._first = self._first or await self._read(), b""
            while data:
                self.size += len(data)
                if self.size > self._limit_bytes:
                    raise self._too_large()
                if len(self._head) < self.keep_bytes:
                    self._head += data[: self.keep_bytes - len(self._head)]
                yield data
                if self._held is not None:
                    # What was read beforehand has gone.
                    data, held, self._held = b"", self._held, None
                    held.drop(held.size)
                data = await self._read()
        except GatewayError as error:
            if not self._closed:
                self.error = error
            raise

    async def close(self) -> None:
        """
        Let nobody read the body any more: what is left of it is the server's to step over.

        A provider may answer before it has everything. Whoever sends the body on may then still wait for
        more of it, and two cannot read at once.
        """
        self._closed = True
        while self._reading is not None:
            self._left.clear()
            if not self._reading.expired():  # its own time may be up in this very moment
                self._reading.reschedule(asyncio.get_running_loop().time())
            await self._left.wait()

    async def _read(self) -> bytes:
        if self._closed:
            raise GatewayError(Reason.INVALID_REQUEST, "The request has been answered.")
        message = "The request body took too long to arrive."
        try:
            async with asyncio.timeout(self._idle_s) as self._reading:
                return await self._request.content.readany()
        except TimeoutError:
            pass
        except (ClientError, web.RequestPayloadError, ConnectionError):
            message = "The request body could not be read to its end."
        finally:
            self._reading = None
            self._left.set()
        raise GatewayError(Reason.INVALID_REQUEST, message)

    def _too_large(self) -> GatewayError:
        limit = self._limit_bytes
        return GatewayError(
            Reason.TOO_LARGE,
            f"The request body is longer than the {limit} bytes that are allowed.",
            limit_bytes=str(limit),
        )
