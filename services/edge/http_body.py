"""
Reads the body of an HTTP request into memory, and holds room for it meanwhile.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.client_exceptions import ClientError

from services.edge.body_room import NoRoomError

if TYPE_CHECKING:
    from services.edge.body_room import Held

__all__ = ["BodyTooSlowError", "begin", "let_go_on", "read"]

# A body of unknown length that is there after this long is taken as one of known length.
_AT_ONCE_S: Final = 0.5
# How long the rest of a body that is refused is read and forgotten, and what pause ends that.
_STEP_OVER_S: Final = 1.0
_STALLED_S: Final = 0.1


class BodyTooSlowError(Exception):
    """A request's body did not arrive in time."""


async def let_go_on(request: web.BaseRequest) -> None:
    """Tell a client that waits to be told to send its body."""
    if request.headers.get("expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # It is no part of the answer, of which nothing was sent yet.
        request.writer.output_size = 0


async def read(request: web.BaseRequest, held: Held | None, *, limit_bytes: int, timeout_s: float) -> bytes:
    """
    Read a body to its end.

    Args:
        request: Whose.
        held: Takes room for what comes; None where there is enough in any case.
        limit_bytes: Longest body that is taken.
        timeout_s: How long it may take to arrive, in seconds.

    Raises:
        NoRoomError: There is no room for more of it.
        HTTPRequestEntityTooLarge: It is longer than the limit.
        BodyTooSlowError: It did not arrive in time.
        RequestPayloadError: It broke off.
    """
    await let_go_on(request)
    # Pieces by themselves would cost more than their bytes when a client sends each byte apart.
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            while data := await request.content.readany():
                size = len(body) + len(data)
                if size > limit_bytes:
                    raise web.HTTPRequestEntityTooLarge(max_size=limit_bytes, actual_size=size)
                if held is not None:
                    held.add(len(data))
                body += data
    except TimeoutError:
        raise BodyTooSlowError from None
    except NoRoomError:
        body.clear()
        await _step_over(request, held)
        raise
    return bytes(body)


async def begin(request: web.BaseRequest, held: Held | None, *, most_bytes: int) -> tuple[bytes, bool]:
    """
    Read the beginning of a body of unknown length, and say whether it is all: short ones come at once.

    Args:
        request: Whose.
        held: Takes room for what comes; None when all of it came with the headers.
        most_bytes: How much is read before it counts as long.

    Raises:
        NoRoomError: There is no room for more of it.
        RequestPayloadError: It broke off.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(_AT_ONCE_S):
            while len(body) <= most_bytes:
                data = await request.content.readany()
                if not data:
                    return bytes(body), True
                if held is not None:
                    held.add(len(data))
                body += data
    except TimeoutError:
        pass
    except NoRoomError:
        body.clear()
        await _step_over(request, held)
        raise
    return bytes(body), False


async def _step_over(request: web.BaseRequest, held: Held | None) -> None:
    """Let the rest of a body pass for a moment: in the midst of sending, many hear of a reset alone."""
    if held is not None:
        held.drop(held.size)
    with suppress(TimeoutError, ClientError, web.RequestPayloadError, ConnectionError):
        async with asyncio.timeout(_STEP_OVER_S):
            more = True
            while more:
                async with asyncio.timeout(_STALLED_S):
                    more = bool(await request.content.readany())
